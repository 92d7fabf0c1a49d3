package scheduler

import (
	"slices"
	"strconv"
)

// stack is what the index knows of one stack.
type stack struct {
	name    Stack
	id      int32
	booked  roster  // what is placed of it, where
	at      tally   // machines with replicas of it; follows from booked
	shunned []shun  // who wants to be apart from it, and where they are
	groups  []int32 // groups of the batch under way, by index

	// lone is its demand while it has only one, as nearly every stack does, and nil before and after; signed tells that its
	// demands are in Scheduler.bySign.
	lone   *demand
	signed bool
}

// shun counts replicas of another stack that want to be apart, by machine.
type shun struct {
	by *stack
	at tally
}

func (st *stack) shun(by *stack, slot, n int32) {
	i := slices.IndexFunc(st.shunned, func(x shun) bool { return x.by == by })
	if i < 0 {
		i = len(st.shunned)
		st.shunned = append(st.shunned, shun{by: by})
	}
	if st.shunned[i].at.add(slot, n); len(st.shunned[i].at.entries) == 0 {
		st.shunned = slices.Delete(st.shunned, i, i+1)
	}
}

// demand is a Shape as asked for by one stack, ready for use. Equal shapes of
// one stack give the same demand, whatever their pointers.
type demand struct {
	shape    *Shape
	id       int32
	refs     int // replicas placed with it
	stack    *stack
	need     amount
	ports    []Port
	apart    []*stack
	together []*stack
	brings   []*stack // the units of the shape, each standing for a stack
	sign     string   // identifies the class
	class    *class   // nil or stale after eviction: ask Scheduler.classOf
	selfSet  bool     // Together names the own stack
	selfFree bool     // Apart names the own stack
	machine  bool     // Spread names the machine
	group    int32    // in the batch under way, valid if epoch is current
	epoch    uint32
}

type shapeKey struct {
	shape *Shape
	stack *stack
}

type signKey struct {
	stack *stack
	sign  string
}

var emptyShape = &Shape{}

// stackOf interns a stack.
func (s *Scheduler) stackOf(name Stack) *stack {
	if st, ok := s.stacks[name]; ok {
		return st
	}
	st := &stack{name: name, id: int32(len(s.stackByID))}
	if n := len(s.freeStacks); n > 0 {
		st.id = s.freeStacks[n-1]
		s.freeStacks = s.freeStacks[:n-1]
		s.stackByID[st.id] = st
	} else {
		s.stackByID = append(s.stackByID, st)
	}
	s.stacks[name] = st
	return st
}

// demandOf interns a shape for a stack.
func (s *Scheduler) demandOf(name Stack, shape *Shape) *demand {
	if shape == nil {
		shape = emptyShape
	}
	if d := s.lastDemand; d != nil && s.lastShape == shape && d.stack.name == name {
		return d
	}
	// Nearly always a shape belongs to one stack.
	d := s.byPointer[shape]
	switch {
	case d == nil:
		d = s.newDemand(s.stackOf(name), shape)
		s.byPointer[shape] = d
	case d.stack.name != name:
		key := shapeKey{shape, s.stackOf(name)}
		if d = s.byShape[key]; d == nil {
			d = s.newDemand(key.stack, shape)
			s.byShape[key] = d
		}
	}
	s.lastDemand, s.lastShape = d, shape
	return d
}

// newDemand finds the demand of a stack with an equal shape, or makes it.
func (s *Scheduler) newDemand(st *stack, shape *Shape) *demand {
	if st.lone == nil && !st.signed {
		st.lone = s.makeDemand(st, shape)
		return st.lone
	}
	if st.lone != nil {
		s.bySign[signKey{st, signAll(st.lone.shape)}] = st.lone
		st.lone, st.signed = nil, true
	}
	key := signKey{st, signAll(shape)}
	d := s.bySign[key]
	if d == nil {
		d = s.makeDemand(st, shape)
		s.bySign[key] = d
	}
	return d
}

func (s *Scheduler) makeDemand(st *stack, shape *Shape) *demand {
	d := &demand{shape: shape, stack: st, need: demandAmount(shape.Need), sign: s.classSign(shape)}
	for _, p := range shape.Ports {
		if p.Port != 0 {
			d.ports = append(d.ports, normalPort(p))
		}
	}
	d.apart = make([]*stack, 0, len(shape.Apart))
	for _, o := range shape.Apart {
		d.apart = append(d.apart, s.stackOf(o))
		d.selfFree = d.selfFree || o == st.name
	}
	for _, o := range shape.Together {
		d.together = append(d.together, s.stackOf(o))
		d.selfSet = d.selfSet || o == st.name
	}
	if len(shape.Units) > 0 {
		s.bringUnits(d)
	}
	for _, k := range shape.Spread {
		d.machine = d.machine || k == SpreadMachine
	}
	if n := len(s.freeDemands); n > 0 {
		d.id = s.freeDemands[n-1]
		s.freeDemands = s.freeDemands[:n-1]
		s.demands[d.id] = d
	} else {
		d.id = int32(len(s.demands))
		s.demands = append(s.demands, d)
	}
	return d
}

