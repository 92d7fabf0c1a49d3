package sketch

import "sort"

// Kind is what a node's value is.
type Kind uint8

const (
	Empty  Kind = iota // nothing is written there yet
	Scalar             // a single value
	Map
	List
	Alias // *name; Text is the name
)

// Text is a word as written, without its quotes. Start and End are the byte offsets of all of it, quotes included.
type Text struct {
	Value      string
	Start, End int
}

func (t Text) holds(offset int) bool { return t.Start <= offset && offset <= t.End }

// Node is an entry of a map, an item of a list, or the whole document, together with its value.
type Node struct {
	Parent *Node // nil for the document
	Key    Text  // of an entry of a map
	// Colon is false for a word that stands where a key should and has no colon behind it (yet).
	IsEntry, Colon bool

	Kind     Kind
	Text     Text // of a single value, or of an alias
	Anchor   Text // &name in front of the value; empty when there is none
	Children []*Node
	Flow     bool // in brackets
	Literal  bool // a text of several lines, after | or >
	// OwnLine is true for a single value that stands on a line of its own: it may be a key on its way.
	OwnLine bool
	// Start and End are the byte offsets of the value.
	Start, End int

	indent int // column of its children, when they are in lines of their own
	index  int // among the items of a list
}

// Doc is a text and its tree.
type Doc struct {
	Root *Node
	// Anchors are the nodes that have a name.
	Anchors map[string]*Node

	comments []Text
}

// Step is one step of a path: into an entry of a map, or, with an empty key, an item of a list.
type Step struct {
	Key   string
	Index int
}

// Path is the way from the document to n.
func (n *Node) Path() []Step {
	depth := 0
	for m := n; m.Parent != nil; m = m.Parent {
		depth++
	}
	out := make([]Step, depth)
	for m := n; m.Parent != nil; m = m.Parent {
		depth--
		if m.IsEntry {
			out[depth] = Step{Key: m.Key.Value}
		} else {
			out[depth] = Step{Index: m.index}
		}
	}
	return out
}

// Child is the value of a key, or nil. A nil node has no children.
func (n *Node) Child(keys ...string) *Node {
	for _, key := range keys {
		if n == nil {
			return nil
		}
		var next *Node
		for _, c := range n.Children {
			if c.IsEntry && c.Key.Value == key {
				next = c
				break
			}
		}
		n = next
	}
	return n
}

// Items are the values that n is about when it may be one or a list of them.
func (n *Node) Items() []*Node {
	switch {
	case n == nil || n.Kind == Empty:
		return nil
	case n.Kind == List:
		return n.Children
	}
	return []*Node{n}
}

// Role is what of a node is at an offset.
type Role uint8

const (
	Nowhere Role = iota // in a comment, or between things
	InKey
	InValue
	InAnchor
)

// Begin is where the node begins, its key included.
func (n *Node) Begin() int {
	if n.IsEntry {
		return n.Key.Start
	}
	return n.Start
}

// At is the innermost node at an offset, and what of it is there. The end of a word belongs to the word.
func (d *Doc) At(offset int) (*Node, Role) {
	i := sort.Search(len(d.comments), func(i int) bool { return d.comments[i].End >= offset })
	if i < len(d.comments) && d.comments[i].Start < offset {
		return d.Root, Nowhere
	}
	n := d.Root
	for {
		switch {
		case n.IsEntry && n.Key.holds(offset):
			return n, InKey
		case n.Anchor.End > 0 && n.Anchor.holds(offset):
			return n, InAnchor
		case n.Text.End > 0 && n.Text.holds(offset):
			return n, InValue
		}
		// The last child that begins at or before the offset.
		i := sort.Search(len(n.Children), func(i int) bool { return n.Children[i].Begin() > offset })
		if i == 0 {
			return n, Nowhere
		}
		n = n.Children[i-1]
	}
}
