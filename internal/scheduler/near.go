package scheduler

import "cmp"

// near is a rejected machine on its way into a reason.
type near struct {
	cause Cause
	slot  int32
	ratio uint32 // shortage in thousandths of a per cent of the need, for cpu and memory
	order order  // for cpu and memory: the machine's order in the class
	short amount
}

// closeness ranks causes: shortages first, then what others' going could cure,
// then what only a change of the machine or of the manifest can.
var closeness = [causes]uint8{
	CauseCPU: 0, CauseMemory: 0, CausePort: 1, CauseUnit: 2, CauseApart: 3, CauseTogether: 4,
	CauseRequire: 5, CauseDraining: 6, CauseUnconnected: 7, CauseHung: 8, CauseUnreachable: 9, CauseLost: 10, CausePin: 11, CauseUnknown: 12,
}

// nearest keeps the MaxNear nearest of what it is offered, in order.
type nearest struct {
	n    int
	list [MaxNear]near
}

func (s *Scheduler) nearer(a, b *near) bool {
	if x, y := closeness[a.cause], closeness[b.cause]; x != y {
		return x < y
	}
	if a.ratio != b.ratio {
		return a.ratio < b.ratio
	}
	if a.order != b.order {
		return a.order < b.order
	}
	x, y := &s.machines[a.slot], &s.machines[b.slot]
	if x.tie != y.tie {
		return x.tie < y.tie
	}
	return x.spec.ID < y.spec.ID
}

// offer reports whether v is among the nearest now.
func (l *nearest) offer(s *Scheduler, v near) bool {
	if l.n == MaxNear && !s.nearer(&v, &l.list[MaxNear-1]) {
		return false
	}
	i := min(l.n, MaxNear-1)
	for ; i > 0 && s.nearer(&v, &l.list[i-1]); i-- {
		l.list[i] = l.list[i-1]
	}
	l.list[i] = v
	l.n = min(l.n+1, MaxNear)
	return true
}

// shortage measures what is missing; ratio is that of the scarcer resource.
// Both are zero if nothing is.
func shortage(free, need amount) (short amount, ratio uint32) {
	if need.cpu > free.cpu {
		short.cpu = need.cpu - free.cpu
		ratio = uint32(uint64(short.cpu) * 100_000 / uint64(need.cpu))
	}
	if need.mem > free.mem {
		short.mem = need.mem - free.mem
		ratio = max(ratio, uint32(uint64(short.mem)*100_000/uint64(need.mem)))
	}
	return short, ratio
}

func causeOfShortage(short amount) Cause {
	switch {
	case short.cpu > 0:
		return CauseCPU
	case short.mem > 0:
		return CauseMemory
	}
	return CauseNone
}

// miss makes the public form, which holds what is true now; with are the stacks
// that must be on the same machine.
func (s *Scheduler) miss(d *demand, with []*stack, v *near) Miss {
	m := &s.machines[v.slot]
	out := Miss{Machine: m.spec.Name, Cause: v.cause}
	switch v.cause {
	case CauseCPU, CauseMemory:
		out.Short = Resources{CPU: int64(v.short.cpu), Memory: int64(v.short.mem) * pageSize}
	case CauseRequire:
		for _, e := range d.shape.Require {
			if detail, ok := e.Mismatch(m.label); ok {
				out.Detail = detail
				break
			}
		}
	case CauseTogether:
		for _, o := range with {
			if o.at.get(v.slot) == 0 {
				out.Detail = s.neighbour(d, o, Neighbour{Missing: true})
				break
			}
		}
	case CauseApart:
		out.Detail = s.tooNear(d, v.slot)
	case CausePort:
		for _, p := range d.ports {
			if m.taken(p) {
				out.Detail = s.holder(d, m, p)
				break
			}
		}
	case CauseUnit:
		if c, found := s.clashAt(d, v.slot); found {
			out.Detail = c
		}
	}
	return out
}

// tooNear finds who on a machine must stay apart from the demand's stack: the
// first in the shape's order, or else the first by name of those that ask.
func (s *Scheduler) tooNear(d *demand, slot int32) Neighbour {
	for _, o := range d.apart {
		if o.at.get(slot) > 0 {
			return s.neighbour(d, o, Neighbour{})
		}
	}
	if first := s.asksApart(d, slot); first != nil {
		return s.neighbour(d, first, Neighbour{Asks: true})
	}
	return Neighbour{}
}

// asksApart finds the first by name of the stacks on a machine that want to be
// apart from the demand's stack, or nil.
func (s *Scheduler) asksApart(d *demand, slot int32) (first *stack) {
	for i := range d.stack.shunned {
		x := &d.stack.shunned[i]
		if x.at.get(slot) > 0 && (first == nil || compareStacks(x.by.name, first.name) < 0) {
			first = x.by
		}
	}
	return first
}

func compareStacks(a, b Stack) int {
	return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.App, b.App), cmp.Compare(a.Name, b.Name))
}

func (s *Scheduler) neighbour(d *demand, o *stack, n Neighbour) Neighbour {
	if n.Stack = o.name; n.Stack.Tenant != d.stack.name.Tenant {
		n.Stack, n.Foreign = Stack{}, true
	}
	return n
}

// holder names who has a port that clashes with p: what is outside Argosy
// first, then the first replica by name.
func (s *Scheduler) holder(d *demand, m *machine, p Port) Holder {
	h := Holder{Port: p}
	found := false
	for i := range m.ports {
		use := &m.ports[i]
		if !clash(use.port, p) {
			continue
		}
		if use.stack < 0 {
			if h.Outside == "" || use.by < h.Outside {
				h.Outside = use.by
			}
			h.Replica, found = Replica{}, true
			continue
		}
		r := Replica{s.stackByID[use.stack].name, use.number}
		if !found || h.Replica != (Replica{}) && cmp.Or(compareStacks(r.Stack, h.Replica.Stack), r.Number-h.Replica.Number) < 0 {
			h.Replica, found = r, true
		}
	}
	if h.Replica != (Replica{}) && h.Replica.Stack.Tenant != d.stack.name.Tenant {
		h.Replica, h.Foreign = Replica{}, true
	}
	return h
}
