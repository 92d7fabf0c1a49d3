package placement

import (
	"slices"
	"strings"

	"github.com/argosy-cluster/argosy/internal/volumesource"
)

// What a machine is known by that nobody can set, as labels: systemd's version, where its agent can run units, and its id, in full
// and as fleet shortens it. Expressions about them are made by Argosy itself, and people are told of them in words.
const (
	Systemd = "argosy/systemd"
	ID      = "argosy/id"
	ShortID = "argosy/short-id"
	// Guard is whether the machine's guard keeps leases: Ready, or why not.
	Guard = "argosy/guard"
	// reach begins what a machine has a way to.
	reach = "argosy/reaches "
)

// Ready is the value of Guard where it does.
const Ready = "ready"

// Own says whether a label is one that nobody can set.
func Own(key string) bool {
	return key == Systemd || key == ID || key == ShortID || key == Guard || strings.HasPrefix(key, reach)
}

// Guarded matches machines whose guard keeps leases on shared volumes.
func Guarded() Expr {
	n := &node{op: opIs, key: Guard, values: []string{Ready}}
	return Expr{root: n, text: n.format(0)}
}

// Reaches matches machines that have a way to shared storage: `LABEL=shop-data-3`, or `mount nfs` for a type of mount(8).
func Reaches(what string) Expr {
	n := &node{op: opHas, key: reach + what}
	return Expr{root: n, text: n.format(0)}
}

// OfStorage says whether a label is about shared storage and who keeps leases on it.
func OfStorage(key string) bool { return key == Guard || strings.HasPrefix(key, reach) }

// Reached is the storage that a label is about; ok is false of other labels.
func Reached(key string) (what string, ok bool) { return strings.CutPrefix(key, reach) }

// Storage is what a machine says that it has a way to: volumesource.Reach of each name, in order.
type Storage []uint64

// Has says whether a name is among them.
func (s Storage) Has(what string) bool {
	_, found := slices.BinarySearch(s, volumesource.Reach(what))
	return found
}

// RunsUnits matches machines whose agent can run units.
func RunsUnits() Expr {
	n := &node{op: opHas, key: Systemd}
	return Expr{root: n, text: n.format(0)}
}

// Words is the expression as people are told of it: its text, unless it is about what nobody can set.
func (e Expr) Words() string {
	switch n := e.root; {
	case n == nil || !Own(n.key):
		return e.text
	case n.op == opHas && n.key == Systemd:
		return "systemd"
	case n.op == opHas:
		what, _ := Reached(n.key)
		return what
	case n.key == Guard:
		return "a guard of leases"
	case n.op == opIs && len(n.values) == 1:
		return "machine id " + n.values[0]
	}
	return e.text
}

// own is a mismatch about what nobody can set, in words.
func (m Mismatch) own() string {
	if what, ok := Reached(m.Key); ok {
		if kind, is := strings.CutPrefix(what, "mount "); is {
			return "cannot mount " + kind
		}
		return "does not see " + what
	}
	if m.Key == Guard {
		if m.Has {
			return "its guard keeps no leases: " + m.Value
		}
		return "it has no guard that keeps leases"
	}
	if m.Key == Systemd || !m.Has {
		return "systemd does not run it, so it cannot run units"
	}
	return "its id is " + m.Value + ", not " + strings.Trim(strings.TrimPrefix(m.Needs, "== "), `"`)
}
