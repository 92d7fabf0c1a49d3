package server

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/placement"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
)

// machineService answers argosy.v1.MachineService.
type machineService struct{ *Server }

func (s machineService) ListMachines(ctx context.Context, r *connect.Request[argosyv1.ListMachinesRequest]) (*connect.Response[argosyv1.ListMachinesResponse], error) {
	res := &argosyv1.ListMachinesResponse{}
	err := s.read(func(_ time.Time, v *leader.View) error {
		if r.Msg.Machine != "" {
			m, err := findMachine(v, r.Msg.Machine)
			if err == nil {
				res.Machines = append(res.Machines, machineStatus(ctx, v, m))
			}
			return err
		}
		for _, m := range v.Machines() {
			res.Machines = append(res.Machines, machineStatus(ctx, v, m))
		}
		slices.SortFunc(res.Machines, func(a, b *argosyv1.MachineStatus) int {
			return naturalCompare(a.GetMachine().GetName(), b.GetMachine().GetName())
		})
		return nil
	})
	return respond(res, err)
}

func findMachine(v *leader.View, idOrName string) (*argosyv1.Machine, error) {
	if m := v.FindMachine(idOrName); m != nil {
		return m, nil
	}
	if idOrName == "" {
		return nil, invalid("no machine is named: say which one")
	}
	return nil, notFound("no machine is called %q; see 'argosy machines'", clip(idOrName))
}

// naturalCompare orders m2 before m10.
func naturalCompare(a, b string) int {
	if len(a) != len(b) && strings.TrimRight(a, "0123456789") == strings.TrimRight(b, "0123456789") {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// maxLabels is how many labels a machine may have.
const maxLabels = 64

func (s machineService) LabelMachine(ctx context.Context, r *connect.Request[argosyv1.LabelMachineRequest]) (*connect.Response[argosyv1.MachineStatus], error) {
	res := &argosyv1.MachineStatus{}
	if err := checkLabels(r.Msg.Set); err != nil {
		return nil, err
	}
	if len(r.Msg.Set)+len(r.Msg.Remove) == 0 {
		return nil, invalid("no label is named: say which to set or to remove")
	}
	err := s.change(ctx, change{
		rpc: "LabelMachine", key: r.Msg.IdempotencyKey, request: r.Msg, response: res,
		decide: func(_ time.Time, v *leader.View) (leader.Proposal, error) {
			old, err := findMachine(v, r.Msg.Machine)
			if err != nil {
				return leader.Proposal{}, err
			}
			m := proto.CloneOf(old)
			if m.Labels == nil {
				m.Labels = map[string]string{}
			}
			maps.Copy(m.Labels, r.Msg.Set)
			for _, k := range r.Msg.Remove {
				if _, ok := m.Labels[k]; !ok {
					return leader.Proposal{}, notFound("machine %s has no label %s", m.Name, clip(k))
				}
				delete(m.Labels, k)
			}
			if err := checkLabels(m.Labels); err != nil {
				return leader.Proposal{}, err
			}
			proto.Merge(res, v.MachineStatus(old))
			res.Machine = m
			if maps.Equal(m.Labels, old.Labels) {
				return leader.Proposal{}, nil
			}
			ops, err := puts(record{store.MachineKey(m.Id), m})
			return leader.Proposal{Ops: ops, Transitions: []*argosyv1.Transition{{Kind: argosyv1.TransitionKind_TRANSITION_KIND_MACHINE,
				Machine: m.Id, To: "labelled", Cause: labelText(m.Labels), Actor: actorOf(ctx)}}}, err
		},
	})
	return respond(res, err)
}

func checkLabels(labels map[string]string) error {
	if len(labels) > maxLabels {
		return invalid("a machine has at most %d labels", maxLabels)
	}
	for k, v := range labels {
		if err := placement.CheckKey(k); err != nil {
			return invalid("%w", err)
		}
		if err := placement.CheckValue(k, v); err != nil {
			return invalid("%w", err)
		}
	}
	return nil
}

func labelText(labels map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, k+"="+labels[k])
	}
	return strings.Join(parts, " ")
}

func (s machineService) RemoveMachine(ctx context.Context, r *connect.Request[argosyv1.RemoveMachineRequest]) (*connect.Response[argosyv1.RemoveMachineResponse], error) {
	res := &argosyv1.RemoveMachineResponse{}
	err := s.change(ctx, change{
		rpc: "RemoveMachine", key: r.Msg.IdempotencyKey, request: r.Msg, response: res,
		decide: func(_ time.Time, v *leader.View) (leader.Proposal, error) {
			m, err := findMachine(v, r.Msg.Machine)
			if err != nil {
				return leader.Proposal{}, err
			}
			return removal(v, m, r.Msg.Force, actorOf(ctx))
		},
	})
	return respond(res, err)
}

// removal forgets a machine and, by force, the volumes it holds. Its replicas are the orchestrator's to place anew.
func removal(v *leader.View, m *argosyv1.Machine, force bool, actor string) (leader.Proposal, error) {
	status, volumes := v.MachineStatus(m), v.MachineVolumes(m.Id)
	answers := status.Condition == argosyv1.MachineCondition_MACHINE_CONDITION_READY || status.Condition == argosyv1.MachineCondition_MACHINE_CONDITION_DRAINING
	if !force && answers && !status.Drained {
		return leader.Proposal{}, refused("machine %s still answers: drain it first with 'argosy machines drain %s', or run 'argosy leave' on it, or use --force", m.Name, m.Name)
	}
	if !force && len(volumes) > 0 {
		k := state.KeyOf(volumes[0].GetReplica())
		return leader.Proposal{}, refused("machine %s holds the data of %d volumes (%s/%s is one): it would be given up; use --force if it is gone for good", m.Name, len(volumes), k, volumes[0].Name)
	}
	ops := []store.Op{store.Delete(store.MachineKey(m.Id)), store.Delete(store.OutboxKey(m.Id))}
	for _, vol := range volumes {
		ops = append(ops, store.Delete(store.VolumeKey(vol.GetReplica(), vol.Name)))
	}
	if len(ops) > store.MaxTxnOps/2 {
		return leader.Proposal{}, refused("machine %s holds the data of %d volumes, more than can be given up at once: delete apps with --volumes first", m.Name, len(volumes))
	}
	cause := m.Name + " is gone for good"
	if len(volumes) > 0 {
		cause += fmt.Sprintf(", and the data of %d volumes with it", len(volumes))
	}
	return leader.Proposal{Ops: ops, Transitions: []*argosyv1.Transition{{Kind: argosyv1.TransitionKind_TRANSITION_KIND_MACHINE,
		Machine: m.Id, To: "removed", Cause: cause, Actor: actor}}}, nil
}
