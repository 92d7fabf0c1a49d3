package leader

import (
	"github.com/argosy-cluster/argosy/internal/leader/core"
)

// Subscription tells of changes. C receives when there is something to take; changes add up until they are taken, so a
// slow reader misses nothing and holds nobody up.
type Subscription struct {
	C <-chan struct{}

	l       *Leader
	c       chan struct{}
	pending Change // guarded by the leader's mutex
}

// maxPending is how many keys a subscription remembers; one further behind reads everything again.
const maxPending = 16384

// Subscribe begins to gather changes. The first Take says All; so does one after a change of leader.
func (l *Leader) Subscribe() *Subscription {
	c := make(chan struct{}, 1)
	s := &Subscription{C: c, c: c, l: l, pending: core.NewChange()}
	all := core.NewChange()
	all.All = true
	l.mu.Lock()
	defer l.mu.Unlock()
	l.subs[s] = struct{}{}
	s.add(all)
	return s
}

// add takes in a change. The leader's mutex is held.
func (s *Subscription) add(ch Change) {
	if ch.Empty() && ch.Seq <= s.pending.Seq {
		return
	}
	s.pending.Add(ch)
	if len(s.pending.Replicas)+len(s.pending.Apps)+len(s.pending.Machines) > maxPending {
		seq := s.pending.Seq
		s.pending = core.NewChange()
		s.pending.All, s.pending.Seq = true, seq
	}
	select {
	case s.c <- struct{}{}:
	default:
	}
}

// Take returns what changed since the last call.
func (s *Subscription) Take() Change {
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	ch := s.pending
	s.pending = core.NewChange()
	s.pending.Seq = ch.Seq
	return ch
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	delete(s.l.subs, s)
}
