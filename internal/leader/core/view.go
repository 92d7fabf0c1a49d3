package core

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/orchestrator"
	"github.com/argosy-cluster/argosy/internal/state"
)

// View is the cluster as the leader sees it at one instant: the records of the store (the methods of State), and what
// was seen of them. It holds only inside the function it was given to; records may be kept, never written to.
type View struct {
	*state.State
	core *Core
	now  time.Time
}

// View looks at the cluster now.
func (c *Core) View(now time.Time) *View { return &View{State: c.st, core: c, now: now} }

// Number counts leaders: it grows with every change of leader.
func (v *View) Number() uint64 { return v.core.cfg.Number }

// Condition is how a machine stands; UNSPECIFIED when this leader has not heard of it.
func (v *View) Condition(machine string) argosyv1.MachineCondition { return v.core.condition(machine) }

// Paused says why nothing is moved off silent machines, empty when it is.
func (v *View) Paused() string { return v.core.paused }

// Connected reports whether a machine has a session with this server.
func (v *View) Connected(machine string) bool {
	session, _ := v.core.disp.Connected(machine)
	return session
}

// Endpoints lists where a replica's members are reached.
func (v *View) Endpoints(k state.Key) []*argosyv1.Endpoint { return v.core.disp.Endpoints(k) }

// Observation is what a replica's machine last said of its current incarnation and how long ago that was last confirmed;
// nil when nothing.
func (v *View) Observation(r *argosyv1.Replica) (*argosyv1.ReplicaObservation, time.Duration) {
	o, at, ok := v.core.disp.Seen(r.GetMachine(), incarnationOf(r, r.GetIncarnation()))
	if !ok {
		return nil, 0
	}
	return o, max(v.now.Sub(at), 0)
}

// Status puts what is wanted of a replica beside what was seen of it.
func (v *View) Status(r *argosyv1.Replica) *argosyv1.ReplicaStatus {
	k := state.KeyOf(r.GetKey())
	out := &argosyv1.ReplicaStatus{Replica: r}
	if r.GetMachine() != "" {
		out.MachineName = v.MachineName(r.GetMachine())
	}
	o, age := v.Observation(r)
	if o != nil {
		out.Observation, out.Age = o, durationpb.New(age)
	}
	app := v.App(k.Tenant, k.App)
	fresh := o != nil && age < v.core.timing.Unreachable
	out.State, out.Message = v.stateOf(r, o, fresh)
	out.UpToDate = app != nil && r.GetRevision() == app.GetRevision() && r.GetRestart() == orchestrator.RestartCount(app, k) &&
		fresh && o.GetRevision() == r.GetRevision() && o.GetRestart() == r.GetRestart()
	if w, ok := v.core.waits[k.StackKey()][k]; ok {
		out.Message = join(w.String(), out.Message)
	}
	out.Message = join(v.claimsMessage(k), v.core.named(out.Message))
	out.Observation = v.namedMembers(out.Observation)
	if r.GetMachine() == "" && out.Message == "" {
		out.Message = "is being placed"
	}
	return out
}

func join(a, b string) string {
	switch {
	case a == "":
		return b
	case b == "" || a == b:
		return a
	}
	return a + "; " + b
}

// stateOf says what may be said of a replica now.
func (v *View) stateOf(r *argosyv1.Replica, o *argosyv1.ReplicaObservation, fresh bool) (argosyv1.ReplicaState, string) {
	if r.GetMachine() == "" {
		return argosyv1.ReplicaState_REPLICA_STATE_PENDING, ""
	}
	if fresh {
		return o.GetState(), o.GetMessage()
	}
	name := v.MachineName(r.GetMachine())
	if o != nil {
		return argosyv1.ReplicaState_REPLICA_STATE_UNSPECIFIED, v.paused(r, fmt.Sprintf("not seen lately: %s is %s", name, v.word(r.GetMachine())))
	}
	if session, reported := v.core.disp.Connected(r.GetMachine()); session && reported && answers(v.core.condition(r.GetMachine())) {
		if r.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE {
			return argosyv1.ReplicaState_REPLICA_STATE_STOPPING, ""
		}
		if why := v.core.heldBy(state.KeyOf(r.GetKey()), r); why != "" {
			return argosyv1.ReplicaState_REPLICA_STATE_PENDING, why
		}
		return argosyv1.ReplicaState_REPLICA_STATE_PENDING, fmt.Sprintf("assigned to %s, which has not shown it yet", name)
	}
	return argosyv1.ReplicaState_REPLICA_STATE_UNSPECIFIED, v.paused(r, fmt.Sprintf("%s is %s", name, v.word(r.GetMachine())))
}

// paused adds to what is said of a replica on a silent machine that it is not moved, when it is not.
func (v *View) paused(r *argosyv1.Replica, text string) string {
	if v.core.paused == "" || v.core.condition(r.GetMachine()) != condUnreachable {
		return text
	}
	short, _, _ := strings.Cut(v.core.paused, ", so")
	return text + "; nothing is moved, as " + short
}

