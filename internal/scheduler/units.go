package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/argosy-cluster/argosy/internal/unitfile"
)

// Unit is a systemd unit that a replica brings to its machine, and what it
// asks of others there. No machine has two units of one name, whoever brings
// them; all else concerns units of the same tenant.
type Unit struct {
	Name      string   // on the machine: web@3.service
	Conflicts []string // globs of units that are never beside it; it does not matter who of the two says so
	Beside    []string // names of units that have to be there already, unless the replica brings them itself
	Replaces  []string // as Conflicts, of units that may be sent away for it: see Displacements
}

// unitsOf is what the index knows of the units that are booked. Who has a
// name, or asks for something in a word that is a name, is found by it; only
// globs with a wildcard are compared with all. Nothing depends on the order of
// a map: who is in the way is marked alike, and named by the first in order.
type unitsOf struct {
	names map[string]tallies[*stack]   // by the unit's name, who brings it
	plain map[string]tallies[unitGlob] // by the name that is meant, who says so
	wild  map[tenantGlob]tallies[unitGlob]
}

type tallies[K comparable] map[K]*tally

// unitGlob is a glob of a unit that keeps others away.
type unitGlob struct {
	stack    *stack
	name     string
	glob     string
	replaces bool
}

type tenantGlob struct{ tenant, glob string }

func isWild(glob string) bool { return strings.ContainsAny(glob, "*?[") }

// UnitClash is a unit on a machine that a replica's unit cannot be beside.
// Units of other tenants are not named.
type UnitClash struct {
	Unit    string // of the replica
	Other   string // on the machine; the same if the name is taken
	Foreign bool   // it is another tenant's; Other is empty
	Glob    string // what Unit says of Other, or Other of Unit; empty if the name is taken
	Asks    bool   // it is Other that says so
	Replace bool   // and it does not only conflict: it replaces
}

func (c UnitClash) String() string {
	word := "conflicts with "
	if c.Replace {
		word = "replaces "
	}
	switch {
	case c.Foreign:
		return "another tenant's unit is called " + c.Unit + " there"
	case c.Glob == "":
		return "unit " + c.Unit + " is there already"
	case c.Asks:
		return fmt.Sprintf("%s is there and %s%s", c.Other, word, c.Glob)
	default:
		return fmt.Sprintf("%s is there, and %s %s%s", c.Other, c.Unit, word, c.Glob)
	}
}

// unitStack stands for a unit where stacks are meant: what has to be beside
// the unit goes together with it.
func (s *Scheduler) unitStack(tenant, name string) *stack {
	return s.stackOf(Stack{Tenant: tenant, Name: name})
}

// bringUnits readies a demand's units.
func (s *Scheduler) bringUnits(d *demand) {
	brought := map[string]bool{}
	for i := range d.shape.Units {
		u := &d.shape.Units[i]
		brought[u.Name] = true
		d.brings = append(d.brings, s.unitStack(d.stack.name.Tenant, u.Name))
	}
	for i := range d.shape.Units {
		for _, name := range d.shape.Units[i].Beside {
			if !brought[name] {
				d.together = append(d.together, s.unitStack(d.stack.name.Tenant, name))
			}
		}
	}
}

// bookUnits adds n replicas of a demand on a machine to the index of units.
func (s *Scheduler) bookUnits(d *demand, slot, n int32) {
	if s.units.names == nil {
		s.units = unitsOf{map[string]tallies[*stack]{}, map[string]tallies[unitGlob]{}, map[tenantGlob]tallies[unitGlob]{}}
	}
	says := func(by unitGlob) {
		if isWild(by.glob) {
			count(s.units.wild, tenantGlob{d.stack.name.Tenant, by.glob}, by, slot, n)
		} else {
			count(s.units.plain, by.glob, by, slot, n)
		}
	}
	for i := range d.shape.Units {
		u := &d.shape.Units[i]
		count(s.units.names, u.Name, d.stack, slot, n)
		for _, g := range u.Conflicts {
			says(unitGlob{d.stack, u.Name, g, false})
		}
		for _, g := range u.Replaces {
			says(unitGlob{d.stack, u.Name, g, true})
		}
		d.brings[i].at.add(slot, n)
	}
}

func count[A, B comparable](in map[A]tallies[B], at A, key B, slot, n int32) {
	if in[at] == nil {
		in[at] = tallies[B]{}
	}
	t := in[at][key]
	if t == nil {
		t = &tally{}
		in[at][key] = t
	}
	if t.add(slot, n); len(t.entries) > 0 {
		return
	}
	if delete(in[at], key); len(in[at]) == 0 {
		delete(in, at)
	}
}

// eachClash visits what is booked that a demand's units cannot be beside, and
// where that is.
func (s *Scheduler) eachClash(d *demand, visit func(UnitClash, *tally)) {
	tenant := d.stack.name.Tenant
	for i := range d.shape.Units {
		u := &d.shape.Units[i]
		for st, at := range s.units.names[u.Name] {
			if st.name.Tenant == tenant {
				visit(UnitClash{Unit: u.Name, Other: u.Name}, at)
			} else {
				visit(UnitClash{Unit: u.Name, Foreign: true}, at)
			}
		}
		for _, g := range u.Conflicts {
			s.eachNamed(tenant, g, u.Name, func(other string, _ *stack, at *tally) {
				visit(UnitClash{Unit: u.Name, Other: other, Glob: g}, at)
			})
		}
		for _, g := range u.Replaces {
			s.eachNamed(tenant, g, u.Name, func(other string, _ *stack, at *tally) {
				visit(UnitClash{Unit: u.Name, Other: other, Glob: g, Replace: true}, at)
			})
		}
		asks := func(all tallies[unitGlob]) {
			for by, at := range all {
				if by.name != u.Name && by.stack.name.Tenant == tenant {
					visit(UnitClash{Unit: u.Name, Other: by.name, Glob: by.glob, Asks: true, Replace: by.replaces}, at)
				}
			}
		}
		asks(s.units.plain[u.Name])
		for g, all := range s.units.wild {
			if g.tenant == tenant && unitfile.Match(g.glob, u.Name) {
				asks(all)
			}
		}
	}
}

