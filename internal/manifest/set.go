package manifest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// Each of Options.Set is read as a file of its own that lies over the others: PATH=VALUE.
//
//	cluster.lamp=3                          keys, with dots between them
//	containers.web.labels[com.example/x]=1  a key with dots in it
//	containers.web.ports[0]=8080:80         an element of a list, counted from 0
//	containers.web.ports[+]=8443:443        one more element
//
// What VALUE is, YAML says: 3 is a number, true is true or false, [a, b] a list, {a: 1} a map, "3" in quotes text. Any
// other text is that text as it stands. What is set takes the place of what the files say at its path; of two that set the
// same, the later counts. Everything else is as if it stood in a file: checks, variables, faults with their place.

const (
	maxSets     = 1000         // paths that may be set
	maxSetSteps = maxDepth / 2 // of one path
	maxSought   = 20_000_000   // keys looked at to find what is set
)

// overlay puts what was set into the trees of the files.
type overlay struct {
	r     *reader
	files []*file
	// from says which of the nodes of all files were set, and by what.
	from map[*yaml.Node]*file
	// own are nodes that no anchor shares any more: what is set at one place must not appear at another.
	own map[*yaml.Node]bool

	compared int // keys that were looked at
}

func (r *reader) set(files []*file, sets []string, index int) {
	if len(sets) == 0 || len(files) == 0 {
		return
	}
	o := &overlay{r: r, files: files, from: map[*yaml.Node]*file{}, own: map[*yaml.Node]bool{}}
	for _, f := range files {
		f.set = o.from
	}
	for i, text := range sets {
		if i == maxSets {
			r.faults.Add(Fault{File: "--set", Order: index + i, Message: fmt.Sprintf("too many are set: more than %d", maxSets)})
			return
		}
		if o.apply(index+i, text); r.stopped {
			return
		}
	}
}

// step is one part of a path: a key, or what stands in brackets.
type step struct {
	word     string
	column   int // of its first character
	brackets bool
}

// assignment is a PATH=VALUE, split.
type assignment struct {
	f     *file
	path  []step
	value *yaml.Node
}

func (o *overlay) apply(index int, text string) {
	a, ok := o.read(index, text)
	if !ok {
		return
	}
	// A key that several files may say, such as app, is set in each; anything else where most of its path is.
	var deepest *file
	most, found := -1, false
	for _, f := range o.files {
		depth := o.depth(f, a.path)
		if depth == len(a.path) {
			found = true
			o.put(f, a)
		} else if depth > most {
			deepest, most = f, depth
		}
	}
	if !found {
		o.put(deepest, a)
	}
}

// read splits PATH=VALUE; what is wrong with it is a fault.
func (o *overlay) read(index int, text string) (a assignment, ok bool) {
	f := &file{index: index, name: "--set", argument: true, set: o.from}
	a.f = f
	bad := func(column, width int, format string, args ...any) *Fault {
		fault := Fault{File: f.name, Order: index, Line: 1, Col: column, EndCol: column + max(1, width), Message: fmt.Sprintf(format, args...), Argument: true}
		fault.Text, fault.TextCol = f.excerpt(1, column)
		return o.r.faults.Add(fault)
	}
	switch {
	case len(text) > MaxFileSize:
		bad(0, 0, "it has %d bytes; a value may have %d", len(text), MaxFileSize)
		return a, false
	case !utf8.ValidString(text):
		bad(0, 0, "it is not UTF-8 text")
		return a, false
	}
	o.r.size += len(text)
	o.r.weight += weigh(text) + 1
	if o.r.size > maxTotalSize || o.r.weight > maxWeight {
		bad(0, 0, "the manifest has too many values: more than about %d", maxWeight)
		return a, false
	}
	f.text = text
	path, rest, problem := splitPath(text)
	if problem != nil {
		bad(problem.column, 1, "%s", problem.message).Advise("write PATH=VALUE, for example cluster.lamp=3 or containers.web.ports[0]=8080:80")
		return a, false
	}
	f.name = "--set " + quotedPath(text[:len(text)-len(rest)-1]) + "=…"
	a.path = path
	node, err := valueNode(rest)
	if err != nil {
		line, col, message := explainYAML(err)
		if line == 1 {
			col += utf8.RuneCountInString(text) - utf8.RuneCountInString(rest)
		}
		fault := bad(col, 1, "%s", message)
		if fault != nil {
			fault.Line, fault.Text = line, f.line(line)
		}
		return a, false
	}
	shift(node, utf8.RuneCountInString(text[:len(text)-len(rest)]))
	a.value = node
	return a, true
}

