package server

import (
	"context"
	"slices"
	"time"
	"unicode"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
)

const (
	maxReason   = 200 // bytes
	maxDeadline = 30 * 24 * time.Hour
	// maxDeclared is how many machines may be declared lost at once.
	maxDeclared = 1000
)

// drainWish is what somebody wants of a drain.
type drainWish struct {
	by, reason               string
	deadline                 *durationpb.Duration
	stopAtDeadline, stopData bool
}

func (w *drainWish) check() error {
	if err := checkReason(w.reason); err != nil {
		return err
	}
	if w.deadline == nil {
		if w.stopAtDeadline {
			return invalid("what is to be stopped at the deadline needs a deadline: say it")
		}
		return nil
	}
	if err := w.deadline.CheckValid(); err != nil {
		return invalid("the deadline is no time: %w", err)
	}
	if d := w.deadline.AsDuration(); d <= 0 || d > maxDeadline {
		return invalid("a deadline of %s makes no sense: it is more than nothing and at most %d days", d, maxDeadline/(24*time.Hour))
	}
	return nil
}

func checkReason(s string) error {
	if len(s) > maxReason {
		return invalid("a reason has at most %d bytes", maxReason)
	}
	for _, c := range s {
		if !unicode.IsPrint(c) {
			return invalid("a reason is one line of printable text")
		}
	}
	return nil
}

// drain records the wish. Since when and by whom is what was first said.
func (w *drainWish) drain(now time.Time, m *argosyv1.Machine) (leader.Proposal, error) {
	old := m.GetDrain()
	next := proto.CloneOf(m)
	d := &argosyv1.Drain{Since: timestamppb.New(now), By: w.by, Reason: w.reason, StopAtDeadline: w.stopAtDeadline, StopData: w.stopData}
	if old != nil {
		d.Since, d.By, d.EmptiedAt = old.Since, old.By, old.EmptiedAt
		if d.Reason == "" {
			d.Reason = old.Reason
		}
	}
	if w.deadline != nil {
		d.Deadline = timestamppb.New(now.Add(w.deadline.AsDuration()))
	}
	next.Drain = d
	if proto.Equal(old, d) {
		return leader.Proposal{}, nil
	}
	from, cause := "active", w.reason
	if old != nil {
		from = "draining"
	}
	if w.deadline != nil {
		cause = joinText(cause, "within "+w.deadline.AsDuration().String())
	}
	if w.stopAtDeadline {
		cause = joinText(cause, "what is left then is stopped")
	}
	if w.stopData {
		cause = joinText(cause, "replicas with local data are stopped")
	}
	ops, err := puts(record{store.MachineKey(m.Id), next})
	return leader.Proposal{Ops: ops, Transitions: []*argosyv1.Transition{{Kind: argosyv1.TransitionKind_TRANSITION_KIND_MACHINE,
		Machine: m.Id, From: from, To: "draining", Cause: cause, Actor: w.by}}}, err
}