// eachNamed visits the booked units of a tenant that a glob means, but for the
// one that says it.
func (s *Scheduler) eachNamed(tenant, glob, but string, visit func(name string, st *stack, at *tally)) {
	of := func(name string) {
		for st, at := range s.units.names[name] {
			if st.name.Tenant == tenant {
				visit(name, st, at)
			}
		}
	}
	switch {
	case isWild(glob):
		for name := range s.units.names {
			if name != but && unitfile.Match(glob, name) {
				of(name)
			}
		}
	case glob != but:
		of(glob)
	}
}

func firstGlob(globs []string, name string) (string, bool) {
	for _, g := range globs {
		if unitfile.Match(g, name) {
			return g, true
		}
	}
	return "", false
}

// clashAt is who is in the way on a machine, the first in order; false if
// nobody is.
func (s *Scheduler) clashAt(d *demand, slot int32) (first UnitClash, found bool) {
	s.eachClash(d, func(c UnitClash, at *tally) {
		if at.get(slot) > 0 && (!found || compareClashes(c, first) < 0) {
			first, found = c, true
		}
	})
	return first, found
}

func compareClashes(a, b UnitClash) int {
	order := func(c UnitClash) int {
		switch {
		case c.Glob == "":
			return 0
		case c.Asks:
			return 2
		}
		return 1
	}
	return cmp.Or(cmp.Compare(order(a), order(b)), cmp.Compare(a.Other, b.Other), cmp.Compare(a.Unit, b.Unit), cmp.Compare(a.Glob, b.Glob))
}

// Displacement is what has to leave a machine for a unit that replaces it.
type Displacement struct {
	MachineID string
	Leave     []Placed // in order, never empty
}

// Displacements are the known machines on which units are that those of a
// shape replace, the fewest placements first. These are in its way until they
// are taken off the index: whoever wants to send them away supposes so, places
// what replaces them, and then them, each by its own rules. Of two that replace
// each other the one that is there stays: they would drive each other out for
// ever.
func (s *Scheduler) Displacements(by Replica, shape *Shape) []Displacement {
	slots := map[int32]bool{}
	s.eachReplaced(by.Stack, shape, func(_ *stack, at *tally) {
		for _, e := range at.entries {
			slots[e.slot] = slots[e.slot] || s.machines[e.slot].known
		}
	})
	var out []Displacement
	for slot, known := range slots {
		id := s.machines[slot].spec.ID
		if leave := s.Displaced(by, shape, id); known && len(leave) > 0 {
			out = append(out, Displacement{id, leave})
		}
	}
	slices.SortFunc(out, func(a, b Displacement) int {
		return cmp.Or(cmp.Compare(len(a.Leave), len(b.Leave)), cmp.Compare(a.MachineID, b.MachineID))
	})
	return out
}

// eachReplaced visits the stacks that bring units which those of a shape
// replace.
func (s *Scheduler) eachReplaced(by Stack, shape *Shape, visit func(*stack, *tally)) {
	if shape == nil {
		return
	}
	for i := range shape.Units {
		u := &shape.Units[i]
		for _, g := range u.Replaces {
			s.eachNamed(by.Tenant, g, u.Name, func(_ string, st *stack, at *tally) {
				if st.name != by {
					visit(st, at)
				}
			})
		}
	}
}

// Displaced is what has to leave one machine for the units of a shape, in
// order.
func (s *Scheduler) Displaced(by Replica, shape *Shape, machine string) []Placed {
	slot, ok := s.byID[machine]
	if !ok {
		return nil
	}
	gone := map[*stack]bool{}
	s.eachReplaced(by.Stack, shape, func(st *stack, at *tally) {
		if at.get(slot) > 0 {
			gone[st] = true
		}
	})
	var out []Placed
	for st := range gone {
		for _, b := range st.booked.list {
			if d := s.demands[b.demand]; b.slot == slot && replaces(shape, d.shape) && !replaces(d.shape, shape) {
				out = append(out, Placed{Replica: Replica{st.name, b.number}, Incarnation: b.incarnation, Shape: d.shape, Machine: machine})
			}
		}
	}
	slices.SortFunc(out, func(a, b Placed) int {
		return cmp.Or(compareStacks(a.Replica.Stack, b.Replica.Stack), a.Replica.Number-b.Replica.Number, cmp.Compare(a.Incarnation, b.Incarnation))
	})
	return out
}

// replaces tells whether a unit of one shape replaces one of another.
func replaces(by, other *Shape) bool {
	for i := range by.Units {
		for j := range other.Units {
			if _, hit := firstGlob(by.Units[i].Replaces, other.Units[j].Name); hit && by.Units[i].Name != other.Units[j].Name {
				return true
			}
		}
	}
	return false
}