// quotedPath is a path as a message shows it.
func quotedPath(s string) string { return strings.Trim(quoted(s), `"`) }

type pathError struct {
	column  int
	message string
}

// splitPath reads the path before the first equals sign that is not in brackets.
func splitPath(text string) (path []step, rest string, problem *pathError) {
	column, i := 1, 0
	fail := func(format string, args ...any) ([]step, string, *pathError) {
		return nil, "", &pathError{column, fmt.Sprintf(format, args...)}
	}
	for {
		if len(path) > maxSetSteps {
			return fail("the path has more than %d steps", maxSetSteps)
		}
		brackets := i < len(text) && text[i] == '['
		if brackets {
			i, column = i+1, column+1
		}
		end := strings.IndexAny(text[i:], ".[=")
		if brackets {
			end = strings.IndexByte(text[i:], ']')
		}
		if end < 0 && brackets {
			return fail("the closing ] is missing")
		}
		if end < 0 {
			column += utf8.RuneCountInString(text[i:])
			return fail("there is no = with a value after the path")
		}
		word := text[i : i+end]
		switch {
		case word == "":
			return fail("a key is missing here")
		case strings.IndexFunc(word, unicode.IsControl) >= 0:
			return fail("the path has a character in it that cannot be printed")
		}
		path = append(path, step{word: word, column: column, brackets: brackets})
		i, column = i+end, column+utf8.RuneCountInString(word)
		if brackets {
			i, column = i+1, column+1
		}
		switch {
		case i == len(text):
			return fail("there is no = with a value after the path")
		case text[i] == '=':
			return path, text[i+1:], nil
		case text[i] == '.':
			i, column = i+1, column+1
			if i < len(text) && text[i] == '[' {
				return fail("a key is missing here")
			}
		case text[i] != '[':
			return fail("after ] may stand . [ or =")
		}
	}
}

// valueNode is what YAML makes of a value; text that is more than one plain word of YAML stays text.
func valueNode(text string) (*yaml.Node, error) {
	asText := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text, Line: 1, Column: 1}
	f := &file{text: text}
	err := f.parse()
	if strings.IndexAny(text, `[{"'`) == 0 {
		if err == nil && f.root == nil {
			err = errors.New("nothing is there")
		}
		return f.root, err
	}
	if strings.TrimSpace(text) == "" || text == "null" || text == "~" {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: text, Line: 1, Column: 1}, nil
	}
	if err != nil || f.root == nil || f.root.Kind != yaml.ScalarNode || f.root.Value != text || f.root.Style&yaml.TaggedStyle != 0 {
		return asText, nil
	}
	return f.root, nil
}

// shift moves what stands in the first line to the right.
func shift(n *yaml.Node, columns int) {
	if n.Line == 1 {
		n.Column += columns
	}
	for _, c := range n.Content {
		shift(c, columns)
	}
}

// depth is how many steps of a path there are in a file.
func (o *overlay) depth(f *file, path []step) int {
	v := value{f: f, n: f.root}
	for i, s := range path {
		next, ok := o.find(v, s)
		if !ok {
			return i
		}
		v = next
	}
	return len(path)
}

// find is what stands at a step; merged keys too.
func (o *overlay) find(v value, s step) (value, bool) {
	switch {
	case v.isMap():
		return o.findKey(v, s.word, 0)
	case v.isList():
		if i, err := strconv.Atoi(s.word); err == nil && s.brackets && i >= 0 && i < len(v.n.Content) {
			return v.follow(v.n.Content[i], nil), true
		}
	}
	return value{}, false
}

func (o *overlay) findKey(v value, word string, merges int) (value, bool) {
	if o.compared += len(v.n.Content) / 2; o.compared > maxSought {
		o.r.stop(v, "setting so many values in a manifest of this size is not possible: say them in a file")
	}
	if o.r.stopped || merges > maxMerge {
		return value{}, false
	}
	if found, ok := v.child(word); ok {
		return found, true
	}
	for i := 0; i+1 < len(v.n.Content); i += 2 {
		if v.n.Content[i].ShortTag() != "!!merge" {
			continue
		}
		from := v.follow(v.n.Content[i+1], nil)
		maps := []*yaml.Node{from.n}
		if from.isList() {
			maps = from.n.Content
		}
		for _, m := range maps {
			if one := v.follow(m, nil); one.isMap() {
				if found, ok := o.findKey(one, word, merges+1); ok {
					return found, true
				}
			}
		}
	}
	return value{}, false
}

