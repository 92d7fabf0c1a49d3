package core

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/orchestrator"
	"github.com/argosy-cluster/argosy/internal/scheduler"
	"github.com/argosy-cluster/argosy/internal/state"
)

// leave moves the first replica of a stack that should be elsewhere and fits there.
func (s *stepping) leave(k state.StackKey, list []orchestrator.Change) {
	for i, ch := range list {
		if s.changed.Has(ch.Key) || !s.handOver(ch) {
			continue
		}
		for _, rest := range list[i+1:] {
			s.c.wait(rest.Key, wait{text: fmt.Sprintf("%s; waits for its turn after %s", rest.Why, ch.Key)})
		}
		return
	}
}

// handOver gives a replica its next incarnation on another machine, if one takes it.
func (s *stepping) handOver(ch orchestrator.Change) bool {
	c, r, k := s.c, ch.Replica, ch.Key
	sh := c.shapeAt(k.StackKey(), ch.Revision)
	if sh.fault != "" {
		c.wait(k, wait{text: sh.fault})
		return false
	}
	d := c.sched.Decide(s.now, []scheduler.Request{{
		Replica: schedulerReplica(k), Incarnation: c.st.Above(r.GetIncarnation()), Shape: sh.of(k),
	}})
	if !d[0].Placed() {
		c.wait(k, wait{text: ch.Why + "; stays there", reason: &d[0].Reason})
		c.stuck.Add(k.StackKey())
		return false
	}
	next := proto.CloneOf(r)
	next.Past = ch.Past
	next.Incarnation = c.st.Above(next.Incarnation)
	delete(c.waits[k.StackKey()], k)
	s.assign(job{key: k, next: next, from: "on " + c.st.MachineName(r.GetMachine()), why: ch.Why}, &d[0])
	return true
}

// deadline is when a drain's deadline has to be looked at, zero when it need not be.
func deadline(m *argosyv1.Machine) time.Time {
	d := m.GetDrain()
	if d.GetDeadline() == nil || d.GetOverdue() || d.GetEmptiedAt() != nil {
		return time.Time{}
	}
	return d.GetDeadline().AsTime()
}

// drained follows a drain: that nothing is left, or that its deadline has passed. u notes what has happened.
func (c *Core) drained(now time.Time, next *argosyv1.Machine, u *building) {
	d := next.GetDrain()
	if d == nil || d.GetEmptiedAt() != nil {
		return
	}
	note := func(from, to, cause string) {
		u.note(&argosyv1.Transition{Kind: argosyv1.TransitionKind_TRANSITION_KIND_MACHINE, Machine: next.GetId(), From: from, To: to, Cause: cause})
	}
	left := len(c.remaining(next.GetId()))
	at := deadline(next)
	switch {
	case left == 0:
		next.Drain = proto.CloneOf(d)
		next.Drain.EmptiedAt = timestamppb.New(now)
		note("draining", "drained", fmt.Sprintf("nothing is left on it after %s", now.Sub(d.GetSince().AsTime()).Round(time.Second)))
	case !at.IsZero() && !now.Before(at):
		next.Drain = proto.CloneOf(d)
		next.Drain.Overdue = true
		what := "and stays"
		if d.GetStopAtDeadline() {
			what = "and is stopped now"
		}
		note("draining", "overdue", fmt.Sprintf("the deadline has passed: %s %s", replicasAreLeft(left), what))
	}
}

// replicasAreLeft counts what is left. It names nothing: machines' history is for every tenant to read.
func replicasAreLeft(n int) string {
	if n == 1 {
		return "1 replica is left"
	}
	return fmt.Sprintf("%d replicas are left", n)
}

// remaining lists what a machine still runs or may run, and what each waits for.
func (c *Core) remaining(id string) []*argosyv1.DrainRemaining {
	var out []*argosyv1.DrainRemaining
	for _, r := range c.st.MachineReplicas(id) {
		k := state.KeyOf(r.GetKey())
		why := "is about to go"
		if w, ok := c.waits[k.StackKey()][k]; ok {
			why = w.String()
		} else if r.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE {
			why = "is being removed"
		}
		out = append(out, &argosyv1.DrainRemaining{Key: r.GetKey(), Why: why})
	}
	for _, r := range c.st.MachinePast(id) {
		if r.GetMachine() == id {
			continue
		}
		p := state.PastOn(r, id)
		why := fmt.Sprintf("incarnation %d is being removed; the next one is on %s", p.GetIncarnation(), c.st.MachineName(r.GetMachine()))
		if p.GetUntilReady() {
			why = fmt.Sprintf("incarnation %d goes on until the next one is ready on %s", p.GetIncarnation(), c.st.MachineName(r.GetMachine()))
		}
		if r.GetMachine() == "" {
			why = fmt.Sprintf("incarnation %d is still there; the next one is on no machine yet", p.GetIncarnation())
		}
		out = append(out, &argosyv1.DrainRemaining{Key: r.GetKey(), Why: why})
	}
	slices.SortFunc(out, func(a, b *argosyv1.DrainRemaining) int {
		return state.KeyOf(a.GetKey()).Compare(state.KeyOf(b.GetKey()))
	})
	return out
}

// drainText says how a drain stands, empty when there is none.
func drainText(d *argosyv1.Drain, left int) string {
	if d == nil {
		return ""
	}
	text := "is being drained by " + d.GetBy()
	if left == 0 {
		text = "was drained by " + d.GetBy()
	}
	if d.GetReason() != "" {
		text += ": " + d.GetReason()
	}
	switch {
	case left == 0:
		return text + "; nothing is left on it, and it takes nothing new"
	case d.GetOverdue():
		text += "; its deadline has passed"
	}
	return text + "; " + replicasAreLeft(left)
}