func (v *View) word(machine string) string {
	if v.Machine(machine) == nil {
		return "not in the cluster"
	}
	if session, reported := v.core.disp.Connected(machine); session && !reported {
		return "connected and has not reported yet"
	}
	return orchestrator.Word(v.core.condition(machine))
}

// Statuses lists the status of an app's replicas (of all apps' when app is empty, of all tenants' when both are), by key.
func (v *View) Statuses(tenant, app string) []*argosyv1.ReplicaStatus {
	list := v.Replicas(tenant)
	if app != "" {
		list = v.AppReplicas(state.AppKey{Tenant: tenant, App: app})
	}
	out := make([]*argosyv1.ReplicaStatus, len(list))
	for i, r := range list {
		out[i] = v.Status(r)
	}
	return out
}

// Wanted says how many replicas each stack of an app should have, in the order of the spec.
func (v *View) Wanted(a *argosyv1.App) []*argosyv1.StackStatus {
	key := state.AppKey{Tenant: a.GetTenant(), App: a.GetName()}
	rev := v.AppRevision(a.GetTenant(), a.GetName(), 0)
	out := make([]*argosyv1.StackStatus, 0, len(rev.GetSpec().GetStacks()))
	for _, spec := range rev.GetSpec().GetStacks() {
		s := &argosyv1.StackStatus{Stack: spec.GetName()}
		switch entry := state.Entry(rev.GetSpec(), spec.GetName()); {
		case a.GetDeleting():
		case entry.GetEachMachine():
			s.Wanted = uint32(len(v.core.allowed(key.Stack(spec.GetName()), a.GetRevision())))
		default:
			s.Wanted = entry.GetCount()
		}
		out = append(out, s)
	}
	return out
}

// ReplicaState is what may be said of a replica now, as in its status.
func (v *View) ReplicaState(r *argosyv1.Replica) argosyv1.ReplicaState {
	o, age := v.Observation(r)
	s, _ := v.stateOf(r, o, o != nil && age < v.core.timing.Unreachable)
	return s
}

// AppStatus counts an app's replicas, by stack in the order of the spec; stacks that are no longer in it follow.
func (v *View) AppStatus(a *argosyv1.App) *argosyv1.AppStatus {
	out := &argosyv1.AppStatus{App: a, Stacks: v.Wanted(a)}
	stacks := map[string]*argosyv1.StackStatus{}
	for _, s := range out.Stacks {
		stacks[s.Stack] = s
		out.Wanted += s.Wanted
	}
	for _, r := range v.AppReplicas(state.AppKey{Tenant: a.GetTenant(), App: a.GetName()}) {
		s := stacks[r.GetKey().GetStack()]
		if s == nil {
			s = &argosyv1.StackStatus{Stack: r.GetKey().GetStack()}
			stacks[s.Stack] = s
			out.Stacks = append(out.Stacks, s)
		}
		st := v.Status(r)
		if r.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_RUN &&
			(st.GetState() == argosyv1.ReplicaState_REPLICA_STATE_READY || st.GetState() == argosyv1.ReplicaState_REPLICA_STATE_COMPLETED) {
			s.Ready++
			out.Ready++
		}
		if st.GetUpToDate() {
			s.Updated++
		}
	}
	return out
}

// MachineStatus says how a machine stands.
func (v *View) MachineStatus(m *argosyv1.Machine) *argosyv1.MachineStatus {
	id := m.GetId()
	out := &argosyv1.MachineStatus{Machine: m, Condition: v.core.condition(id), Message: v.core.verdicts[id].Message,
		Usage: v.core.disp.Usage(id)}
	if last := v.core.disp.LastHeard(id); !last.IsZero() {
		out.Age = durationpb.New(max(v.now.Sub(last), 0))
	}
	for _, r := range v.MachineReplicas(id) {
		out.Replicas++
		if sh := v.core.shapeAt(state.KeyOf(r.GetKey()).StackKey(), r.GetRevision()); sh.Shape != nil {
			out.ReservedCpuMilli += sh.Need.CPU
			out.ReservedMemory += sh.Need.Memory
		}
	}
	if m.GetDrain() != nil {
		out.Remaining = v.core.remaining(id)
		out.Drained = len(out.Remaining) == 0
		out.Message = join(drainText(m.GetDrain(), len(out.Remaining)), out.Message)
	}
	if s := v.core.disp.Storage(id); s != nil {
		out.Guard = s.GetGuard()
	}
	if t := v.core.disp.Trouble(id); t != "" {
		out.Message = join(t, out.Message)
	}
	if t, _ := v.core.disp.Network(id); t != "" {
		out.Message = join(t, out.Message)
	}
	if out.Strays = v.strays(id); len(out.Strays) > 0 {
		out.Message = join(out.Message, strayText(len(out.Strays)))
	}
	if session, reported := v.core.disp.Connected(id); session && !reported {
		out.Message = join("its agent is connected and has not reported yet", out.Message)
	}
	return out
}

