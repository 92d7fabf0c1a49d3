package sim

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	agent "github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/leader/core"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
)

// CheckSettled looks at what must hold once faults have ended and some time has passed.
func (w *World) CheckSettled() {
	v := w.View()
	if v == nil {
		w.violate("agreement: nobody leads")
		return
	}
	if w.leader.busy {
		// A transaction is on its way: nobody can tell yet.
		w.Run(10 * time.Millisecond)
		w.CheckSettled()
		return
	}
	w.checkMirror(v)
	w.checkServers(v)
	w.checkAcked(v)
	wanted := map[agent.ID]*argosyv1.Replica{}
	for _, m := range w.machines {
		w.checkDrained(v, m)
	}
	for _, r := range v.Replicas("") {
		w.checkReplica(v, r)
		if r.GetMachine() != "" && r.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_RUN {
			wanted[agent.ID{Key: agent.KeyOf(r.GetKey()), AppUID: r.GetAppUid(), Incarnation: r.GetIncarnation()}] = r
		}
	}
	for _, m := range w.machines {
		w.checkEngine(v, m, wanted)
	}
}

// checkReplica: what the store wants runs, unless it cannot.
func (w *World) checkReplica(v *core.View, r *argosyv1.Replica) {
	k := state.KeyOf(r.GetKey())
	s := v.Status(r)
	app := v.App(k.Tenant, k.App)
	_, containers := v.StackOf(k.StackKey(), r.GetRevision())
	m := w.byID(r.GetMachine())
	switch {
	case r.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE:
		if m == nil || m.alive() && len(r.GetPast()) == 0 {
			w.violate("agreement: %s is still being removed by %s: %s", k, v.MachineName(r.GetMachine()), s.GetMessage())
		}
	case len(r.GetPast()) > 0 && !slices.ContainsFunc(r.GetPast(), func(p *argosyv1.PastIncarnation) bool {
		m := w.byID(p.GetMachine())
		return p.GetUntilReady() || m != nil && !m.alive()
	}):
		w.violate("agreement: %s still has earlier incarnations on machines that are back: %v", k, r.GetPast())
	case doomed(containers) || r.GetMachine() == "" || m != nil && !m.alive():
	case s.GetState() != argosyv1.ReplicaState_REPLICA_STATE_READY:
		w.violate("agreement: %s is %s on %s: %s", k, s.GetState(), v.MachineName(r.GetMachine()), s.GetMessage())
	case app.GetRevision() != r.GetRevision() && !w.excused(v, k) && s.GetMessage() == "":
		w.violate("agreement: %s is at revision %d of %d and says nothing of it", k, r.GetRevision(), app.GetRevision())
	case app.GetRevision() != r.GetRevision() && !w.excused(v, k):
		w.violate("agreement: %s is still at revision %d of %d: %s", k, r.GetRevision(), app.GetRevision(), s.GetMessage())
	}
	if r.GetMachine() == "" && r.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_RUN {
		w.checkPending(v, k, s)
	}
}

// checkPending: what is on no machine says why, and fits none.
func (w *World) checkPending(v *core.View, k state.Key, s *argosyv1.ReplicaStatus) {
	if s.GetMessage() == "" {
		w.violate("no silent refusal: %s is on no machine and nothing says why", k)
	}
	ex, err := v.Explain(k, false)
	if err != nil {
		w.violate("%s cannot be explained: %v", k, err)
	}
	for _, m := range ex.GetNow() {
		if m.GetFits() {
			w.violate("agreement: %s waits (%s) and fits on %s: %s", k, s.GetMessage(), m.GetMachine(), m.GetDetail())
		}
	}
}

func (m *Machine) alive() bool { return m.up && m.hears() && m.speaks() && !m.removed }

// doomed reports whether a replica can never be ready.
func doomed(containers []*argosyv1.ContainerSpec) bool {
	return slices.ContainsFunc(containers, func(ct *argosyv1.ContainerSpec) bool {
		return strings.Contains(ct.GetImage(), "missing") || strings.Contains(ct.GetImage(), "failing")
	})
}

// excused reports whether an update of a replica's stack may stand still: the new revision is doomed, or the replica does
// not fit.
func (w *World) excused(v *core.View, k state.Key) bool {
	_, containers := v.StackOf(k.StackKey(), 0)
	if doomed(containers) {
		return true
	}
	if !strings.Contains(v.Status(v.Replica(k)).GetMessage(), "does not fit") {
		return false
	}
	// What says that it does not fit must not fit. A plan has the app's other stacks updated as well, one of which may never be: what
	// that would make room for is not there.
	for _, st := range v.AppRevision(k.Tenant, k.App, 0).GetSpec().GetStacks() {
		if _, others := v.StackOf(k.AppKey().Stack(st.GetName()), 0); doomed(others) {
			return true
		}
	}
	plan, err := v.Plan(k.Tenant, v.AppRevision(k.Tenant, k.App, 0).GetSpec())
	if err != nil {
		w.violate("%s cannot be planned: %v", k, err)
	}
	for _, c := range plan.GetChanges() {
		if state.KeyOf(c.GetKey()) == k && c.GetKind() != argosyv1.ChangeKind_CHANGE_KIND_WAIT {
			w.violate("agreement: %s waits (%s), and a plan would %s it: %s", k, v.Status(v.Replica(k)).GetMessage(), c.GetKind(), c.GetReason().GetSummary())
		}
	}
	return true
}