// put sets the value in a file's tree, making what is missing on the way.
func (o *overlay) put(f *file, a assignment) {
	a.f.below = f.name
	f.root = o.mine(f.root)
	v := value{f: f, n: f.root}
	for i, s := range a.path {
		last := i == len(a.path)-1
		next := a.value
		if !last {
			if found, ok := o.find(v, s); ok {
				next = o.mine(found.n)
			} else {
				next = o.made(a, i+1)
			}
		}
		if !o.place(v, a, i, next) {
			return
		}
		v = v.follow(next, nil)
	}
}

// mine is a node that may be changed: a copy, unless it is one already.
func (o *overlay) mine(n *yaml.Node) *yaml.Node {
	if o.own[n] || o.from[n] != nil {
		return n
	}
	c := *n
	c.Anchor = ""
	c.Content = append([]*yaml.Node(nil), n.Content...)
	o.own[&c] = true
	return &c
}

// made is an empty map or list for what the step wants to put into it.
func (o *overlay) made(a assignment, at int) *yaml.Node {
	s := a.path[at]
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: 1, Column: s.column}
	if _, err := strconv.Atoi(s.word); s.brackets && (err == nil || s.word == "+") {
		n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
	}
	return n
}

// place puts a node where a step leads.
func (o *overlay) place(v value, a assignment, i int, n *yaml.Node) bool {
	s := a.path[i]
	at := value{f: a.f, n: &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s.word, Line: 1, Column: s.column}}
	mark := func(n *yaml.Node) *yaml.Node {
		if !o.own[n] {
			o.from[n] = a.f
		}
		return n
	}
	switch {
	case v.isMap():
		if s.word == "<<" {
			o.r.fault(at, "<< cannot be set")
			return false
		}
		for k := 0; k+1 < len(v.n.Content); k += 2 {
			if v.n.Content[k].Value != s.word {
				continue
			}
			if !o.own[n] {
				v.n.Content[k] = mark(at.n)
			}
			v.n.Content[k+1] = mark(n)
			return true
		}
		v.n.Content = append(v.n.Content, mark(at.n), mark(n))
		return true
	case v.isList():
		return o.placeInList(v, a, i, at, mark(n))
	}
	o.r.fault(at, "%s is %s, so %s cannot be set in it", pathText(a.path[:i]), v.kind(), quoted(s.word)).
		Advise("set all of it: %s={%s: …}", pathText(a.path[:i]), s.word)
	return false
}

func (o *overlay) placeInList(v value, a assignment, i int, at value, n *yaml.Node) bool {
	s, list := a.path[i], v.n
	if s.brackets && s.word == "+" {
		list.Content = append(list.Content, n)
		return true
	}
	index, err := strconv.Atoi(s.word)
	if err == nil && s.brackets {
		if index < 0 || index >= len(list.Content) {
			o.r.fault(at, "there is no element %d in %s: it has %d, counted from 0", index, pathText(a.path[:i]), len(list.Content)).
				Advise("add one with %s[+]=…", pathText(a.path[:i]))
			return false
		}
		list.Content[index] = n
		return true
	}
	// Compose's lists of KEY=VALUE are maps in another dress.
	pairs := len(list.Content) > 0 && i == len(a.path)-1 && n.Kind == yaml.ScalarNode
	for _, item := range list.Content {
		pairs = pairs && item.Kind == yaml.ScalarNode && strings.Contains(item.Value, "=")
	}
	if !pairs {
		o.r.fault(at, "%s is a list, and %s is no place in it", pathText(a.path[:i]), quoted(s.word)).
			Advise("name an element, %s[0]=…, or add one, %s[+]=…", pathText(a.path[:i]), pathText(a.path[:i]))
		return false
	}
	n.Tag, n.Style, n.Value = "!!str", 0, s.word+"="+n.Value
	for k, item := range list.Content {
		if name, _, _ := strings.Cut(item.Value, "="); name == s.word {
			list.Content[k] = n
			return true
		}
	}
	list.Content = append(list.Content, n)
	return true
}

func pathText(path []step) string {
	if len(path) == 0 {
		return "the manifest"
	}
	var b strings.Builder
	for i, s := range path {
		switch {
		case s.brackets:
			b.WriteString("[" + s.word + "]")
		case i > 0:
			b.WriteString("." + s.word)
		default:
			b.WriteString(s.word)
		}
	}
	return b.String()
}
