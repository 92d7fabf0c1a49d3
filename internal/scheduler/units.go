package scheduler

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/argosy-cluster/argosy/internal/unitfile"
)

// Unit is a systemd unit that a replica brings to its machine, and what it
// asks of others there. No machine has two units of one name, whoever brings
// them; all else concerns units of the same tenant.
type Unit struct {
	Name      string   // on the machine: web@3.service
	Conflicts []string // globs of units that are never beside it; it does not matter who of the two says so
	Beside    []string // names of units that have to be there already, unless the replica brings them itself
	Replaces  []string // globs of units that have to leave: see Displaced
}

// unitsOf is what the index knows of the units that are booked. Nothing
// depends on the order of a map: who is in the way is marked alike, and named
// by the first in order.
type unitsOf struct {
	names map[broughtUnit]*tally
	says  map[unitGlob]*tally
}

// broughtUnit is a unit that replicas of a stack bring.
type broughtUnit struct {
	stack *stack
	name  string
}

// unitGlob is a glob of a unit that keeps others away.
type unitGlob struct {
	broughtUnit
	glob     string
	replaces bool
}

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
		s.units = unitsOf{map[broughtUnit]*tally{}, map[unitGlob]*tally{}}
	}
	for i := range d.shape.Units {
		u := &d.shape.Units[i]
		key := broughtUnit{d.stack, u.Name}
		count(s.units.names, key, slot, n)
		for _, g := range u.Conflicts {
			count(s.units.says, unitGlob{key, g, false}, slot, n)
		}
		for _, g := range u.Replaces {
			count(s.units.says, unitGlob{key, g, true}, slot, n)
		}
		d.brings[i].at.add(slot, n)
	}
}

func count[K comparable](in map[K]*tally, key K, slot, n int32) {
	t := in[key]
	if t == nil {
		t = &tally{}
		in[key] = t
	}
	if t.add(slot, n); len(t.entries) == 0 {
		delete(in, key)
	}
}

// eachClash visits what is booked that a demand's units cannot be beside, and
// where that is.
func (s *Scheduler) eachClash(d *demand, visit func(UnitClash, *tally)) {
	if len(d.shape.Units) == 0 {
		return
	}
	tenant := d.stack.name.Tenant
	for key, at := range s.units.names {
		own := key.stack.name.Tenant == tenant
		for i := range d.shape.Units {
			u := &d.shape.Units[i]
			switch {
			case key.name == u.Name && own:
				visit(UnitClash{Unit: u.Name, Other: key.name}, at)
			case key.name == u.Name:
				visit(UnitClash{Unit: u.Name, Foreign: true}, at)
			case own:
				if g, hit := firstGlob(u.Conflicts, key.name); hit {
					visit(UnitClash{Unit: u.Name, Other: key.name, Glob: g}, at)
				}
			}
		}
	}
	for key, at := range s.units.says {
		if key.stack.name.Tenant != tenant {
			continue
		}
		for i := range d.shape.Units {
			u := &d.shape.Units[i]
			// Whoever replaces what replaces it would be replaced in turn, for ever.
			if key.name != u.Name && unitfile.Match(key.glob, u.Name) {
				visit(UnitClash{Unit: u.Name, Other: key.name, Glob: key.glob, Asks: true, Replace: key.replaces}, at)
			}
		}
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

// Displaced are the placements on the machine of p that have to leave it
// because a unit of p replaces one of theirs: those of its own tenant, in
// order. They are to be taken off the index, by Remove, and asked for again:
// they are placed by their own rules, not on that machine as long as p is
// there, and wait where nothing else will do.
func (s *Scheduler) Displaced(p Placed) []Placed {
	slot, ok := s.byID[p.Machine]
	if !ok || p.Shape == nil {
		return nil
	}
	gone := map[*stack]bool{}
	for i := range p.Shape.Units {
		for key, at := range s.units.names {
			if key.stack.name == p.Replica.Stack || key.stack.name.Tenant != p.Replica.Stack.Tenant || at.get(slot) == 0 {
				continue
			}
			if _, hit := firstGlob(p.Shape.Units[i].Replaces, key.name); hit {
				gone[key.stack] = true
			}
		}
	}
	var out []Placed
	for st := range gone {
		for _, b := range st.booked.list {
			if d := s.demands[b.demand]; b.slot == slot && d.replacedBy(p.Shape) {
				out = append(out, Placed{Replica: Replica{st.name, b.number}, Incarnation: b.incarnation, Shape: d.shape, Machine: p.Machine})
			}
		}
	}
	slices.SortFunc(out, func(a, b Placed) int {
		return cmp.Or(compareStacks(a.Replica.Stack, b.Replica.Stack), a.Replica.Number-b.Replica.Number, cmp.Compare(a.Incarnation, b.Incarnation))
	})
	return out
}

func (d *demand) replacedBy(shape *Shape) bool {
	for i := range d.shape.Units {
		for j := range shape.Units {
			if _, hit := firstGlob(shape.Units[j].Replaces, d.shape.Units[i].Name); hit {
				return true
			}
		}
	}
	return false
}