// classSign tells the class of a shape; of it there is one text for each class.
func (s *Scheduler) classSign(shape *Shape) string {
	s.signing.reset()
	s.signing.class(shape)
	if c := s.classes[string(s.signing.text)]; c != nil {
		return c.sign
	}
	return string(s.signing.text)
}

// signer writes a text from which every field can be told apart, so that equal
// texts mean equal shapes.
type signer struct{ text []byte }

func (w *signer) reset() { w.text = w.text[:0] }

func (w *signer) str(v string) {
	w.num(int64(len(v)))
	w.text = append(w.text, v...)
}

func (w *signer) num(v int64) {
	w.text = append(strconv.AppendInt(w.text, v, 36), ' ')
}

// class covers what the demands of a class have in common.
func (w *signer) class(shape *Shape) {
	w.num(int64(shape.Strategy))
	w.num(int64(len(shape.Require)))
	for _, e := range shape.Require {
		w.str(e.String())
	}
	w.num(int64(len(shape.Prefer)))
	for _, p := range shape.Prefer {
		w.num(int64(p.Weight))
		w.str(p.When.String())
	}
	for _, k := range shape.Spread {
		if k != SpreadMachine {
			w.str(k)
		}
	}
}

func signAll(shape *Shape) string {
	var class, w signer
	class.class(shape)
	w.str(string(class.text))
	w.num(shape.Need.CPU)
	w.num(shape.Need.Memory)
	w.num(int64(len(shape.Ports)))
	for _, p := range shape.Ports {
		w.str(normalPort(p).String())
	}
	w.num(int64(len(shape.Spread)))
	for _, k := range shape.Spread {
		w.str(k)
	}
	for _, list := range [][]Stack{shape.Apart, shape.Together} {
		w.num(int64(len(list)))
		for _, st := range list {
			w.str(st.Tenant)
			w.str(st.App)
			w.str(st.Name)
		}
	}
	for i := range shape.Units {
		u := &shape.Units[i]
		w.str(u.Name)
		for _, list := range [][]string{u.Conflicts, u.Beside, u.Replaces} {
			w.num(int64(len(list)))
			for _, text := range list {
				w.str(text)
			}
		}
	}
	return string(w.text)
}

// labelKeys is spread without the machine.
func labelKeys(spread []string) []string {
	keys := make([]string, 0, len(spread))
	for _, k := range spread {
		if k != SpreadMachine {
			keys = append(keys, k)
		}
	}
	return keys
}

// sweep forgets stacks and demands that nothing placed refers to, once their
// number has doubled, so its cost is a constant per new one.
func (s *Scheduler) sweep() {
	limit := max(s.sweepAt, s.limits.interned)
	if len(s.byPointer)+len(s.byShape) < limit && len(s.stacks) < limit {
		return
	}
	liveDemand := make([]bool, len(s.demands))
	liveStack := make([]bool, len(s.stackByID))
	for _, d := range s.demands {
		if d == nil || d.refs == 0 {
			continue
		}
		liveDemand[d.id] = true
		liveStack[d.stack.id] = true
		for _, list := range [][]*stack{d.apart, d.together, d.brings} {
			for _, st := range list {
				liveStack[st.id] = true
			}
		}
	}
	s.lastDemand, s.lastShape = nil, nil
	clear(s.byShape)
	clear(s.byPointer)
	for key, d := range s.bySign {
		if !liveDemand[d.id] {
			delete(s.bySign, key)
		}
	}
	s.freeDemands = s.freeDemands[:0]
	for id, d := range s.demands {
		if d != nil && !liveDemand[id] {
			if d.stack.lone == d {
				d.stack.lone = nil
			}
			s.demands[id] = nil
		}
		if s.demands[id] == nil {
			s.freeDemands = append(s.freeDemands, int32(id))
		}
	}
	s.freeStacks = s.freeStacks[:0]
	for id, st := range s.stackByID {
		if st != nil && !liveStack[id] {
			delete(s.stacks, st.name)
			s.stackByID[id] = nil
		}
		if s.stackByID[id] == nil {
			s.freeStacks = append(s.freeStacks, int32(id))
		}
	}
	s.sweepAt = 2 * (len(s.stacks) + len(s.demands) - len(s.freeDemands))
}