func joinText(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

func (s machineService) DrainMachine(ctx context.Context, r *connect.Request[argosyv1.DrainMachineRequest]) (*connect.Response[argosyv1.MachineStatus], error) {
	w := drainWish{by: actorOf(ctx), reason: r.Msg.Reason, deadline: r.Msg.Deadline, stopAtDeadline: r.Msg.StopAtDeadline, stopData: r.Msg.StopData}
	if err := w.check(); err != nil {
		return nil, err
	}
	res := &argosyv1.MachineStatus{}
	err := s.change(ctx, change{
		rpc: "DrainMachine", key: r.Msg.IdempotencyKey, request: r.Msg, response: res,
		decide: func(now time.Time, v *leader.View) (leader.Proposal, error) {
			m, err := findMachine(v, r.Msg.Machine)
			if err != nil {
				return leader.Proposal{}, err
			}
			p, err := w.drain(now, m)
			proto.Merge(res, v.MachineStatus(m))
			return p, err
		},
	})
	return s.machineAnswer(ctx, res, err)
}

// machineAnswer is how a machine stands once a change of it is done.
func (s machineService) machineAnswer(ctx context.Context, before *argosyv1.MachineStatus, err error) (*connect.Response[argosyv1.MachineStatus], error) {
	if err != nil {
		return nil, err
	}
	res := before
	err = s.read(func(_ time.Time, v *leader.View) error {
		if m := v.Machine(before.GetMachine().GetId()); m != nil {
			res = machineStatus(ctx, v, m)
		}
		return nil
	})
	return respond(res, err)
}

// machineStatus is how a machine stands, without the names of what other tenants have there.
func machineStatus(ctx context.Context, v *leader.View, m *argosyv1.Machine) *argosyv1.MachineStatus {
	res := v.MachineStatus(m)
	id := auth.IdentityFrom(ctx)
	if id.Role == auth.Admin {
		return res
	}
	others := func(tenant string) bool {
		return tenant != id.Tenant && !(id.Tenant == "" && tenant == auth.DefaultTenant)
	}
	for _, l := range res.Remaining {
		if others(l.GetKey().GetTenant()) {
			l.Key, l.Why = nil, ""
		}
	}
	res.Strays = slices.DeleteFunc(res.Strays, func(v *argosyv1.StrayVolume) bool { return others(v.GetReplica().GetTenant()) })
	return res
}

func (s machineService) ActivateMachine(ctx context.Context, r *connect.Request[argosyv1.ActivateMachineRequest]) (*connect.Response[argosyv1.MachineStatus], error) {
	res := &argosyv1.MachineStatus{}
	err := s.change(ctx, change{
		rpc: "ActivateMachine", key: r.Msg.IdempotencyKey, request: r.Msg, response: res,
		decide: func(_ time.Time, v *leader.View) (leader.Proposal, error) {
			m, err := findMachine(v, r.Msg.Machine)
			if err != nil {
				return leader.Proposal{}, err
			}
			proto.Merge(res, v.MachineStatus(m))
			if m.GetDrain() == nil {
				return leader.Proposal{}, nil
			}
			next := proto.CloneOf(m)
			next.Drain = nil
			ops, err := puts(record{store.MachineKey(m.Id), next})
			return leader.Proposal{Ops: ops, Transitions: []*argosyv1.Transition{{Kind: argosyv1.TransitionKind_TRANSITION_KIND_MACHINE,
				Machine: m.Id, From: "draining", To: "active", Cause: "it takes replicas again", Actor: actorOf(ctx)}}}, err
		},
	})
	return s.machineAnswer(ctx, res, err)
}

func (s machineService) DeclareLost(ctx context.Context, r *connect.Request[argosyv1.DeclareLostRequest]) (*connect.Response[argosyv1.DeclareLostResponse], error) {
	if n := len(r.Msg.Machines); n == 0 || n > maxDeclared {
		return nil, invalid("%d machines are named: it is 1 to %d", n, maxDeclared)
	}
	if err := checkReason(r.Msg.Reason); err != nil {
		return nil, err
	}
	res := &argosyv1.DeclareLostResponse{}
	err := s.change(ctx, change{
		rpc: "DeclareLost", key: r.Msg.IdempotencyKey, request: r.Msg, response: res,
		decide: func(_ time.Time, v *leader.View) (leader.Proposal, error) {
			res.Machines = nil
			return declareLost(v, r.Msg, actorOf(ctx), res)
		},
	})
	return respond(res, err)
}

// declareLost writes of silent machines that they are lost. What follows is the leader's.
func declareLost(v *leader.View, r *argosyv1.DeclareLostRequest, actor string, res *argosyv1.DeclareLostResponse) (leader.Proposal, error) {
	var p leader.Proposal
	done := map[string]bool{}
	for _, name := range r.Machines {
		m, err := findMachine(v, name)
		if err != nil {
			return leader.Proposal{}, err
		}
		c := v.Condition(m.Id)
		switch {
		case done[m.Id]:
			continue
		case c == argosyv1.MachineCondition_MACHINE_CONDITION_UNSPECIFIED:
			return leader.Proposal{}, refused("nobody knows yet whether machine %s is silent: the leader has just begun to listen; try again in some seconds", m.Name)
		case c != argosyv1.MachineCondition_MACHINE_CONDITION_UNREACHABLE && c != argosyv1.MachineCondition_MACHINE_CONDITION_LOST:
			return leader.Proposal{}, refused("machine %s answers, so it is not lost: to empty it, use 'argosy machines drain %s'", m.Name, m.Name)
		}
		done[m.Id] = true
		status := v.MachineStatus(m)
		status.Remaining = nil
		res.Machines = append(res.Machines, status)
		if c == argosyv1.MachineCondition_MACHINE_CONDITION_LOST {
			continue
		}
		next := proto.CloneOf(m)
		next.Condition = argosyv1.MachineCondition_MACHINE_CONDITION_LOST
		status.Machine, status.Condition = next, next.Condition
		ops, err := puts(record{store.MachineKey(m.Id), next})
		if err != nil {
			return leader.Proposal{}, err
		}
		p.Ops = append(p.Ops, ops...)
		p.Transitions = append(p.Transitions, &argosyv1.Transition{Kind: argosyv1.TransitionKind_TRANSITION_KIND_MACHINE,
			Machine: m.Id, From: "unreachable", To: "lost", Cause: joinText("declared lost", r.Reason), Actor: actor})
	}
	return p, nil
}

// Leave has the calling machine drained. Asked again it only says how that stands, unless it says more than before.
func (s agentService) Leave(ctx context.Context, r *connect.Request[argosyv1.LeaveRequest]) (*connect.Response[argosyv1.LeaveResponse], error) {
	id := auth.IdentityFrom(ctx).ID
	w := drainWish{by: actorOf(ctx), reason: r.Msg.Reason, deadline: r.Msg.Deadline, stopAtDeadline: r.Msg.StopAtDeadline, stopData: r.Msg.StopData}
	if err := w.check(); err != nil {
		return nil, err
	}
	err := s.change(ctx, change{
		rpc: "Leave", request: r.Msg, response: &argosyv1.LeaveResponse{},
		decide: func(now time.Time, v *leader.View) (leader.Proposal, error) {
			m, err := findMachine(v, id)
			if err != nil {
				return leader.Proposal{}, err
			}
			if d := m.GetDrain(); d != nil && w.deadline == nil && d.StopData == w.stopData {
				return leader.Proposal{}, nil
			}
			return w.drain(now, m)
		},
	})
	if err != nil {
		return nil, err
	}
	res := &argosyv1.LeaveResponse{}
	err = s.read(func(_ time.Time, v *leader.View) error {
		m, err := findMachine(v, id)
		if err != nil {
			return err
		}
		status := v.MachineStatus(m)
		res.Name, res.Drain, res.Drained = m.Name, m.GetDrain(), status.Drained
		for _, l := range status.Remaining {
			res.Remaining = append(res.Remaining, state.KeyOf(l.Key).String()+": "+l.Why)
		}
		for _, vol := range v.MachineVolumes(id) {
			res.Volumes = append(res.Volumes, state.VolumeKey{Replica: state.KeyOf(vol.GetReplica()), Name: vol.Name}.String())
		}
		return nil
	})
	return respond(res, err)
}

// Depart takes the calling machine out of the cluster.
func (s agentService) Depart(ctx context.Context, r *connect.Request[argosyv1.DepartRequest]) (*connect.Response[argosyv1.DepartResponse], error) {
	id := auth.IdentityFrom(ctx).ID
	res := &argosyv1.DepartResponse{}
	err := s.change(ctx, change{
		rpc: "Depart", key: r.Msg.IdempotencyKey, request: r.Msg, response: res,
		decide: func(_ time.Time, v *leader.View) (leader.Proposal, error) {
			m, err := findMachine(v, id)
			if err != nil {
				return leader.Proposal{}, err
			}
			if status := v.MachineStatus(m); !r.Msg.Force && !status.Drained {
				return leader.Proposal{}, refused("machine %s is not drained: %d replicas are on it; drain it first, or use --force", m.Name, len(status.Remaining))
			}
			return removal(v, m, r.Msg.Force, actorOf(ctx))
		},
	})
	return respond(res, err)
}
