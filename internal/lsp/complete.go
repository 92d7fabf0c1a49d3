package lsp

import (
	"fmt"
	"slices"
	"strings"

	"github.com/argosy-cluster/argosy/internal/lsp/sketch"
)

// cursor is put into the text where the cursor is, so that there is always a word to look at. It is of Unicode's private
// use, and stands in no manifest.
const cursor = "\ue000"

// completion is one question for what may be written at a place.
type completion struct {
	s    *server
	d    *document
	docs []*document // of the app

	node     *sketch.Node // the word at the cursor, with the cursor in it
	colon    bool         // it is a key that has its colon
	from, to int          // what is replaced, in the document
	quoted   bool
	indent   int // column of the word
	items    []completionItem
}

// complete lists what may be written at a place.
func (s *server) complete(d *document, at position) completionList {
	offset := d.offset(at)
	n, role := sketch.Read(d.text[:offset] + cursor + d.text[offset:]).At(offset)
	c := &completion{s: s, d: d, docs: s.app(d), node: n, items: []completionItem{}}
	word := n.Text
	if role == sketch.InKey {
		word, c.colon = n.Key, n.Colon
	}
	c.from, c.to = word.Start, word.End-len(cursor)
	if role == sketch.Nowhere || role == sketch.InAnchor || n.Literal || c.to < c.from || offset < c.from || offset > c.to ||
		strings.ContainsRune(d.text[c.from:c.to], '\n') {
		return completionList{Items: c.items}
	}
	c.indent = c.from - d.lines[d.position(c.from).Line]
	if c.from < c.to && (d.text[c.from] == '"' || d.text[c.from] == '\'') {
		c.quoted = true
		if c.from++; c.to > c.from && d.text[c.to-1] == d.text[c.from-1] {
			c.to--
		}
	}
	if role == sketch.InKey {
		c.keys(n.Parent)
	} else {
		c.values()
		if block := n.OwnLine || !n.IsEntry && n.Parent != nil && !n.Parent.Flow; block {
			c.keys(n)
		}
	}
	return completionList{Items: c.items}
}

// keys offers the keys of the map that a node is or may become.
func (c *completion) keys(in *sketch.Node) {
	path := in.Path()
	if len(path) == 0 && !c.d.isManifest() && slices.ContainsFunc(c.d.sketch().Root.Children, func(n *sketch.Node) bool { return n.Colon }) {
		return // another kind of YAML
	}
	there := map[string]bool{}
	for _, sibling := range in.Children {
		there[sibling.Key.Value] = sibling != c.node
	}
	entry := append(slices.Clone(path), sketch.Step{Key: "name"})
	for _, name := range c.names(kindAt(referred, entry, true), entry) {
		if !there[name] {
			c.key(name, schemasAt(entry), "0", in.Flow)
		}
	}
	if kindAt(declared, entry, true) == aVolume {
		for _, name := range mounted(c.docs, in) {
			if !there[name] {
				c.key(name, schemasAt(entry), "0", in.Flow)
			}
		}
	}
	for _, s := range schemasAt(path) {
		for _, a := range s.alternatives() {
			for name, p := range a.Properties {
				if there[name] || p.DeprecationMessage != "" {
					continue
				}
				there[name] = true
				order := "1"
				if slices.Contains(a.Required, name) {
					order = "0"
				}
				c.key(name, []*schema{p}, order, in.Flow)
			}
			if a.PropertyNames != nil {
				for _, name := range a.PropertyNames.words() {
					if !there[name] {
						there[name] = true
						c.key(name, schemasAt(entry), "1", in.Flow)
					}
				}
			}
		}
	}
	slices.SortFunc(c.items, func(a, b completionItem) int { return strings.Compare(a.SortText, b.SortText) })
}

// key offers one key, with what stands behind it.
func (c *completion) key(name string, values []*schema, order string, flow bool) {
	item := completionItem{Label: name, Kind: completeProperty, SortText: order + name, FilterText: name, InsertTextFormat: 1,
		TextEdit: &textEdit{Range: c.d.span(c.from, c.to), NewText: name}}
	if len(values) > 0 {
		item.Detail = values[0].Title
		if about := values[0].about(name); values[0].MarkdownDescription != "" {
			item.Documentation = markdown(about)
		}
	}
	if !c.colon && !c.quoted {
		behind := ":"
		if c.s.snippets {
			behind = c.behind(values, flow)
		}
		item.TextEdit.NewText += behind
		if strings.Contains(behind, "$") {
			item.InsertTextFormat = 2
		}
		if strings.Contains(behind, "\n") {
			item.InsertTextMode = 1
		}
	}
	c.items = append(c.items, item)
}

// behind is a snippet for what stands behind a key: the first way in which its value can be written.
func (c *completion) behind(values []*schema, flow bool) string {
	for _, s := range values {
		for _, a := range s.alternatives() {
			switch {
			case len(a.Enum) == 1:
				return fmt.Sprintf(": %v", a.Enum[0])
			case a.Type == "array":
				return ": [$0]"
			case a.Type == "object":
				return c.behindMap(a, flow)
			case a.Type != nil || a.Enum != nil:
				return ": $0"
			}
		}
	}
	return ": $0"
}

