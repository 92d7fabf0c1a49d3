package manifest

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// reader walks the trees of all files of one app. It gathers faults and keeps the bounds of limits.go.
type reader struct {
	opts   Options
	faults collector
	notes  collector

	size, weight, visits, expanded, readBytes, ports, compared int

	stopped bool            // a bound was passed: nothing more is looked at
	unset   map[string]bool // variables that a note has named
	read    map[[2]string]readFile
}

// readFile is what came of reading a file, by manifest and path.
type readFile struct {
	data []byte
	err  error
}

// fault reports what is wrong with v.
func (r *reader) fault(v value, format string, args ...any) *Fault {
	return r.faults.at(v, format, args...)
}

// note reports what is right but worth knowing.
func (r *reader) note(v value, format string, args ...any) *Fault {
	return r.notes.at(v, format, args...)
}

func (c *collector) at(v value, format string, args ...any) *Fault {
	if c.Full() {
		return nil
	}
	return c.Add(v.fault(fmt.Sprintf(format, args...)))
}

// faultIn reports what is wrong with the characters of v's text from byte offset on, when they can be found in the
// source, and else with all of v.
func (r *reader) faultIn(v value, offset, length int, format string, args ...any) *Fault {
	f := r.fault(v, format, args...)
	narrow(f, v, offset, length)
	return f
}

func narrow(f *Fault, v value, offset, length int) {
	if f == nil {
		return
	}
	if column, ok := v.column(offset); ok {
		f.Col = column
		f.EndCol = column + max(1, utf8.RuneCountInString(v.n.Value[offset:min(offset+length, len(v.n.Value))]))
	}
}

func (v value) fault(message string) Fault {
	f := Fault{File: v.f.name, Order: v.f.index, Argument: v.f.argument, Line: v.n.Line, Col: v.n.Column, EndCol: v.n.Column + 1, Message: message}
	f.Text, f.TextCol = v.f.excerpt(v.n.Line, v.n.Column)
	if f.Text != "" {
		f.EndCol = v.n.Column + v.width(f.Text[runeOffset(f.Text, v.n.Column-f.TextCol):])
	}
	return f
}

// width is how many characters of its first line the value takes; rest is the line from the value on.
func (v value) width(rest string) int {
	if !v.isScalar() {
		return 1
	}
	switch {
	case v.n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return 1
	case v.n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 && rest != "":
		if end := strings.IndexByte(rest[1:], rest[0]); end >= 0 {
			return utf8.RuneCountInString(rest[:end+2])
		}
		return utf8.RuneCountInString(rest)
	case strings.HasPrefix(rest, v.n.Value):
		return max(1, utf8.RuneCountInString(v.n.Value))
	default:
		return max(1, utf8.RuneCountInString(strings.TrimRight(rest, " ")))
	}
}

// column is where byte offset of a scalar's text stands in its line; not ok when the source is written differently
// (escapes, several lines) or the line is very long.
func (v value) column(offset int) (int, bool) {
	if !v.isScalar() || offset > min(len(v.n.Value), longLine/2) {
		return 0, false
	}
	text, first := v.f.excerpt(v.n.Line, v.n.Column)
	start := v.n.Column
	if v.n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		start++
	}
	if text == "" || !strings.HasPrefix(text[runeOffset(text, start-first):], v.n.Value[:offset]) {
		return 0, false
	}
	return start + utf8.RuneCountInString(v.n.Value[:offset]), true
}

// stop refuses the rest of the manifest.
func (r *reader) stop(v value, format string, args ...any) {
	if !r.stopped {
		r.stopped = true
		r.fault(v, format, args...)
	}
}

// visit counts values as they are looked at; false means that there were too many.
func (r *reader) visit(v value, n int) bool {
	if r.visits += n; r.visits > maxVisits {
		r.stop(v, "the manifest expands to more than %d values", maxVisits)
	}
	return !r.stopped
}

// follow is the value that n stands for: aliases are resolved.
func (v value) follow(n, key *yaml.Node) value {
	// An alias cannot name an alias more than a few times over; the bound is only for safety.
	for range maxDepth {
		if n.Kind != yaml.AliasNode || n.Alias == nil {
			break
		}
		n = n.Alias
	}
	f := v.f
	if by := f.set[n]; by != nil {
		f = by
	}
	return value{f: f, n: n, key: key}
}

// plain refuses tags: a manifest has no use for them.
func (r *reader) plain(v value) bool {
	if v.n.Style&yaml.TaggedStyle == 0 {
		return true
	}
	r.fault(v, "the tag %s has no meaning in a manifest", v.n.Tag).Advise("quote a value to make it text; leave other tags out")
	return false
}

