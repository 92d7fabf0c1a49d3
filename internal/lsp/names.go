package lsp

import (
	"slices"
	"strings"

	"github.com/argosy-cluster/argosy/internal/lsp/sketch"
)

// kind is what a name is the name of.
type kind string

const (
	aContainer kind = "container"
	aUnit      kind = "unit"
	aStack     kind = "stack"
	aVolume    kind = "volume"
	aConfig    kind = "config"
	aSecret    kind = "secret"
)

// A place is where a name stands in a manifest: * is any key, [] any item of a list. One that ends with a colon is about
// the keys there, others about the values.
type place struct {
	path string
	kind kind
}

// declared is where names are given, referred where they are used.
var (
	declared = []place{
		{"containers/*:", aContainer}, {"units/*:", aUnit}, {"stacks/*:", aStack}, {"stacks/*/volumes/*:", aVolume}, {"configs/*:", aConfig},
	}
	referred = []place{
		{"stacks/*/containers/[]", aContainer}, {"stacks/*/units/[]", aUnit},
		{"containers/*/depends_on/[]", aContainer}, {"containers/*/depends_on/*:", aContainer},
		{"cluster/*:", aStack},
		{"stacks/*/placement/apart_from/[]", aStack}, {"stacks/*/placement/apart_from", aStack},
		{"stacks/*/placement/together_with/[]", aStack}, {"stacks/*/placement/together_with", aStack},
		{"containers/*/volumes/[]", aVolume}, {"containers/*/volumes/[]/source", aVolume},
		{"containers/*/configs/[]", aConfig}, {"containers/*/configs/[]/source", aConfig},
		{"containers/*/secrets/[]", aSecret}, {"containers/*/secrets/[]/source", aSecret},
	}
)

func (p place) matches(path []sketch.Step, inKey bool) bool {
	pattern, keys := strings.CutSuffix(p.path, ":")
	steps := strings.Split(pattern, "/")
	if keys != inKey || len(steps) != len(path) {
		return false
	}
	for i, s := range steps {
		switch s {
		case "*":
			if path[i].Key == "" {
				return false
			}
		case "[]":
			if path[i].Key != "" {
				return false
			}
		default:
			if path[i].Key != s {
				return false
			}
		}
	}
	return true
}

// kindAt is what is named at a path, or "".
func kindAt(places []place, path []sketch.Step, inKey bool) kind {
	for _, p := range places {
		if p.matches(path, inKey) {
			return p.kind
		}
	}
	return ""
}

// nameAt is what the word at a node is the name of.
func nameAt(n *sketch.Node, role sketch.Role) (name string, of kind) {
	path := n.Path()
	switch role {
	case sketch.InKey:
		if of = kindAt(declared, path, true); of == "" {
			of = kindAt(referred, path, true)
		}
		return n.Key.Value, of
	case sketch.InValue:
		if n.Kind != sketch.Scalar {
			return "", ""
		}
		of = kindAt(referred, path, false)
		name = n.Text.Value
		if of == aVolume {
			name, _, _ = strings.Cut(name, ":")
		}
		return name, of
	}
	return "", ""
}

// declaration is where a name is given.
type declaration struct {
	name string
	in   *document
	node *sketch.Node
	// stack is the one that a volume belongs to.
	stack *sketch.Node
}

// declarations are all names of a kind in the documents of an app.
func declarations(docs []*document, of kind) []declaration {
	var out []declaration
	add := func(d *document, under, stack *sketch.Node) {
		if under == nil {
			return
		}
		for _, c := range under.Children {
			if c.IsEntry && c.Colon && c.Key.Value != "<<" {
				out = append(out, declaration{c.Key.Value, d, c, stack})
			}
		}
	}
	for _, d := range docs {
		root := d.sketch().Root
		switch of {
		case aContainer:
			add(d, root.Child("containers"), nil)
		case aUnit:
			add(d, root.Child("units"), nil)
		case aStack:
			add(d, root.Child("stacks"), nil)
		case aConfig:
			add(d, root.Child("configs"), nil)
		case aVolume:
			if stacks := root.Child("stacks"); stacks != nil {
				for _, s := range stacks.Children {
					add(d, s.Child("volumes"), s)
				}
			}
		}
	}
	return out
}

// find is where a name is given; of a volume, at a stack that has the container.
func find(docs []*document, name string, of kind, container string) (declaration, bool) {
	all := declarations(docs, of)
	all = slices.DeleteFunc(all, func(d declaration) bool { return d.name != name })
	for _, d := range all {
		if d.stack == nil || has(d.stack, container) {
			return d, true
		}
	}
	if len(all) == 0 {
		return declaration{}, false
	}
	return all[0], true
}

// has tells whether a stack has a container.
func has(stack *sketch.Node, container string) bool {
	return slices.ContainsFunc(stack.Child("containers").Items(), func(n *sketch.Node) bool { return n.Text.Value == container })
}
