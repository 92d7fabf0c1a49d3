package placement

import "strings"

// What a machine is known by that nobody can set, as labels: systemd's version, where its agent can run units, and its id, in full
// and as fleet shortens it. Expressions about them are made by Argosy itself, and people are told of them in words.
const (
	Systemd = "argosy/systemd"
	ID      = "argosy/id"
	ShortID = "argosy/short-id"
)

// Own says whether a label is one that nobody can set.
func Own(key string) bool { return key == Systemd || key == ID || key == ShortID }

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
	case n.op == opIs && len(n.values) == 1:
		return "machine id " + n.values[0]
	}
	return e.text
}

// own is a mismatch about what nobody can set, in words.
func (m Mismatch) own() string {
	if m.Key == Systemd || !m.Has {
		return "systemd does not run it, so it cannot run units"
	}
	return "its id is " + m.Value + ", not " + strings.Trim(strings.TrimPrefix(m.Needs, "== "), `"`)
}