// must are the keys that a map must have, with a stop of the snippet for the value of each.
func (s *schema) must(stop int) []string {
	out := make([]string, len(s.Required))
	for i, name := range s.Required {
		out[i] = fmt.Sprintf("%s: $%d", name, stop+i)
		if p := s.Properties[name]; p != nil && p.Type == "array" {
			out[i] = fmt.Sprintf("%s: [$%d]", name, stop+i)
		}
	}
	return out
}

func (c *completion) behindMap(s *schema, flow bool) string {
	required := s.must(1)
	indented := c.s.asIs || c.indent == 0
	switch {
	case flow:
		return ": {" + strings.Join(required, ", ") + "$0}"
	case !indented && len(required) > 0:
		return ": {" + strings.Join(required, ", ") + "}"
	case !indented:
		return ":"
	}
	// An editor that does not leave lines as they are indents them like the first one, which is not indented then.
	first, deeper := "\n"+strings.Repeat(" ", c.indent+2), "\n"+strings.Repeat(" ", c.indent+4)
	if entry := s.AdditionalProperties; entry != nil && len(entry.Required) > 0 {
		return ":" + first + "${1:name}:" + deeper + strings.Join(entry.must(2), deeper)
	}
	if len(required) > 0 {
		return ":" + first + strings.Join(required, first)
	}
	return ":" + first + "$0"
}

// values offers what a value can be.
func (c *completion) values() {
	n := c.node
	path := n.Path()
	if n.Kind == sketch.Alias || n.IsEntry && n.Key.Value == "<<" {
		for _, name := range anchors(c.d.sketch()) {
			c.value("*"+name, "*"+name, completeReference, "anchor", "0")
		}
		return
	}
	of := kindAt(referred, path, false)
	for _, name := range c.names(of, path) {
		text := name
		if of == aVolume && path[len(path)-1].Key == "" {
			// The path behind a name stays.
			if rest := strings.IndexByte(c.d.text[c.from:c.to], ':'); rest >= 0 {
				c.to = c.from + rest
			} else {
				text += ":"
			}
		}
		c.value(name, text, completeReference, string(of), "0")
	}
	for _, s := range schemasAt(path) {
		for _, word := range s.words() {
			detail := ""
			if s.Default != nil && fmt.Sprint(s.Default) == word {
				detail = "the default"
			}
			text := word
			if !c.quoted && !(s.is("boolean") && (word == "true" || word == "false")) {
				text = yamlWord(word)
			}
			c.value(word, text, completeEnum, detail, "1")
		}
		if len(c.items) > 0 {
			continue
		}
		for _, e := range s.Examples {
			switch e.(type) {
			case []any, map[string]any:
			default:
				if word := flowYAML(e); !c.quoted {
					c.value(word, word, completeValue, "for example", "2")
				}
			}
		}
	}
}

func (c *completion) value(label, text string, kind int, detail, order string) {
	if slices.ContainsFunc(c.items, func(i completionItem) bool { return i.Label == label }) {
		return
	}
	c.items = append(c.items, completionItem{Label: label, Kind: kind, Detail: detail, SortText: order + label, FilterText: label, InsertTextFormat: 1,
		TextEdit: &textEdit{Range: c.d.span(c.from, c.to), NewText: text}})
}

func anchors(d *sketch.Doc) []string {
	var out []string
	for name := range d.Anchors {
		if name != "" {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// names are the names of a kind that make sense at a path.
func (c *completion) names(of kind, path []sketch.Step) []string {
	if of == aSecret {
		return slices.DeleteFunc(c.s.secrets(c.docs), func(name string) bool { return name == c.d.text[c.from:c.to] })
	}
	self := ""
	if len(path) > 1 && (of == aContainer && path[0].Key == "containers" || of == aStack && path[0].Key == "stacks") {
		self = path[1].Key // nothing depends on itself
	}
	there := map[string]bool{self: true}
	if c.node.Parent != nil && c.node.Parent.Kind == sketch.List {
		for _, sibling := range c.node.Parent.Children {
			if sibling != c.node {
				there[sibling.Text.Value] = of != aVolume || there[sibling.Text.Value]
			}
		}
	}
	var out []string
	for _, d := range declarations(c.docs, of) {
		if !there[d.name] && (d.stack == nil || len(path) < 2 || has(d.stack, path[1].Key)) {
			there[d.name] = true
			out = append(out, d.name)
		}
	}
	return out
}

// mounted are the volumes that the containers of a stack mount; in is the stack's map of volumes.
func mounted(docs []*document, in *sketch.Node) []string {
	var out []string
	for _, member := range in.Parent.Child("containers").Items() {
		c, ok := find(docs, member.Text.Value, aContainer, "")
		if !ok {
			continue
		}
		for _, v := range c.node.Child("volumes").Items() {
			name, _, _ := strings.Cut(v.Text.Value, ":")
			if v.Kind == sketch.Map {
				name = ""
				if source := v.Child("source"); source != nil {
					name = source.Text.Value
				}
			}
			if name != "" && name[0] != '/' && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}
