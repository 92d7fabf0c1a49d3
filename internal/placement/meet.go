package placement

import (
	"maps"
	"slices"
)

// Labels is a change of a machine's labels.
type Labels struct {
	Set    map[string]string
	Remove []string // sorted
}

// Size is how many labels change.
func (l Labels) Size() int { return len(l.Set) + len(l.Remove) }

// Meet finds a change of labels after which all expressions match, and which
// no part of can be left out; ok is false when it finds none. A machine's name
// is no label and cannot be changed, and no label is set to nothing. Of several values it takes the first that
// is listed, of alternatives the one that changes least, so where expressions
// contradict one another it may miss a change that there is.
func Meet(all []Expr, labels func(key string) (value string, ok bool)) (Labels, bool) {
	m := meeting{labels: labels, set: map[string]string{}, gone: map[string]bool{}}
	for range len(all) + 1 {
		i := slices.IndexFunc(all, func(e Expr) bool { return !e.Eval(m.label) })
		if i < 0 {
			return m.needed(all), true
		}
		if !m.make(all[i].root, true) {
			return Labels{}, false
		}
	}
	return Labels{}, false
}

type meeting struct {
	labels func(string) (string, bool)
	set    map[string]string
	gone   map[string]bool
}

func (m *meeting) label(key string) (string, bool) {
	if v, ok := m.set[key]; ok {
		return v, true
	}
	if m.gone[key] {
		return "", false
	}
	return m.labels(key)
}

// needed leaves out what an earlier step changed and a later one made needless.
func (m *meeting) needed(all []Expr) Labels {
	match := func() bool {
		return !slices.ContainsFunc(all, func(e Expr) bool { return !e.Eval(m.label) })
	}
	for _, key := range slices.Sorted(maps.Keys(m.set)) {
		v := m.set[key]
		if delete(m.set, key); !match() {
			m.set[key] = v
		}
	}
	for _, key := range slices.Sorted(maps.Keys(m.gone)) {
		if delete(m.gone, key); !match() {
			m.gone[key] = true
		}
	}
	return Labels{Set: m.set, Remove: slices.Sorted(maps.Keys(m.gone))}
}

// make changes labels so that the node is what is wanted of it.
func (m *meeting) make(n *node, want bool) bool {
	if n.eval(m.label) == want {
		return true
	}
	switch {
	case n.op == opNot:
		return m.make(n.parts[0], !want)
	case n.op == opAnd && want || n.op == opOr && !want:
		return m.makeAll(n.parts, want)
	case n.op == opOr || n.op == opAnd:
		return m.makeOne(n.parts, want)
	case n.key == Machine:
		return false
	case n.op == opHas && want:
		return m.put(n.key, "true")
	case n.op == opIs && want, n.op == opIsNot && !want:
		return m.put(n.key, n.values[0])
	default:
		return m.drop(n.key)
	}
}

// put and drop refuse to undo what another part needed.
func (m *meeting) put(key, value string) bool {
	if old, ok := m.set[key]; m.gone[key] || value == "" || ok && old != value {
		return false
	}
	m.set[key] = value
	return true
}

func (m *meeting) drop(key string) bool {
	if _, ok := m.set[key]; ok {
		return false
	}
	m.gone[key] = true
	return true
}

func (m *meeting) makeAll(parts []*node, want bool) bool {
	for _, p := range parts {
		if !m.make(p, want) {
			return false
		}
	}
	return true
}

// makeOne takes the alternative that changes least.
func (m *meeting) makeOne(parts []*node, want bool) bool {
	var best *meeting
	for _, p := range parts {
		try := &meeting{labels: m.labels, set: maps.Clone(m.set), gone: maps.Clone(m.gone)}
		if try.make(p, want) && (best == nil || len(try.set)+len(try.gone) < len(best.set)+len(best.gone)) {
			best = try
		}
	}
	if best == nil {
		return false
	}
	m.set, m.gone = best.set, best.gone
	return true
}
