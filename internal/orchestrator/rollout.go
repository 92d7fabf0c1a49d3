package orchestrator

import (
	"fmt"
	"slices"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/state"
)

// roll brings the replicas that stay to the target. What their containers do not notice happens to all at once, and a
// restart that was asked of one replica at once to that one. The rest happens one at a time.
func (d *decision) roll() {
	if d.in.Spec == nil || d.in.App == nil || d.in.App.GetDeleting() {
		return
	}
	busy := d.busy()
	var next []Change
	var blocked *argosyv1.Replica
	for _, r := range d.kept {
		k := state.KeyOf(r.GetKey())
		c := Change{Key: k, Replica: r, Revision: d.in.Target, Restart: RestartCount(d.in.App, k)}
		sameRestart := r.GetRestart() == c.Restart
		m := d.in.Machine(r.GetMachine())
		switch {
		case r.GetRevision() == c.Revision && sameRestart:
			if blocked == nil && d.unsettled(r) {
				blocked = r
			}
		case busy[k]:
			// Its record is about to change anyway; its turn comes when that is done. It is no more ready for that.
			if blocked == nil && r.GetRevision() == c.Revision && d.unsettled(r) {
				blocked = r
			}
		case sameRestart && d.in.Same(r.GetRevision()):
			c.Kind, c.Why = Adopt, fmt.Sprintf("revision %d changes nothing for it", c.Revision)
			d.change(c)
		case r.GetRevision() == c.Revision && r.GetRestart()>>32 == c.Restart>>32:
			c.Kind, c.Why = Restart, "somebody asked to restart this replica"
			d.change(c)
			if blocked == nil {
				blocked = r // it will not be ready for a while
			}
		case !m.live():
			d.wait(k, fmt.Sprintf("revision %d waits for %s, which is %s", c.Revision, m.Name, Word(m.Condition)))
		default:
			c.Kind, c.Why = Restart, d.whyRolled(r, c)
			next = append(next, c)
		}
	}
	if blocked != nil {
		d.plan.Halted, d.plan.Again = d.halted(blocked), d.proves(blocked)
		for _, c := range next {
			d.wait(c.Key, d.plan.Halted)
		}
		return
	}
	// Where new copies go shows only when they are placed; they are awaited like any other then. What is to be replaced because its
	// machine is lost, if it can be, is not awaited before: see unsettled.
	for _, c := range d.plan.Changes {
		optional := c.Optional && d.in.Machine(c.Replica.GetMachine()).lost()
		if c.Kind == Create || c.Kind == Renew || c.Kind == Replace && !optional {
			for _, n := range next {
				d.wait(n.Key, fmt.Sprintf("revision %d waits for %s to be placed", n.Revision, c.Key))
			}
			return
		}
	}
	slices.SortStableFunc(next, func(a, b Change) int { return order(d.isReady(a.Replica), d.isReady(b.Replica)) })
	d.plan.Roll = next
}

// busy are the replicas that the plan already changes.
func (d *decision) busy() map[state.Key]bool {
	out := map[state.Key]bool{}
	for _, c := range d.plan.Changes {
		if c.Kind != DropVolume {
			out[c.Key] = true
		}
	}
	return out
}

func order(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func (d *decision) whyRolled(r *argosyv1.Replica, c Change) string {
	if r.GetRevision() == c.Revision {
		return "restart of the stack, one replica at a time"
	}
	return fmt.Sprintf("updated from revision %d to %d, one replica at a time", r.GetRevision(), c.Revision)
}

func (d *decision) wait(k state.Key, why string) {
	if d.plan.Waits[k] == "" {
		d.plan.Waits[k] = why
	}
}

func (d *decision) isReady(r *argosyv1.Replica) bool {
	s := d.in.Seen(r).State
	return s == argosyv1.ReplicaState_REPLICA_STATE_READY || s == argosyv1.ReplicaState_REPLICA_STATE_COMPLETED
}

// How long a replica that has the target is to be ready before the next one gets it: what cannot run often runs for a moment, and one
// that has ended already for longer than it did then, as likely as not.
const (
	provenAfter      = 2 * time.Second
	provenAgainAfter = 10 * time.Second
)

// proves is how much longer a replica that is ready at the target has to stay so; zero for one that is not, and for what has completed.
func (d *decision) proves(r *argosyv1.Replica) time.Duration {
	s := d.in.Seen(r)
	if s.State != argosyv1.ReplicaState_REPLICA_STATE_READY || !d.has(r, s) {
		return 0
	}
	after := provenAfter
	if s.Ended {
		after = provenAgainAfter
	}
	return max(0, after-s.For)
}

// has reports whether what was seen of a replica is what it is to be.
func (d *decision) has(r *argosyv1.Replica, s Seen) bool {
	return s.Revision == r.GetRevision() && s.Restart == r.GetRestart()
}

// unsettled reports whether a replica that has the target holds the others up: it is not seen ready at it, or not for long enough.
// One on a lost machine does not; nobody can say when that returns.
func (d *decision) unsettled(r *argosyv1.Replica) bool {
	if d.in.Machine(r.GetMachine()).lost() {
		return false
	}
	return !d.isReady(r) || !d.has(r, d.in.Seen(r)) || d.proves(r) > 0
}

func (d *decision) halted(by *argosyv1.Replica) string {
	s := d.in.Seen(by)
	what := stateWord(s.State)
	if s.Revision != by.GetRevision() && s.State != argosyv1.ReplicaState_REPLICA_STATE_UNSPECIFIED {
		what = "not seen at it yet"
	}
	if more := d.proves(by); more > 0 {
		text := fmt.Sprintf("revision %d waits for %s to stay ready", d.in.Target, state.KeyOf(by.GetKey()))
		if s.Ended {
			text += " for " + provenAgainAfter.String() + ", since it has ended before"
		}
		return text
	}
	text := fmt.Sprintf("revision %d waits for %s to be ready at it: %s", d.in.Target, state.KeyOf(by.GetKey()), what)
	if s.Message != "" {
		text += ": " + s.Message
	}
	return text
}

func stateWord(s argosyv1.ReplicaState) string {
	switch s {
	case argosyv1.ReplicaState_REPLICA_STATE_PENDING:
		return "pending"
	case argosyv1.ReplicaState_REPLICA_STATE_STARTING:
		return "starting"
	case argosyv1.ReplicaState_REPLICA_STATE_READY:
		return "ready"
	case argosyv1.ReplicaState_REPLICA_STATE_DEGRADED:
		return "degraded"
	case argosyv1.ReplicaState_REPLICA_STATE_FAILED:
		return "failed"
	case argosyv1.ReplicaState_REPLICA_STATE_STOPPING:
		return "stopping"
	case argosyv1.ReplicaState_REPLICA_STATE_GONE:
		return "gone"
	case argosyv1.ReplicaState_REPLICA_STATE_COMPLETED:
		return "completed"
	}
	return "not seen lately"
}