// checkEngine: a machine runs what the store wants of it, nothing besides and nothing twice.
func (w *World) checkEngine(v *core.View, m *Machine, wanted map[agent.ID]*argosyv1.Replica) {
	if !m.alive() || v.Machine(m.ID) == nil {
		return
	}
	w.checkTold(m)
	w.checkVolumes(v, m)
	running := map[agent.MemberID]int{}
	for _, id := range m.engine.ids() {
		b := m.engine.containers[id]
		if standIn(v, b.Owner, m.ID) {
			continue
		}
		r := wanted[b.Owner]
		if r == nil || r.GetMachine() != m.ID {
			w.violate("agreement: %s has an orphan: container %s of %s incarnation %d", m.Name, id, b.Owner.Key, b.Owner.Incarnation)
			continue
		}
		if b.State == agent.Running {
			running[agent.MemberID{ID: b.Owner, Member: b.Member}]++
		}
	}
	for id, n := range running {
		if n > 1 {
			w.violate("agreement: %s runs %s/%s %d times", m.Name, id.Key, id.Member, n)
		}
	}
}

// checkVolumes: what a machine keeps, a record names. A machine whose disk lost what it said was written begins again from what it
// believed earlier, and may have made the volume of a replica that has been deleted since. Whether such a volume is anybody's data,
// nobody can know, so it stays, and the cluster has to say so. It says so of nothing else.
func (w *World) checkVolumes(v *core.View, m *Machine) {
	shown := map[agent.Key]bool{}
	for _, s := range v.MachineStatus(v.Machine(m.ID)).GetStrays() {
		k := agent.KeyOf(s.GetReplica())
		shown[k] = true
		if !m.engine.volumes[k] || len(v.Volumes(state.Key(k))) > 0 {
			w.violate("no lies: %s is said to keep a volume of %s that nothing names: it is there: %v, and records name %d", m.Name, k, m.engine.volumes[k], len(v.Volumes(state.Key(k))))
		}
	}
	for k := range m.engine.volumes {
		if len(v.Volumes(state.Key(k))) == 0 && !(m.lied && shown[k]) {
			w.violate("agreement: %s keeps the volumes of %s, which no record names, and which is said to be left over: %v", m.Name, k, shown[k])
		}
	}
}

// checkForeseen: what is foreseen is about replicas of machines that are silent and not yet lost, and would go to another one.
func (w *World) checkForeseen(v *core.View) {
	for k, to := range v.Foreseen() {
		r := v.Replica(k)
		if c := v.Condition(r.GetMachine()); c != argosyv1.MachineCondition_MACHINE_CONDITION_UNREACHABLE {
			w.violate("no lies: %s is said to go elsewhere if its machine is lost, which is %s", k, c)
		}
		local := slices.ContainsFunc(v.Volumes(k), func(vol *argosyv1.Volume) bool { return !state.Shared(vol) })
		if to == r.GetMachine() || local {
			w.violate("agreement: %s would go from %s to %q, with %d volumes", k, r.GetMachine(), to, len(v.Volumes(k)))
		}
	}
}

// checkTold: what the agent believes it should run is what the leader would tell it.
func (w *World) checkTold(m *Machine) {
	c := w.leader.core
	keys := c.Assigned(m.ID)
	if m.agent == nil || len(keys) != len(m.agent.wanted) || len(keys) != len(m.disk.wanted) {
		w.violate("agreement: %s should know of %d replicas, and does not", m.Name, len(keys))
		return
	}
	for _, k := range keys {
		if !proto.Equal(m.agent.wanted[agent.Key(k)], c.Assignment(m.ID, k)) {
			w.violate("agreement: %s was told %v of %s and should know %v", m.Name, m.agent.wanted[agent.Key(k)], k, c.Assignment(m.ID, k))
		}
	}
}

// checkMirror: the leader's mirror is what the store holds.
func (w *World) checkMirror(v *core.View) {
	snap, err := w.store.List(context.Background(), store.Root)
	if err != nil {
		w.violate("reading the store: %v", err)
		return
	}
	if diff := state.Diff(v.State, state.Load(snap)); diff != "" {
		w.violate("the leader's mirror differs from the store: %s", diff)
	}
}

// checkAcked: what was acknowledged is in the store.
func (w *World) checkAcked(v *core.View) {
	for _, k := range slices.SortedFunc(maps.Keys(w.acked.apps), state.AppKey.Compare) {
		if app := v.App(k.Tenant, k.App); app.GetRevision() < w.acked.apps[k] {
			w.violate("nothing acknowledged is lost: %s was acknowledged at revision %d and is at %d", k, w.acked.apps[k], app.GetRevision())
		}
	}
	have := map[string]int{}
	for _, t := range w.History() {
		if t.GetOutboxSeq() > 0 {
			have[fmt.Sprintf("%s/%d", t.GetMachine(), t.GetOutboxSeq())]++
		}
	}
	for _, id := range slices.Sorted(maps.Keys(w.acked.transitions)) {
		machine, _, _ := strings.Cut(id, "/")
		if m := w.byID(machine); m != nil && m.lied {
			continue // it may have used the number twice
		}
		if have[id] != 1 {
			w.violate("nothing acknowledged is lost: transition %s is %d times in history: %s", id, have[id], Describe(w.acked.transitions[id]))
		}
	}
}
