package manifest

import (
	"fmt"

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