// strays are volumes on a machine that no record names: neither a replica nor data that was kept has them.
func (v *View) strays(id string) []*argosyv1.StrayVolume {
	var out []*argosyv1.StrayVolume
	for _, s := range v.core.disp.Strays(id) {
		k := state.KeyOf(s.GetReplica())
		named := slices.ContainsFunc(v.Volumes(k), func(r *argosyv1.Volume) bool { return r.GetName() == s.GetName() && r.GetMachine() == id })
		if r := v.Replica(k); !named && r.GetMachine() != id {
			out = append(out, s)
		}
	}
	return out
}

func strayText(n int) string {
	if n == 1 {
		return "keeps a volume that nothing in the cluster names"
	}
	return fmt.Sprintf("keeps %d volumes that nothing in the cluster names", n)
}

// Usage lists the latest usage of an app's members (of all apps' when app is empty, of all tenants' when both are) and of
// all machines, by name.
func (v *View) Usage(tenant, app string) *argosyv1.ListUsageResponse {
	out := &argosyv1.ListUsageResponse{Machines: map[string]*argosyv1.MachineUsage{}}
	list := v.Replicas(tenant)
	if app != "" {
		list = v.AppReplicas(state.AppKey{Tenant: tenant, App: app})
	}
	for _, r := range list {
		for _, name := range v.MembersOf(state.KeyOf(r.GetKey()).StackKey(), r.GetRevision()) {
			if u := v.core.disp.MemberUsage(r.GetMachine(), state.KeyOf(r.GetKey()), name); u != nil {
				out.Members = append(out.Members, u)
			}
		}
	}
	for _, m := range v.Machines() {
		if u := v.core.disp.Usage(m.GetId()); u != nil {
			out.Machines[cmp.Or(m.GetName(), m.GetId())] = u
		}
	}
	return out
}

// UsageAt is when a machine last reported usage, zero when never.
func (v *View) UsageAt(machine string) time.Time { return v.core.disp.UsageAt(machine) }

// MachineUsage is what a machine last reported of itself, nil when nothing.
func (v *View) MachineUsage(machine string) *argosyv1.MachineUsage { return v.core.disp.Usage(machine) }

// ReplicaUsage adds up what a replica's members use; nil when none of them was sampled.
func (v *View) ReplicaUsage(r *argosyv1.Replica) *argosyv1.ReplicaUsage {
	k := state.KeyOf(r.GetKey())
	var out *argosyv1.ReplicaUsage
	rated := true
	for _, name := range v.MembersOf(k.StackKey(), r.GetRevision()) {
		u := v.core.disp.MemberUsage(r.GetMachine(), k, name)
		if u == nil {
			continue
		}
		if out == nil {
			out = &argosyv1.ReplicaUsage{Key: r.GetKey(), Rate: &argosyv1.Traffic{}}
		}
		out.CpuMilli += u.GetCpuMilli()
		out.Memory += u.GetMemory()
		out.Members = append(out.Members, u)
		rated = rated && u.GetRate() != nil
		out.Rate.NetworkReceived += u.GetRate().GetNetworkReceived()
		out.Rate.NetworkSent += u.GetRate().GetNetworkSent()
		out.Rate.DiskRead += u.GetRate().GetDiskRead()
		out.Rate.DiskWritten += u.GetRate().GetDiskWritten()
	}
	if out != nil && !rated {
		out.Rate = nil
	}
	return out
}

// NotFoundError says that something is not in the cluster.
type NotFoundError struct{ What string }

func (e *NotFoundError) Error() string { return e.What }

// Lacks says which part of a key names nothing; nil when there is such a replica.
func (v *View) Lacks(k state.Key) error {
	if v.Replica(k) != nil {
		return nil
	}
	return v.noReplica(k)
}

func (v *View) noReplica(k state.Key) error {
	what := fmt.Sprintf("there is no replica %s", k)
	if k.Number == 0 {
		what = fmt.Sprintf("there is no stack %s", k.StackKey())
	}
	rev := v.AppRevision(k.Tenant, k.App, 0)
	numbers := v.StackReplicas(k.StackKey())
	switch {
	case v.App(k.Tenant, k.App) == nil:
		what = fmt.Sprintf("there is no app %s", k.AppKey())
	case state.StackSpec(rev.GetSpec(), k.Stack) == nil && len(numbers) == 0:
		what = fmt.Sprintf("app %s has no stack %s", k.AppKey(), k.Stack)
	case len(numbers) > 0:
		what += fmt.Sprintf(": %s has %d, from %d to %d", k.StackKey(), len(numbers), numbers[0].GetKey().GetNumber(),
			slices.MaxFunc(numbers, func(a, b *argosyv1.Replica) int {
				return cmp.Compare(a.GetKey().GetNumber(), b.GetKey().GetNumber())
			}).GetKey().GetNumber())
	}
	return &NotFoundError{what}
}
