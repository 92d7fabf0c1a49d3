package placement

import (
	"fmt"
	"slices"
	"strings"
)

// Machine is the built-in word that stands for the machine's name. A label of
// that name is never asked for.
const Machine = "machine"

// Expr is a parsed expression. The zero Expr matches every machine.
type Expr struct {
	root *node
	text string
}

type op uint8

const (
	opAnd   op = iota + 1 // parts
	opOr                  // parts
	opNot                 // parts[0]
	opHas                 // key
	opIs                  // key is one of values
	opIsNot               // key is none of values
)

type node struct {
	op     op
	list   bool // written with in or not in
	key    string
	values []string
	parts  []*node
}

// IsZero tells the Expr that says nothing from one that was parsed.
func (e Expr) IsZero() bool { return e.root == nil }

// String is the expression in its canonical spelling: parsing it gives an
// Expr with the same String and the same meaning.
func (e Expr) String() string { return e.text }

// Eval reports whether a machine with these labels matches. labels must answer
// [Machine] with the machine's name.
func (e Expr) Eval(labels func(key string) (value string, ok bool)) bool {
	return e.root == nil || e.root.eval(labels)
}

// Keys lists the labels that the expression asks for, sorted, each once.
func (e Expr) Keys() []string {
	var keys []string
	if e.root != nil {
		e.root.walk(func(n *node) {
			if n.key != "" {
				keys = append(keys, n.key)
			}
		})
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

func (n *node) walk(visit func(*node)) {
	visit(n)
	for _, p := range n.parts {
		p.walk(visit)
	}
}

func (n *node) eval(labels func(string) (string, bool)) bool {
	switch n.op {
	case opAnd:
		for _, p := range n.parts {
			if !p.eval(labels) {
				return false
			}
		}
		return true
	case opOr:
		for _, p := range n.parts {
			if p.eval(labels) {
				return true
			}
		}
		return false
	case opNot:
		return !n.parts[0].eval(labels)
	}
	v, ok := labels(n.key)
	switch n.op {
	case opHas:
		return ok
	case opIs:
		return ok && slices.Contains(n.values, v)
	default:
		return !ok || !slices.Contains(n.values, v)
	}
}

// A Mismatch is why an expression does not match a machine: the first
// condition that fails, or the whole alternative when none of several holds.
type Mismatch struct {
	Key   string // label asked for; "" when several are involved
	Value string // what the machine has
	Has   bool   // whether it has the label at all
	Needs string // the failing condition; without its key when Key stands before it
}

// String is for example "label zone is core, needs == edge".
func (m Mismatch) String() string {
	switch {
	case m.Key == "":
		return "needs " + m.Needs
	case Own(m.Key):
		return m.own()
	case m.Key == Machine:
		return fmt.Sprintf("machine is %s, needs %s", m.Value, m.Needs)
	case !m.Has:
		return fmt.Sprintf("label %s is missing, needs %s", m.Key, m.Needs)
	default:
		return fmt.Sprintf("label %s is %s, needs %s", m.Key, spell(m.Value), m.Needs)
	}
}

// Mismatch says why Eval is false for these labels; ok is false when it is not.
func (e Expr) Mismatch(labels func(key string) (value string, ok bool)) (m Mismatch, ok bool) {
	if e.Eval(labels) {
		return Mismatch{}, false
	}
	n := e.root
	for n.op == opAnd {
		n = n.parts[slices.IndexFunc(n.parts, func(p *node) bool { return !p.eval(labels) })]
	}
	inner, negated := n, false
	for inner.op == opNot {
		inner, negated = inner.parts[0], !negated
	}
	if inner.key == "" {
		return Mismatch{Needs: n.format(0)}, true
	}
	m = Mismatch{Key: inner.key}
	m.Value, m.Has = labels(inner.key)
	switch {
	case inner.op == opHas:
		m.Needs = n.format(0)
	case negated:
		flipped := *inner
		flipped.op = opIs + opIsNot - inner.op
		m.Needs = flipped.condition()
	default:
		m.Needs = inner.condition()
	}
	return m, true
}

// format spells the node; it is put in parentheses when it binds weaker than
// the operator around it (0 none, 1 &&, 2 !).
func (n *node) format(around int) string {
	switch n.op {
	case opAnd, opOr:
		sep, own := " && ", 1
		if n.op == opOr {
			sep, own = " || ", 0
		}
		texts := make([]string, len(n.parts))
		for i, p := range n.parts {
			texts[i] = p.format(own + 1)
		}
		s := strings.Join(texts, sep)
		if own < around {
			return "(" + s + ")"
		}
		return s
	case opNot:
		inner := n.parts[0]
		if inner.op == opIs || inner.op == opIsNot {
			return "!(" + inner.format(0) + ")"
		}
		return "!" + inner.format(2)
	case opHas:
		return "has(" + n.key + ")"
	default:
		return n.key + " " + n.condition()
	}
}

// condition spells a comparison without its key: "== edge", "not in (a, b)".
func (n *node) condition() string {
	if !n.list {
		if n.op == opIs {
			return "== " + spell(n.values[0])
		}
		return "!= " + spell(n.values[0])
	}
	texts := make([]string, len(n.values))
	for i, v := range n.values {
		texts[i] = spell(v)
	}
	word := "in ("
	if n.op == opIsNot {
		word = "not in ("
	}
	return word + strings.Join(texts, ", ") + ")"
}

// spell quotes a value where it must be quoted to be read back. A label of a
// machine may hold both kinds of quotes, an expression's value never does.
func spell(v string) string {
	bare := v != ""
	for i := range len(v) {
		bare = bare && isWordByte(v[i])
	}
	switch {
	case bare:
		return v
	case strings.IndexByte(v, '"') < 0:
		return `"` + v + `"`
	default:
		return "'" + v + "'"
	}
}
