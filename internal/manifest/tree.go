package manifest

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Trees reads YAML files that are no manifests for rooms that turn them into one, within the bounds that manifests have.
// Whatever is said about them has the form of a manifest's faults.
type Trees struct {
	r reader
	n int
}

// Open reads one file; what keeps it from being read is a fault, and ok is false.
func (t *Trees) Open(in File) (root Node, ok bool) {
	before := len(t.r.faults.Kept())
	f, ok := t.r.open(t.n, in)
	t.n++
	for _, fault := range t.r.faults.Kept()[before:] {
		fault.Message = strings.ReplaceAll(fault.Message, "; a manifest is one document", ": give each a file of its own")
		fault.Message = strings.ReplaceAll(fault.Message, "the manifest has", "the files have")
		fault.Hint = ""
	}
	if !ok {
		return Node{}, false
	}
	return Node{t, value{f: f, n: f.root}}, true
}

// Faults is what kept files from being read.
func (t *Trees) Faults() Faults { return t.r.faults.Sorted() }

// Node is a value in a tree together with its place. Aliases are followed. The zero Node stands nowhere.
type Node struct {
	t *Trees
	v value
}

// IsZero is true for the zero Node.
func (n Node) IsZero() bool { return n.v.n == nil }

// IsMap and IsList say what the value is.
func (n Node) IsMap() bool  { return !n.IsZero() && n.v.isMap() }
func (n Node) IsList() bool { return !n.IsZero() && n.v.isList() }

// Scalar is the text of a single value as it is written; ok is false for maps, lists and what is empty.
func (n Node) Scalar() (text string, ok bool) {
	if n.IsZero() || !n.v.isScalar() || n.v.isNull() {
		return "", false
	}
	return n.v.n.Value, true
}

// Tag is an explicit tag such as !reset, else "".
func (n Node) Tag() string {
	if n.IsZero() || n.v.n.Style&yaml.TaggedStyle == 0 {
		return ""
	}
	return n.v.n.Tag
}

// Name is the place of the key that names the value, or the value itself in a list.
func (n Node) Name() Node {
	if n.IsZero() {
		return n
	}
	return Node{n.t, n.v.name()}
}

// Child is the value of a key, be it the map's own or one that it merges.
func (n Node) Child(name string) (Node, bool) {
	for key, child := range n.entries() {
		if key == name {
			return child, true
		}
	}
	return Node{}, false
}

// Keys are the keys of a map in the order of the file, merged ones last.
func (n Node) Keys() []string {
	var out []string
	seen := map[string]bool{}
	for key := range n.entries() {
		if !seen[key] {
			seen[key] = true
			out = append(out, key)
		}
	}
	return out
}

// entries are the keys and values of a map, its own before those that it merges. A key may come more than once: the first
// counts.
func (n Node) entries() func(yield func(string, Node) bool) {
	return func(yield func(string, Node) bool) {
		if n.IsMap() {
			n.each(0, yield)
		}
	}
}

func (n Node) each(merges int, yield func(string, Node) bool) bool {
	var merged []Node
	for i := 0; i+1 < len(n.v.n.Content); i += 2 {
		k := n.v.follow(n.v.n.Content[i], nil)
		child := Node{n.t, n.v.follow(n.v.n.Content[i+1], n.v.n.Content[i])}
		switch {
		case k.isScalar() && k.n.ShortTag() == "!!merge":
			if child.IsList() {
				merged = append(merged, child.Items()...)
			} else {
				merged = append(merged, child)
			}
		case k.isScalar():
			if !yield(k.n.Value, child) {
				return false
			}
		}
	}
	if merges >= maxMerge {
		return true
	}
	for _, m := range merged {
		if m.IsMap() && !m.each(merges+1, yield) {
			return false
		}
	}
	return true
}

// Items are the elements of a list.
func (n Node) Items() []Node {
	if !n.IsList() {
		return nil
	}
	out := make([]Node, len(n.v.n.Content))
	for i, c := range n.v.n.Content {
		out[i] = Node{n.t, n.v.follow(c, nil)}
	}
	return out
}

// Size is how many values there are with every alias written out, or most when there are more; an alias within itself has
// more than any number.
func (n Node) Size(most int) int {
	if n.IsZero() {
		return 0
	}
	sizes := map[*yaml.Node]int{}
	var size func(*yaml.Node) int
	size = func(y *yaml.Node) int {
		if y.Kind == yaml.AliasNode && y.Alias != nil {
			return size(y.Alias)
		}
		if s, known := sizes[y]; known {
			return s
		}
		sizes[y] = most // while it is counted: a circle has no end
		total := 1
		for _, c := range y.Content {
			if total += size(c); total >= most {
				total = most
				break
			}
		}
		sizes[y] = total
		return total
	}
	return size(n.v.n)
}

// Fault makes a fault about the value.
func (n Node) Fault(message, hint string) Fault {
	if n.IsZero() {
		return Fault{Message: clip(message), Hint: clip(hint)}
	}
	f := n.v.fault(clip(message))
	f.Hint = clip(hint)
	return f
}

// A ComposeKey is what manifests make of a key of the Compose Specification.
type ComposeKey struct {
	Honoured     bool
	Why, Instead string // when it is not
}

// Compose looks a key up: of a service ("service", "deploy", "replicas"), of the top level ("top", "networks"), of a volume
// or config ("volume", "driver").
func Compose(kind string, path ...string) (key ComposeKey, known bool) {
	t := tables()
	var keys []keyDoc
	switch kind {
	case "service":
		keys = t.container.docs()
	case "top":
		keys = t.app.docs()
	case "volume":
		keys = t.volume.docs()
	case "config":
		keys = t.config.docs()
	}
	for i, step := range path {
		at := slices.IndexFunc(keys, func(k keyDoc) bool { return k.name == step && !k.own })
		if at < 0 {
			return ComposeKey{}, false
		}
		if k := keys[at]; k.refused != "" || i == len(path)-1 {
			return ComposeKey{Honoured: k.refused == "", Why: k.refused, Instead: k.instead}, true
		}
		keys = keys[at].keys
	}
	return ComposeKey{}, false
}

// NameLike is a name as manifests want it, made of a text, or "".
func NameLike(s string) string { return nameLike(strings.ToValidUTF8(s, "")) }

// VariableLength is how many bytes at the beginning of s are the name of a variable.
func VariableLength(s string) int { return nameLength(s) }

// CheckName says what keeps a text from being a name.
func CheckName(s string) error { return checkName(s) }
