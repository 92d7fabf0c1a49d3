package scheduler

import "time"

// Room is for how many more replicas of one stack there is room.
type Room struct {
	Count int
	More  bool // there is room for more than Count, which is the limit asked for
	// Counts is for how many machines each cause is in the way of one more, once
	// Count are placed: as a decision's Rejections would have it.
	Counts [causes]int32
	// Missing are stacks that it goes together with and that are placed nowhere;
	// Counts is zero then.
	Missing []Stack
}

// Ends is the cause that stops most of the machines that met every rule, or, if
// none did, most machines. CauseNone is for no machines at all.
func (r *Room) Ends() Cause {
	if len(r.Missing) > 0 {
		return CauseTogether
	}
	most := CauseNone
	for c := CauseApart; c < causes; c++ {
		if r.Counts[c] > 0 && r.Counts[c] >= r.Counts[most] {
			most = c
		}
	}
	if most != CauseNone {
		return most
	}
	for c := CauseUnknown; c < causes; c++ {
		if r.Counts[c] > r.Counts[most] {
			most = c
		}
	}
	return most
}

// Room counts how many requests of a shape Decide would place one after the
// other, up to a limit. It costs one look at each machine, however many fit:
// replicas of one stack are in each other's way only on one machine, so what a
// machine takes does not depend on the others. It changes nothing.
func (s *Scheduler) Room(name Stack, shape *Shape, limit int) Room {
	s.sweep()
	d := s.demandOf(name, shape)
	with, waived, missing := d.company(func(o *stack) bool { return o == d.stack })
	if len(missing) > 0 {
		return Room{Missing: missing}
	}
	if waived && limit > 0 {
		return s.roomForSelf(name, shape, limit)
	}
	g := s.markedOut(d)
	var r Room
	for slot := range g.c.leaves {
		ref := &g.c.leaves[slot]
		switch {
		case ref.cause == CauseUnknown || ref.pos < 0:
			continue
		case ref.cause != CauseNone:
			r.Counts[ref.cause]++
			continue
		}
		n, cause := g.roomOn(int32(slot), with, limit)
		r.Count += n
		r.Counts[cause]++
		if r.Count > limit {
			return Room{Count: limit, More: true}
		}
	}
	return r
}

// roomForSelf is for a stack that goes together with itself and is nowhere yet:
// the first goes where it is best, the others have to follow.
func (s *Scheduler) roomForSelf(name Stack, shape *Shape, limit int) Room {
	t := s.Suppose()
	defer t.End()
	first := t.Decide(time.Time{}, []Request{{Replica: Replica{Stack: name, Number: -1}, Shape: shape}})[0]
	if !first.Placed() {
		return Room{Counts: first.Reason.Rejected.Counts}
	}
	r := s.Room(name, shape, limit-1)
	r.Count++
	return r
}

// roomOn is how many a machine of the class takes, limit+1 at most, and what is
// in the way of one more then.
func (g *group) roomOn(slot int32, with []*stack, limit int) (int, Cause) {
	for _, o := range with {
		if o.at.get(slot) == 0 {
			return 0, CauseTogether
		}
	}
	if m := &g.s.marks[slot]; m.epoch == g.s.epoch && m.cause != CauseNone {
		return 0, m.cause
	}
	free, need := g.s.machines[slot].free, g.d.need
	n := uint32(min(limit+1, 1<<30))
	cause := CauseNone
	if need.mem > 0 && free.mem/need.mem < n {
		n, cause = free.mem/need.mem, CauseMemory
	}
	if need.cpu > 0 && free.cpu/need.cpu <= n {
		n, cause = free.cpu/need.cpu, CauseCPU
	}
	if n > 0 && g.d.selfFree {
		return 1, CauseApart
	}
	if n > 0 && len(g.d.ports) > 0 {
		return 1, CausePort
	}
	if n > 0 && len(g.d.brings) > 0 {
		return 1, CauseUnit
	}
	return int(n), cause
}