// items are the elements of a list.
func (r *reader) items(v value) ([]value, bool) {
	if !v.isList() {
		r.fault(v, "%s must be a list, not %s", v.what(), v.kind())
		return nil, false
	}
	if !r.plain(v) || !r.visit(v, len(v.n.Content)) {
		return nil, false
	}
	out := make([]value, len(v.n.Content))
	for i, n := range v.n.Content {
		out[i] = v.follow(n, nil)
	}
	return out, true
}

// what names the value in a message: its key, or "this" for an element of a list.
func (v value) what() string {
	switch {
	case v.key != nil:
		return v.key.Value
	case v.n == v.f.root:
		return "the manifest"
	default:
		return "this"
	}
}

// entry is one key of a map and its value; value.key is the key's node.
type entry struct {
	value
	merged bool
}

// entries are the keys of a map in the order of the file, merged ones (`<<`) last. Keys that stand twice are faults.
func (r *reader) entries(v value) ([]entry, bool) {
	if !v.isMap() {
		r.fault(v, "%s must be a map, not %s", v.what(), v.kind())
		return nil, false
	}
	list, ok := r.collect(make([]entry, 0, len(v.n.Content)/2), v, 0)
	if len(list) <= 1 {
		return list, ok
	}
	return r.once(list), ok
}

// once drops entries whose key is there already: a merged one gives way, one of the map itself is a fault.
func (r *reader) once(list []entry) []entry {
	const few = 24
	if len(list) <= few {
		kept := list[:0]
		for _, e := range list {
			if i := slices.IndexFunc(kept, func(k entry) bool { return k.key.Value == e.key.Value }); i >= 0 {
				r.twice(e, kept[i])
				continue
			}
			kept = append(kept, e)
		}
		return kept
	}
	seen := make(map[string]int, len(list))
	kept := list[:0]
	for _, e := range list {
		if i, there := seen[e.key.Value]; there {
			r.twice(e, kept[i])
			continue
		}
		seen[e.key.Value] = len(kept)
		kept = append(kept, e)
	}
	return kept
}

func (r *reader) twice(again, first entry) {
	if !again.merged {
		r.fault(again.name(), "%s is here twice; it first stands in line %d", quoted(again.key.Value), first.key.Line)
	}
}

// collect appends the entries of v, then those it merges.
func (r *reader) collect(list []entry, v value, merges int) ([]entry, bool) {
	if !r.plain(v) || !r.visit(v, len(v.n.Content)) {
		return list, false
	}
	var merged []value
	for i := 0; i+1 < len(v.n.Content); i += 2 {
		k := v.follow(v.n.Content[i], nil)
		e := v.follow(v.n.Content[i+1], v.n.Content[i])
		switch {
		case k.isScalar() && k.n.ShortTag() == "!!merge":
			merged = append(merged, e)
		case !k.isScalar():
			r.fault(k, "a key must be a word, not %s", k.kind())
		case k.n.Value == "":
			r.fault(k, "a key is empty")
		default:
			e.key = k.n
			list = append(list, entry{value: e, merged: merges > 0})
		}
	}
	if len(merged) > 0 && merges >= maxMerge {
		r.fault(v, "maps are merged into each other more than %d times", maxMerge)
		return list, false
	}
	ok := true
	for _, m := range merged {
		var fine bool
		list, fine = r.merge(list, m, merges)
		ok = ok && fine
	}
	return list, ok
}

// merge appends what `<<: m` brings: one map or a list of maps.
func (r *reader) merge(list []entry, m value, merges int) ([]entry, bool) {
	maps := []value{m}
	if m.isList() {
		var ok bool
		if maps, ok = r.items(m); !ok {
			return list, false
		}
	}
	ok := true
	for _, one := range maps {
		if !one.isMap() {
			r.fault(one, "<< must name a map, not %s", one.kind())
			ok = false
			continue
		}
		var fine bool
		list, fine = r.collect(list, one, merges+1)
		ok = ok && fine
	}
	return list, ok
}

// scalar is the text of a single value as written, variables interpolated.
func (r *reader) scalar(v value) (string, bool) {
	if !v.isScalar() {
		r.fault(v, "%s must be a single value, not %s", v.what(), v.kind())
		return "", false
	}
	if v.isNull() {
		r.fault(v.orName(), "%s has no value", v.what()).Advise("give it one, or leave the key out")
		return "", false
	}
	if !r.plain(v) || !r.visit(v, 1) {
		return "", false
	}
	return r.interpolate(v)
}

// orName is the value when something is written there, and else its key.
func (v value) orName() value {
	if v.n.Value == "" && v.isScalar() {
		return v.name()
	}
	return v
}
