package core

import (
	"fmt"
	"slices"
	"strings"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/placement"
	"github.com/argosy-cluster/argosy/internal/scheduler"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/unitfile"
	"github.com/argosy-cluster/argosy/internal/volumesource"
)

// unitFile is a unit of a stack, read.
type unitFile struct {
	name unitfile.Name
	file *unitfile.File
}

// readUnits reads the units of a stack; what is wrong with one was refused when it was applied.
func readUnits(units []*argosyv1.Unit) (list []unitFile, fault string) {
	for _, u := range units {
		name, err := unitfile.ParseName(u.GetName())
		if err != nil {
			return nil, err.Error()
		}
		file, faults := unitfile.Parse(u.GetName(), u.GetContent())
		if err := faults.Err(); err != nil {
			return nil, fmt.Sprintf("unit %s cannot be read: %v", u.GetName(), err)
		}
		list = append(list, unitFile{name, file})
	}
	return list, ""
}

// ask adds to a shape what a unit of that name asks for.
func (u unitFile) ask(name unitfile.Name, out *scheduler.Shape) {
	fleet, _ := u.file.Fleet(name)
	unit := scheduler.Unit{Name: name.Full}
	for _, s := range fleet.MachineOf {
		unit.Beside = append(unit.Beside, s.Is)
	}
	for _, s := range fleet.Conflicts {
		unit.Conflicts = append(unit.Conflicts, s.Is)
	}
	for _, s := range fleet.Replaces {
		unit.Replaces = append(unit.Replaces, s.Is)
	}
	out.Units = append(out.Units, unit)
	out.Require = append(out.Require, fleet.Require()...)
	if id := fleet.MachineID.Is; id != "" {
		key := placement.ID
		if len(id) == unitfile.ShortID {
			key = placement.ShortID
		}
		if e, err := placement.OneOf(key, []string{id}); err == nil { // an id is fit for a label
			out.Require = append(out.Require, e)
		}
	}
}

// of is the shape of one replica: it is its own where the stack has templates, whose instances are called
// by its number, or shared volumes, each of which has storage of its own.
func (sh shape) of(k state.Key) *scheduler.Shape {
	if sh.Shape == nil || len(sh.templates)+len(sh.storage) == 0 {
		return sh.Shape
	}
	if own := sh.numbered[k.Number]; own != nil {
		return own
	}
	own := *sh.Shape
	own.Require, own.Units = own.Require[:len(own.Require):len(own.Require)], own.Units[:len(own.Units):len(own.Units)]
	for _, u := range sh.templates {
		if name, err := u.name.Of(fmt.Sprint(k.Number)); err == nil {
			u.ask(name, &own)
		}
	}
	if len(sh.storage) > 0 {
		own.Require = append(own.Require, placement.Guarded())
	}
	for _, v := range sh.storage {
		own.Require = append(own.Require, placement.Reaches(reached(v, k.Number)))
	}
	sh.numbered[k.Number] = &own
	return &own
}

// reached is what a machine has to have a way to, for a shared volume of a replica.
func reached(v *argosyv1.VolumeSpec, number uint32) string {
	if m := v.GetMount(); m.GetSource() != "" {
		return "mount " + m.GetType()
	}
	return volumesource.For(v.GetDevice().GetDevice(), number)
}

// alike is what two replicas of a stack with templates ask for both. Where the units of one keep those of the other away, that is
// that the stack wants to be apart from itself.
func (sh shape) alike(k state.StackKey) *scheduler.Shape {
	one, two := sh.of(k.Replica(1)), sh.of(k.Replica(2))
	out := *sh.Shape
	out.Require = nil
	for _, e := range one.Require {
		if slices.ContainsFunc(e.Keys(), placement.OfStorage) {
			continue // which says where a replica may go, and takes none away from where it is
		}
		if slices.ContainsFunc(two.Require, func(o placement.Expr) bool { return o.String() == e.String() }) {
			out.Require = append(out.Require, e)
		}
	}
	for _, u := range one.Units {
		for _, o := range two.Units {
			rules := func(u scheduler.Unit) unitfile.Rules {
				return unitfile.Rules{Name: u.Name, Conflicts: slices.Concat(u.Conflicts, u.Replaces)}
			}
			if _, ok := unitfile.Compatible(rules(u), rules(o)); !ok && !slices.Contains(out.Apart, schedulerStack(k)) {
				out.Apart = append(slices.Clip(out.Apart), schedulerStack(k))
			}
		}
	}
	return &out
}

// rulesText is what units ask for, as they wrote it: equal texts ask for the same.
func rulesText(units []unitFile) string {
	var b strings.Builder
	for _, u := range units {
		fmt.Fprintf(&b, " unit %q", u.name.Full)
		for _, s := range u.file.Settings() {
			if s.Section == unitfile.FleetSection {
				fmt.Fprintf(&b, " %q %q", s.Name, s.Value)
			}
		}
	}
	return b.String()
}
