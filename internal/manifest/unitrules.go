package manifest

import (
	"errors"
	"fmt"
	"slices"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/unitfile"
)

// checkGlobalUnits finds units that are to be on each machine, and of whose stack the cluster asks for a number.
func (d *draft) checkGlobalUnits(r *reader) {
	for _, e := range d.cluster.list {
		s, ok := d.stacks.get(e.spec.Stack)
		if !ok || !counted(e.spec) {
			continue
		}
		for _, name := range s.spec.Units {
			if u, ok := d.units.get(name); ok && u.read != nil && u.read.Fleet.Global {
				r.fault(e.at, "%s", globalCounted(e.spec, name)).
					Advise("write `%s: {on: each-machine}`, or take Global out of the unit", e.spec.Stack)
			}
		}
	}
}

// counted tells whether the cluster is to have a number of a stack. Of none nothing is asked.
func counted(e *argosyv1.ClusterEntry) bool { return !e.GetEachMachine() && e.GetCount() > 0 }

func globalCounted(e *argosyv1.ClusterEntry, unit string) string {
	return fmt.Sprintf("cluster asks for %d of stack %s, and its unit %s says Global: one on each machine", e.Count, e.Stack, quoted(unit))
}

// GlobalUnit is a unit of a stack that is to be on each machine, or "" if none is: no number of such a stack can be asked for.
func GlobalUnit(spec *argosyv1.AppSpec, stack string) string {
	for _, s := range spec.GetStacks() {
		for _, u := range spec.GetUnits() {
			if s.GetName() != stack || !slices.Contains(s.GetUnits(), u.GetName()) {
				continue
			}
			if read, _ := unitfile.Read(u.GetName(), u.GetContent()); read != nil && read.Fleet.Global {
				return u.Name
			}
		}
	}
	return ""
}

// global is a unit of a stack that is to be on each machine, where the cluster is to have a number of the stack.
func (v *verifier) global(e *argosyv1.ClusterEntry) *unitfile.Unit {
	if !counted(e) {
		return nil
	}
	for _, name := range v.stacks[e.Stack].Units {
		if u := v.units[name]; u.Fleet.Global {
			return u
		}
	}
	return nil
}

// sameUnit says, of the last of a stack's units and one before it, that a replica would have both under one name; "" if there is none.
func sameUnit(names []string) string {
	last := names[len(names)-1]
	for _, other := range names[:len(names)-1] {
		for _, t := range [][2]string{{last, other}, {other, last}} {
			if n := unitfile.ReplicaOf(t[0], t[1]); n > 0 {
				return fmt.Sprintf("unit %s is what replica %d has of %s, which is in the stack too", quoted(t[1]), n, quoted(t[0]))
			}
		}
	}
	return ""
}

// keptApart visits each two of a stack's units of which one has a rule that keeps the other off its machine, the rule's unit first.
// They are as replica 1 has them. Of two that both say so the first is told.
func keptApart(units []*unitfile.Unit, visit func(by, other *unitfile.Unit, rule unitfile.Said, word string)) {
	for i, a := range units {
		for _, b := range units[i+1:] {
			if rule, word, ok := keepsOff(a, b); ok {
				visit(a, b, rule, word)
			} else if rule, word, ok := keepsOff(b, a); ok {
				visit(b, a, rule, word)
			}
		}
	}
}

// keepsOff is the rule of a unit that another cannot be on its machine, and what it is called.
func keepsOff(u, other *unitfile.Unit) (rule unitfile.Said, word string, ok bool) {
	name := unitfile.ForReplica(other.Name.Full, 1)
	if name == unitfile.ForReplica(u.Name.Full, 1) {
		return rule, "", false // a unit never keeps itself off
	}
	for _, rule := range u.Fleet.Conflicts {
		if unitfile.Match(rule.Is, name) {
			return rule, "conflicts with", true
		}
	}
	for _, rule := range u.Fleet.Replaces {
		if unitfile.Match(rule.Is, name) {
			return rule, "replaces", true
		}
	}
	return rule, "", false
}

// rulesWeight is how much work keptApart may be, in bytes of globs that are compared with a name.
func rulesWeight(units []*unitfile.Unit) int {
	n := 0
	for _, u := range units {
		for _, rules := range [][]unitfile.Said{u.Fleet.Conflicts, u.Fleet.Replaces} {
			for _, rule := range rules {
				n += len(rule.Is)
			}
		}
	}
	return n * len(units)
}

func apartText(by, other *unitfile.Unit, rule unitfile.Said, word, stack string) string {
	what := fmt.Sprintf("unit %s %s %s", quoted(by.Name.Full), word, quoted(rule.Is))
	if rule.Is != other.Name.Full {
		what += ", as " + quoted(other.Name.Full) + " is"
	}
	return what + ", so stack " + stack + ", which has both, can never be placed"
}

// checkApart finds units of a stack that could never be placed together.
func (s *stack) checkApart(r *reader, d *draft) {
	var units []*unitfile.Unit
	from := map[*unitfile.Unit]*unit{}
	for _, name := range s.spec.Units {
		if u, ok := d.units.get(name); ok && u.read != nil {
			units = append(units, u.read)
			from[u.read] = u
		}
	}
	if !r.compare(s.at, rulesWeight(units)) {
		return
	}
	keptApart(units, func(by, other *unitfile.Unit, rule unitfile.Said, word string) {
		if !r.faults.Full() {
			r.faults.Add(from[by].placed(by.File.FaultAt(rule, apartText(by, other, rule, word, s.spec.Name)))).
				Advise("take the rule out, or put them into stacks of their own")
		}
	})
}

// apart refuses units of a stack that could never be placed together, or would have one name.
func (v *verifier) apart(s *argosyv1.StackSpec) (err error) {
	units := make([]*unitfile.Unit, 0, len(s.Units))
	for i, name := range s.Units {
		if text := sameUnit(s.Units[:i+1]); text != "" {
			return errors.New(text)
		}
		units = append(units, v.units[name])
	}
	if v.compared += rulesWeight(units); v.compared > maxComparison {
		return errors.New("its units have too many rules to be compared: split the app")
	}
	keptApart(units, func(by, other *unitfile.Unit, rule unitfile.Said, word string) {
		if err == nil {
			err = errors.New(apartText(by, other, rule, word, s.Name))
		}
	})
	return err
}
