package sim

import (
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/state"
)

// idle is what a cluster did that had nothing to do.
type idle struct{ commits, messages, starts, stops int }

func (w *World) idle() (i idle) {
	i.commits, i.messages = w.commits, w.messages
	for _, m := range w.machines {
		if !m.removed {
			i.starts += m.engine.starts
			i.stops += m.engine.stops
		}
	}
	return i
}

// CheckQuiet looks at what must hold of a settled cluster: in a minute in which nothing happens nothing is done but beating;
// and when its leader is killed, another is elected, and all agents are killed and start, no container notices. What fails
// for ever, or never fits, keeps a cluster busy: then only the second is looked at, and only that nothing is stopped.
func (w *World) CheckQuiet() {
	if w.clings() {
		// A leader gives nothing to a machine that asked for a lease in vain, for ten minutes, and the next one knows nothing of that.
		w.Run(10 * time.Minute)
	}
	before := w.idle()
	w.Run(time.Minute)
	after := w.idle()
	busy := w.busy()
	if !busy && after != before {
		w.violate("work follows change: in an idle minute %d transactions, %d messages, %d starts and %d stops",
			after.commits-before.commits, after.messages-before.messages, after.starts-before.starts, after.stops-before.stops)
	}
	before = w.idle()
	w.trace("the control plane and all agents restart")
	w.KillLeader()
	w.election()
	for _, m := range w.machines {
		if m.agent != nil && !m.removed {
			w.RestartAgent(m)
		}
	}
	w.Run(30 * time.Second)
	after = w.idle()
	if after.stops != before.stops || !busy && after.starts != before.starts {
		w.violate("nothing stops that need not: %d stops and %d starts after a restart of the control plane and the agents",
			after.stops-before.stops, after.starts-before.starts)
	}
	if w.leader == nil || !w.leader.serving() {
		w.violate("nobody leads half a minute after the leader was killed")
	}
}

// clings reports whether something with a shared volume is on a machine that is drained.
func (w *World) clings() bool {
	v := w.View()
	if v == nil || !w.guarded {
		return false
	}
	for _, m := range v.Machines() {
		if m.GetDrain() == nil {
			continue
		}
		for _, r := range v.MachineReplicas(m.GetId()) {
			if v.HasShared(state.KeyOf(r.GetKey())) {
				return true
			}
		}
	}
	return false
}

// busy reports whether something is not as it should be for good, so that somebody goes on trying.
func (w *World) busy() bool {
	v := w.View()
	if v == nil {
		return true
	}
	for _, r := range v.Replicas("") {
		_, old := v.StackOf(state.KeyOf(r.GetKey()).StackKey(), r.GetRevision())
		_, next := v.StackOf(state.KeyOf(r.GetKey()).StackKey(), 0)
		if v.Status(r).GetState() != argosyv1.ReplicaState_REPLICA_STATE_READY || len(r.GetPast()) > 0 || doomed(old) || doomed(next) {
			return true
		}
	}
	return false
}
