package scheduler

import (
	"slices"
	"strconv"
	"strings"
)

// stack is what the index knows of one stack.
type stack struct {
	name    Stack
	id      int32
	booked  roster  // what is placed of it, where
	at      tally   // machines with replicas of it; follows from booked
	shunned []shun  // who wants to be apart from it, and where they are
	groups  []int32 // groups of the batch under way, by index
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
	sign     string // identifies the class
	class    *class // nil or stale after eviction: ask Scheduler.classOf
	selfSet  bool   // Together names the own stack
	selfFree bool   // Apart names the own stack
	machine  bool   // Spread names the machine
	group    int32  // in the batch under way, valid if epoch is current
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
	if d == nil || d.stack.name != name {
		st := s.stackOf(name)
		d = s.byShape[shapeKey{shape, st}]
		if d == nil {
			d = s.newDemand(st, shape)
			s.byShape[shapeKey{shape, st}] = d
		}
		s.byPointer[shape] = d
	}
	s.lastDemand, s.lastShape = d, shape
	return d
}

func (s *Scheduler) newDemand(st *stack, shape *Shape) *demand {
	key := signKey{st, signAll(shape)}
	if d := s.bySign[key]; d != nil {
		return d
	}
	d := &demand{shape: shape, stack: st, need: demandAmount(shape.Need), sign: signClass(shape)}
	for _, p := range shape.Ports {
		if p.Port != 0 {
			d.ports = append(d.ports, normalPort(p))
		}
	}
	for _, o := range shape.Apart {
		d.apart = append(d.apart, s.stackOf(o))
		d.selfFree = d.selfFree || o == st.name
	}
	for _, o := range shape.Together {
		d.together = append(d.together, s.stackOf(o))
		d.selfSet = d.selfSet || o == st.name
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
	s.bySign[key] = d
	return d
}

// signer writes a text from which every field can be told apart, so that equal
// texts mean equal shapes.
type signer struct{ strings.Builder }

func (w *signer) str(v string) {
	w.num(int64(len(v)))
	w.WriteString(v)
}

func (w *signer) num(v int64) {
	var buf [20]byte
	w.Write(strconv.AppendInt(buf[:0], v, 36))
	w.WriteByte(' ')
}

// signClass covers what the demands of a class have in common.
func signClass(shape *Shape) string {
	var w signer
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
	for _, k := range labelKeys(shape.Spread) {
		w.str(k)
	}
	return w.String()
}

func signAll(shape *Shape) string {
	var w signer
	w.str(signClass(shape))
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
	return w.String()
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
	if len(s.byShape) < limit && len(s.stacks) < limit {
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
		for _, list := range [][]*stack{d.apart, d.together} {
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
			s.demands[d.id] = nil
		}
	}
	s.freeDemands = s.freeDemands[:0]
	for id, d := range s.demands {
		if d == nil {
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
	s.sweepAt = 2 * (len(s.stacks) + len(s.bySign))
}
