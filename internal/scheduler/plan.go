package scheduler

import "time"

// Plan decides requests for a cluster described whole, without an index to
// keep. Decisions refer to the elements of requests.
func Plan(machines []Machine, placed []Placed, requests []Request) []Decision {
	s := New()
	for _, m := range machines {
		s.SetMachine(m)
	}
	for _, p := range placed {
		s.Add(p)
	}
	return s.Decide(time.Time{}, requests)
}

// WhatIf is Decide if the placements gone were not there. The index is as it
// was when it returns, since an index has no history; the cost is that of the
// changes and of undoing them.
func (s *Scheduler) WhatIf(now time.Time, gone []Placed, batch []Request) []Decision {
	var back []Placed
	for _, p := range gone {
		if was, ok := s.lookup(p); ok {
			back = append(back, was)
			s.Remove(p)
		}
	}
	decisions, replaced := s.decideAside(now, batch)
	for i := range decisions {
		if decisions[i].Placed() {
			s.Remove(decisions[i].Placement())
		}
	}
	for _, p := range append(back, replaced...) {
		s.Add(p)
	}
	return decisions
}

// decideAside is Decide, and says which placements had to make room for
// another one of the same incarnation on the same machine: it may be asked for
// what is decided already, and not yet written down.
func (s *Scheduler) decideAside(now time.Time, batch []Request) (decisions []Decision, replaced []Placed) {
	s.noting, s.replaced = true, nil
	decisions = s.Decide(now, batch)
	s.noting = false
	return decisions, s.replaced
}

// lookup finds a placement as it was added.
func (s *Scheduler) lookup(p Placed) (Placed, bool) {
	slot, ok := s.byID[p.Machine]
	if !ok {
		return p, false
	}
	st, ok := s.stacks[p.Replica.Stack]
	if !ok {
		return p, false
	}
	i := st.booked.find(booking{p.Replica.Number, p.Incarnation, slot, 0})
	if i < 0 {
		return p, false
	}
	p.Shape = s.demands[st.booked.list[i].demand].shape
	return p, true
}
