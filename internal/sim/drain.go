package sim

import (
	"strings"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	agent "github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/leader/core"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
)

// standIn reports whether an incarnation goes on until the next one is ready.
func standIn(v *core.View, id agent.ID, machine string) bool {
	p := state.PastOn(v.Replica(state.Key(id.Key)), machine)
	return p.GetUntilReady() && p.GetIncarnation() == id.Incarnation
}

// move is why a replica leaves a machine: a drain, or an update that does not fit there.
type move struct {
	state.StackKey
	update bool
}

// checkMoves: a decision takes a ready replica off a machine that answers only by having it go on until the next incarnation
// is ready, and lets it go on until then, unless two cannot run, because they share a volume; at most one of a stack, and one
// more that an update moves: what a drain moves serves meanwhile. What is drained with force is stopped, and what has to give back a
// shared volume, as its machine is about to be shut down, stops whatever else is.
func (w *World) checkMoves(v *core.View, units []core.Unit) {
	moved := map[move]state.Key{}
	for _, u := range units {
		for _, op := range u.Ops {
			next := &argosyv1.Replica{}
			if !strings.HasPrefix(op.Key, store.Replicas) || op.Value == nil || store.Decode(store.KV{Key: op.Key, Value: op.Value}, next) != nil {
				continue
			}
			k := state.KeyOf(next.GetKey())
			old := v.Replica(k)
			if old == nil || old.GetGoal() != argosyv1.ReplicaGoal_REPLICA_GOAL_RUN || next.GetGoal() != argosyv1.ReplicaGoal_REPLICA_GOAL_RUN {
				continue
			}
			w.checkMove(v, k, old, next, moved)
		}
	}
}

func (w *World) checkMove(v *core.View, k state.Key, old, next *argosyv1.Replica, moved map[move]state.Key) {
	drain := v.Machine(old.GetMachine()).GetDrain()
	ready := v.Status(old).GetState() == argosyv1.ReplicaState_REPLICA_STATE_READY
	parted := v.HasShared(k) && v.MachineStatus(v.Machine(old.GetMachine())).GetGuard().GetLeaving()
	if drain != nil && !drain.GetOverdue() && ready && !parted && next.GetIncarnation() != old.GetIncarnation() && v.Condition(old.GetMachine()) == argosyv1.MachineCondition_MACHINE_CONDITION_DRAINING {
		why := move{k.StackKey(), old.GetRevision() != next.GetRevision()}
		if other, ok := moved[why]; ok {
			w.violate("one at a time: %s and %s leave at once", other, k)
		}
		moved[why] = k
		if p := state.PastOn(next, old.GetMachine()); !p.GetUntilReady() && old.GetRevision() == next.GetRevision() && !v.HasShared(k) {
			w.violate("a drain takes nothing away: %s is ready on %s and is stopped before it is ready elsewhere", k, v.MachineName(old.GetMachine()))
		}
	}
	for _, p := range old.GetPast() {
		m := v.Machine(p.GetMachine())
		over := m.GetDrain().GetOverdue() && m.GetDrain().GetStopAtDeadline()
		if !p.GetUntilReady() || m == nil || over || v.Condition(m.GetId()) == argosyv1.MachineCondition_MACHINE_CONDITION_LOST || ready || old.GetMachine() == p.GetMachine() {
			continue
		}
		for _, q := range next.GetPast() {
			if q.GetIncarnation() == p.GetIncarnation() && !q.GetUntilReady() {
				w.violate("a drain takes nothing away: incarnation %d of %s ends on %s before the next one is ready", p.GetIncarnation(), k, m.GetName())
			}
		}
	}
}

// checkDrained: a machine that is drained and answers has only what says why it is still there, and could be nowhere else.
func (w *World) checkDrained(v *core.View, m *Machine) {
	record := v.Machine(m.ID)
	if record.GetDrain() == nil || !m.alive() {
		return
	}
	status := v.MachineStatus(record)
	if status.GetCondition() != argosyv1.MachineCondition_MACHINE_CONDITION_DRAINING {
		w.violate("%s is drained and is called %s", m.Name, status.GetCondition())
	}
	if status.GetDrained() && record.GetDrain().GetEmptiedAt() == nil {
		w.violate("nothing is left on %s, and nobody wrote that down", m.Name)
	}
	for _, r := range v.MachineReplicas(m.ID) {
		k := state.KeyOf(r.GetKey())
		s := v.Status(r)
		home, _ := v.HomeOf(k)
		switch {
		case s.GetMessage() == "":
			w.violate("no silent refusal: %s is on %s, which is drained, and nothing says why", k, m.Name)
		case home == m.ID && record.GetDrain().GetStopData():
			w.violate("%s is still on %s, where what has data is to be stopped: %s", k, m.Name, s.GetMessage())
		case home == m.ID || w.handing(v, k):
		default:
			w.checkNowhere(v, k, s)
		}
	}
}

// handing reports whether a replica of the stack is awaited elsewhere, so that the others wait for their turn.
func (w *World) handing(v *core.View, k state.Key) bool {
	for _, r := range v.StackReplicas(k.StackKey()) {
		for _, p := range r.GetPast() {
			if p.GetUntilReady() {
				return true
			}
		}
	}
	return false
}

// checkNowhere: what stays fits nowhere else.
func (w *World) checkNowhere(v *core.View, k state.Key, s *argosyv1.ReplicaStatus) {
	ex, err := v.Explain(k, false)
	if err != nil {
		w.violate("%s cannot be explained: %v", k, err)
		return
	}
	for _, m := range ex.GetNow() {
		if m.GetFits() {
			w.violate("agreement: %s stays on a machine that is drained (%s) and fits on %s: %s", k, s.GetMessage(), m.GetMachine(), m.GetDetail())
		}
	}
}
