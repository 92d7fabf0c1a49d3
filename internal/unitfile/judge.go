package unitfile

import (
	"path"
	"strings"

	"github.com/argosy-cluster/argosy/internal/fault"
)

// judge finds rules of [X-Fleet] that can never be met.
func (r *fleetReader) judge() {
	r.judgeGlobal()
	for i, id := range r.ids {
		if i > 0 && !strings.HasPrefix(id.Is, r.ids[0].Is) && !strings.HasPrefix(r.ids[0].Is, id.Is) {
			r.badSaid(id, "the unit is to run on two machines: MachineID is %s in line %d", fault.Quoted(r.ids[0].Is), r.ids[0].Line)
		}
		if len(id.Is) > len(r.out.MachineID.Is) {
			r.out.MachineID = id
		}
	}
	for _, of := range r.out.MachineOf {
		if of.Is == r.unit.Full {
			r.badSaid(of, "the unit waits for itself: MachineOf is its own name")
		}
		if c, hit := firstMatch(r.out.Conflicts, of.Is); hit {
			r.badSaid(of, "the unit is to run beside %s, with which it conflicts by line %d", fault.Quoted(of.Is), c.Line)
		}
		if c, hit := firstMatch(r.out.Replaces, of.Is); hit {
			r.badSaid(of, "the unit is to run beside %s, which it replaces by line %d", fault.Quoted(of.Is), c.Line)
		}
	}
	for _, c := range r.out.Conflicts {
		if c.Is == r.unit.Full {
			r.badSaid(c, "the unit conflicts with itself").Advise("no machine runs two units of one name anyway")
		}
	}
	for _, c := range r.out.Replaces {
		if c.Is == r.unit.Full {
			r.badSaid(c, "the unit replaces itself")
		}
	}
	if len(r.out.Replaces) > 0 && len(r.out.Conflicts) > 0 {
		r.badSaid(r.out.Replaces[0], "a unit that replaces others cannot conflict with any, as it does by line %d", r.out.Conflicts[0].Line).
			Advise("Replaces moves another unit away; Conflicts waits until it is gone")
	}
}

func (r *fleetReader) judgeGlobal() {
	if !r.out.Global {
		return
	}
	if len(r.ids) > 0 {
		r.badSaid(r.ids[0], "a global unit runs on every machine, so it cannot have MachineID").
			Advise("take Global out, or choose machines by MachineMetadata")
	}
	if len(r.out.MachineOf) > 0 {
		r.badSaid(r.out.MachineOf[0], "a global unit runs on every machine, so it cannot have MachineOf").
			Advise("take Global out, or choose machines by MachineMetadata")
	}
	if len(r.out.Replaces) > 0 {
		r.badSaid(r.out.Replaces[0], "a global unit runs on every machine, so what it replaces would have nowhere to go")
	}
}

func firstMatch(globs []Said, name string) (Said, bool) {
	for _, g := range globs {
		if Match(g.Is, name) {
			return g, true
		}
	}
	return Said{}, false
}

// Match tells whether a glob of [X-Fleet] is about a unit: * is any text, ? any character, and [a-c] one of some. A backslash
// is a part of units' names, and means nothing else.
func Match(glob, name string) bool {
	hit, err := path.Match(literal(glob), name)
	return err == nil && hit
}

// literal is a glob whose backslashes stand for themselves.
func literal(glob string) string {
	if !strings.Contains(glob, `\`) {
		return glob
	}
	return strings.ReplaceAll(glob, `\`, `\\`)
}

// Rules are what a unit wants of those that are on its machine.
type Rules struct {
	Name      string   // on the machine: web@3.service
	Conflicts []string // globs
}

// Rules are those of a unit that is called so.
func (f Fleet) Rules(name string) Rules {
	r := Rules{Name: name}
	for _, c := range f.Conflicts {
		r.Conflicts = append(r.Conflicts, c.Is)
	}
	return r
}

// A Clash is why two units cannot share a machine.
type Clash struct {
	By   string // the unit that says so, or "" when they have one name
	Glob string // what it says; may be empty
	With string // the other unit
}

func (c Clash) String() string {
	switch {
	case c.By == "":
		return c.With + " is there already"
	case c.Glob == c.With:
		return c.By + " conflicts with " + c.With
	default:
		return c.By + " conflicts with " + c.Glob + ", as " + c.With + " is"
	}
}

// Compatible tells whether two units can share a machine, and why not. It does not matter which of them says so.
func Compatible(a, b Rules) (Clash, bool) {
	if a.Name == b.Name {
		return Clash{With: b.Name}, false
	}
	for _, g := range a.Conflicts {
		if Match(g, b.Name) {
			return Clash{a.Name, g, b.Name}, false
		}
	}
	for _, g := range b.Conflicts {
		if Match(g, a.Name) {
			return Clash{b.Name, g, a.Name}, false
		}
	}
	return Clash{}, true
}
