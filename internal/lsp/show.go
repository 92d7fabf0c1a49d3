package lsp

import (
	"fmt"
	"strings"

	"github.com/argosy-cluster/argosy/internal/lsp/sketch"
)

// hover says what is known of what stands at a place; nil when that is nothing.
func (s *server) hover(d *document, at position) *hover {
	offset := d.offset(at)
	n, role := d.sketch().At(offset)
	if role == sketch.Nowhere || role == sketch.InAnchor {
		return nil
	}
	word := n.Text
	if role == sketch.InKey {
		word = n.Key
	}
	if role == sketch.InValue {
		if name, from, to := variableAt(d.text, word, offset); name != "" {
			r := d.span(from, to)
			return &hover{markdown(s.variable(name)), &r}
		}
	}
	r := d.span(word.Start, word.End)
	if name, of := nameAt(n, role); of != "" {
		if about := s.describe(d, n, name, of); about != "" {
			return &hover{markdown(about), &r}
		}
	}
	// A value is described by its key.
	for !n.IsEntry && n.Parent != nil {
		n = n.Parent
	}
	for _, known := range schemasAt(n.Path()) {
		if about := known.about(n.Key.Value); n.IsEntry && known.MarkdownDescription != "" {
			return &hover{markdown(about), &r}
		}
	}
	return nil
}

// variableAt is the variable that a text names at an offset, and where it stands.
func variableAt(text string, word sketch.Text, offset int) (name string, from, to int) {
	from = strings.LastIndexByte(text[word.Start:min(offset+1, word.End)], '$')
	if from < 0 {
		return "", 0, 0
	}
	from += word.Start
	rest := strings.TrimPrefix(text[from+1:word.End], "{")
	length := 0
	for length < len(rest) && (rest[length] == '_' || rest[length]|0x20 >= 'a' && rest[length]|0x20 <= 'z' || length > 0 && rest[length] >= '0' && rest[length] <= '9') {
		length++
	}
	to = word.End - len(rest) + length
	if strings.HasPrefix(text[from+1:], "{") {
		if i := strings.IndexByte(text[to:word.End], '}'); i >= 0 {
			to += i + 1
		}
	}
	escaped := (from-len(strings.TrimRight(text[word.Start:from], "$"))-word.Start)%2 == 1
	if length == 0 || escaped || offset > to {
		return "", 0, 0
	}
	return rest[:length], from, to
}

func (s *server) variable(name string) string {
	value, ok := "", false
	if s.opts.LookupEnv != nil {
		value, ok = s.opts.LookupEnv(name)
	}
	switch {
	case !ok:
		return fmt.Sprintf("The variable `%s` is not set in the environment of the editor, from which `argosy lsp` has its own.", name)
	case value == "":
		return fmt.Sprintf("The variable `%s` is set in the environment of the editor, and empty.", name)
	}
	return fmt.Sprintf("The variable `%s` is `%s` in the environment of the editor.", name, strings.ReplaceAll(clip(value), "`", "'"))
}

// describe says what a name of the app is the name of; n is where it is used.
func (s *server) describe(d *document, n *sketch.Node, name string, of kind) string {
	docs := s.app(d)
	at, ok := find(docs, name, of, pathContainer(n))
	if !ok {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s **%s**", of, name)
	if at.in != d {
		fmt.Fprintf(&b, " in %s", at.in.path)
	}
	say := func(what string, list []string) {
		if len(list) > 0 {
			fmt.Fprintf(&b, "\n\n%s: %s", what, strings.Join(list, ", "))
		}
	}
	switch of {
	case aContainer:
		for _, key := range []string{"image", "ports", "expose", "volumes", "depends_on", "mem_limit", "cpus"} {
			say(key, wordsOf(at.node.Child(key)))
		}
		var in []string
		for _, stack := range declarations(docs, aStack) {
			if has(stack.node, name) {
				in = append(in, stack.name)
			}
		}
		say("in the stacks", in)
	case aStack:
		say("containers", wordsOf(at.node.Child("containers")))
		for _, doc := range docs {
			say("how many", wordsOf(doc.sketch().Root.Child("cluster", name)))
		}
	case aVolume:
		fmt.Fprintf(&b, " of stack %s", at.stack.Key.Value)
		say("size", wordsOf(at.node.Child("size")))
	case aConfig:
		say("file", wordsOf(at.node.Child("file")))
	}
	return b.String()
}

// pathContainer is the container that a node is in, or "".
func pathContainer(n *sketch.Node) string {
	if path := n.Path(); len(path) > 1 && path[0].Key == "containers" {
		return path[1].Key
	}
	return ""
}

// wordsOf are the words of a value: of a list each, of a map its keys.
func wordsOf(n *sketch.Node) []string {
	const most = 20
	var out []string
	add := func(s string) {
		if len(out) < most && s != "" {
			out = append(out, "`"+strings.ReplaceAll(clip(s), "`", "'")+"`")
		}
	}
	if n != nil && n.Kind == sketch.Map {
		for _, c := range n.Children {
			if v := c.Text.Value; v != "" {
				add(c.Key.Value + ": " + v)
			} else {
				add(c.Key.Value)
			}
		}
		return out
	}
	for _, item := range n.Items() {
		switch item.Kind {
		case sketch.Scalar:
			add(item.Text.Value)
		case sketch.Map:
			out = append(out, wordsOf(item)...)
		}
	}
	return out
}

// definition is where what stands at a place is given its name; nil when there is no such place.
func (s *server) definition(d *document, at position) *location {
	n, role := d.sketch().At(d.offset(at))
	if role == sketch.InValue && n.Kind == sketch.Alias {
		if to := d.sketch().Anchors[n.Text.Value]; to != nil {
			return &location{d.uri, d.span(to.Anchor.Start, to.Anchor.End)}
		}
		return nil
	}
	name, of := nameAt(n, role)
	if of == "" {
		return nil
	}
	if to, ok := find(s.app(d), name, of, pathContainer(n)); ok {
		return &location{to.in.uri, to.in.span(to.node.Key.Start, to.node.Key.End)}
	}
	return nil
}

// symbols is the outline: the sections, what they name, and their keys.
func (d *document) symbols() []documentSymbol {
	var of func(n *sketch.Node, depth int) []documentSymbol
	count := 0
	of = func(n *sketch.Node, depth int) []documentSymbol {
		out := []documentSymbol{}
		for _, c := range n.Children {
			if !c.IsEntry || !c.Colon || c.Key.Value == "" || count == maxSymbols {
				continue
			}
			count++
			s := documentSymbol{Name: c.Key.Value, Kind: []int{symbolNamespace, symbolClass, symbolProperty}[depth],
				Range: d.span(c.Key.Start, c.End), SelectionRange: d.span(c.Key.Start, c.Key.End)}
			if c.Kind == sketch.Scalar {
				s.Detail = clip(c.Text.Value)
				if depth == 0 {
					s.Kind = symbolProperty
				}
			}
			if depth < 2 && c.Kind == sketch.Map {
				s.Children = of(c, depth+1)
			}
			out = append(out, s)
		}
		return out
	}
	return of(d.sketch().Root, 0)
}

// maxSymbols bounds an outline.
const maxSymbols = 20_000
