package scheduler

import (
	"slices"
	"time"
)

// Trial is a row of changes that are only supposed. Until End, the Scheduler is
// to be changed through the trial alone; End leaves it as it was, since an
// index has no history.
//
//	t := s.Suppose()
//	defer t.End()
//	t.SetMachine(lost)
//	for … := range t.Decide(now, batch) { what is decided stays, within the trial }
//	t.Back(mark)           // takes back what came after t.Mark()
//
// Every change costs what it costs outside of a trial, and as much again to be
// taken back.
type Trial struct {
	s    *Scheduler
	undo []undo
}

// undo takes one change back: p is added or removed, or machine set again or,
// where it was not known, removed.
type undo struct {
	what    undoKind
	p       Placed
	machine *Machine // nil unless it is a machine that changed
}

type undoKind uint8

const (
	undoAdd    undoKind = iota // by removing p
	undoRemove                 // by adding p
	undoSet                    // by setting machine
	undoNew                    // by removing machine
)

// Suppose begins a trial.
func (s *Scheduler) Suppose() *Trial { return &Trial{s: s} }

// Mark is where Back may return to.
func (t *Trial) Mark() int { return len(t.undo) }

// Back takes back all changes since a mark.
func (t *Trial) Back(mark int) {
	for len(t.undo) > mark {
		u := &t.undo[len(t.undo)-1]
		switch u.what {
		case undoAdd:
			t.s.Remove(u.p)
		case undoRemove:
			t.s.Add(u.p)
		case undoSet:
			t.s.SetMachine(*u.machine)
		case undoNew:
			t.s.RemoveMachine(u.machine.ID)
		}
		*u = undo{}
		t.undo = t.undo[:len(t.undo)-1]
	}
}

// End takes everything back.
func (t *Trial) End() { t.Back(0) }

// Keep lets everything stand, as if it had not only been supposed. End does
// nothing after it.
func (t *Trial) Keep() { t.undo = nil }

// Displacements is Scheduler.Displacements.
func (t *Trial) Displacements(by Replica, shape *Shape) []Displacement {
	return t.s.Displacements(by, shape)
}

// Add is Scheduler.Add.
func (t *Trial) Add(p Placed) {
	if was, ok := t.s.lookup(p); ok {
		t.undo = append(t.undo, undo{what: undoRemove, p: was})
	} else {
		t.undo = append(t.undo, undo{what: undoAdd, p: p})
	}
	t.s.Add(p)
}

// Remove is Scheduler.Remove.
func (t *Trial) Remove(p Placed) {
	if was, ok := t.s.lookup(p); ok {
		t.undo = append(t.undo, undo{what: undoRemove, p: was})
		t.s.Remove(p)
	}
}

// SetMachine is Scheduler.SetMachine.
func (t *Trial) SetMachine(m Machine) {
	if was, ok := t.s.Machine(m.ID); ok {
		t.undo = append(t.undo, undo{what: undoSet, machine: &was})
	} else {
		t.undo = append(t.undo, undo{what: undoNew, machine: &m})
	}
	t.s.SetMachine(m)
}

// Decide is Scheduler.Decide.
func (t *Trial) Decide(now time.Time, batch []Request) []Decision {
	decisions, replaced := t.s.decideAside(now, batch)
	t.undo = slices.Grow(t.undo, len(decisions)+len(replaced))
	for _, p := range replaced {
		t.undo = append(t.undo, undo{what: undoRemove, p: p})
	}
	for i := range decisions {
		if decisions[i].Placed() {
			t.undo = append(t.undo, undo{what: undoAdd, p: decisions[i].Placement()})
		}
	}
	return decisions
}

// Explain is Scheduler.Explain.
func (t *Trial) Explain(request Request) []MachineVerdict { return t.s.Explain(request) }

// Rules is Scheduler.Rules.
func (t *Trial) Rules(request Request) []MachineRules { return t.s.Rules(request) }

// Room is Scheduler.Room.
func (t *Trial) Room(stack Stack, shape *Shape, limit int) Room { return t.s.Room(stack, shape, limit) }

// Machine is Scheduler.Machine.
func (t *Trial) Machine(id string) (Machine, bool) { return t.s.Machine(id) }

// Used is Scheduler.Used.
func (t *Trial) Used(id string) (used, free Resources) { return t.s.Used(id) }

// Used is what is used and what is free of a known machine, memory in whole
// pages. More may be used than there is.
func (s *Scheduler) Used(id string) (used, free Resources) {
	slot, ok := s.byID[id]
	if !ok || !s.machines[slot].known {
		return Resources{}, Resources{}
	}
	m := &s.machines[slot]
	return Resources{m.usedCPU, m.usedMem * pageSize}, Resources{int64(m.free.cpu), int64(m.free.mem) * pageSize}
}

// Machine is a known machine as it was set.
func (s *Scheduler) Machine(id string) (Machine, bool) {
	slot, ok := s.byID[id]
	if !ok || !s.machines[slot].known {
		return Machine{}, false
	}
	return s.machines[slot].spec, true
}
