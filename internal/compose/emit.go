package compose

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// node is a part of the manifest that is being made.
type node struct {
	kind kind
	key  string   // within a map
	path []string // of the Compose model, for faults
	text string   // of a single value
	bare bool     // the text is a number or truth value, written without quotes
	flow bool     // a map or list on one line
	kids []*node

	head []string // comments above it
	tail string   // a comment behind it
	gap  bool     // an empty line above it
	// refused says why it cannot be in the manifest: it is then written as a comment.
	refused string

	line, last int // where it was written
}

type kind int

const (
	scalar kind = iota
	mapping
	sequence
)

func newMap(key string, path ...string) *node { return &node{kind: mapping, key: key, path: path} }
func newText(key, text string, path ...string) *node {
	return &node{key: key, text: text, path: path}
}

// number is a value that needs no quotes.
func number(key, text string, path ...string) *node {
	return &node{key: key, text: text, bare: true, path: path}
}

// flowList is a list of texts on one line.
func flowList(key string, texts []string, path ...string) *node {
	n := &node{kind: sequence, key: key, flow: true, path: path}
	for _, t := range texts {
		n.kids = append(n.kids, newText("", t, path...))
	}
	return n
}

func (n *node) add(kids ...*node) *node {
	for _, k := range kids {
		if k != nil {
			n.kids = append(n.kids, k)
		}
	}
	return n
}

func (n *node) comment(lines ...string) *node {
	n.head = append(n.head, lines...)
	return n
}

// child is the map's value of a key, or nil.
func (n *node) child(key string) *node {
	for _, k := range n.kids {
		if k.key == key && k.refused == "" {
			return k
		}
	}
	return nil
}

// empty is true for a map or list in which nothing is left.
func (n *node) empty() bool {
	if n.kind == scalar {
		return false
	}
	for _, k := range n.kids {
		if k.refused == "" && !k.void() {
			return false
		}
	}
	return true
}

// void is true for what had something in it, all of which is refused.
func (n *node) void() bool { return n.kind != scalar && len(n.kids) > 0 && n.empty() }

// maxWidth is where comments are wrapped and flow style ends.
const maxWidth = 118

// writer writes nodes as YAML, and remembers in which line each stands.
type writer struct {
	b    strings.Builder
	line int
}

// render is the document.
func render(root *node, header []string) []byte {
	w := &writer{line: 1}
	for _, h := range header {
		w.put(strings.TrimRight("# "+h, " "))
	}
	w.put("")
	for _, k := range root.kids {
		w.entry(k, 0)
	}
	return []byte(w.b.String())
}

func (w *writer) put(line string) {
	w.b.WriteString(line)
	w.b.WriteByte('\n')
	w.line++
}

func (w *writer) comments(n *node, indent int) {
	for _, c := range n.head {
		w.remark(c, indent)
	}
}

// remark writes a comment, wrapped.
func (w *writer) remark(text string, indent int) {
	text = oneLine(text)
	pad := strings.Repeat(" ", indent) + "# "
	room := max(40, maxWidth-len(pad))
	for utf8.RuneCountInString(text) > room {
		cut := strings.LastIndexByte(text[:byteAt(text, room)], ' ')
		if cut <= 0 {
			break
		}
		w.put(pad + text[:cut])
		text = text[cut+1:]
	}
	w.put(pad + text)
}

func byteAt(s string, n int) int {
	for i := range s {
		if n == 0 {
			return i
		}
		n--
	}
	return len(s)
}

// oneLine makes any text fit for a comment.
func oneLine(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '\n' || c == '\t' || c == '\r':
			return ' '
		case c < ' ' || c >= 0x7f && c < 0xa0 || c == 0x2028 || c == 0x2029 || c == 0xfeff || c == utf8.RuneError ||
			c >= 0x202a && c <= 0x202e || c >= 0x2066 && c <= 0x2069 || c > 0xfffd && c < 0x10000:
			return '?'
		}
		return c
	}, s)
}

// entry writes a key of a map with its value.
func (w *writer) entry(n *node, indent int) {
	if n.gap && w.line > 1 {
		w.put("")
	}
	n.line = w.line
	w.value(n, indent, strings.Repeat(" ", indent)+keyText(n.key)+":")
	n.last = w.line - 1
}

// item writes an element of a list.
func (w *writer) item(n *node, indent int) {
	n.line = w.line
	w.value(n, indent, strings.Repeat(" ", indent)+"-")
	n.last = w.line - 1
}

// value writes what stands behind a key or a hyphen.
func (w *writer) value(n *node, indent int, start string) {
	w.comments(n, indent)
	if n.refused != "" {
		what := n.refused
		if n.key != "" && !strings.HasPrefix(what, n.key) {
			what = n.key + ": " + what
		}
		w.remark("NOT CARRIED OVER: "+what, indent)
		return
	}
	if n.void() {
		for _, k := range n.kids {
			if n.kind == mapping {
				w.entry(k, indent)
			} else {
				w.item(k, indent)
			}
		}
		return
	}
	if one, ok := n.inline(); ok {
		line := start + " " + one
		if n.tail != "" {
			line += "  # " + oneLine(n.tail)
		}
		w.put(line)
		return
	}
	switch {
	case n.kind == scalar:
		w.block(n.text, indent, start)
	case n.key == "" && n.kind == mapping:
		w.inItem(n, indent, start)
	case n.kind == mapping:
		w.put(start)
		for _, k := range n.kids {
			w.entry(k, indent+2)
		}
	default:
		w.put(start)
		for _, k := range n.kids {
			w.item(k, indent+2)
		}
	}
}

// inItem writes a map that is an element of a list: its first key stands behind the hyphen.
func (w *writer) inItem(n *node, indent int, start string) {
	sub := &writer{line: w.line}
	for _, k := range n.kids {
		sub.entry(k, indent+2)
	}
	text := sub.b.String()
	trimmed := strings.TrimLeft(text, " ")
	if strings.HasPrefix(trimmed, "#") {
		w.put(start)
		shift(n.kids, 1)
		w.b.WriteString(text)
	} else {
		w.b.WriteString(start + " " + trimmed)
	}
	w.line += strings.Count(text, "\n")
}

func shift(list []*node, by int) {
	for _, n := range list {
		n.line += by
		n.last += by
		shift(n.kids, by)
	}
}

// inline is the value on one line, when it is meant to be on one and fits.
func (n *node) inline() (string, bool) {
	switch {
	case n.kind == scalar && n.bare:
		return n.text, true
	case n.kind == scalar:
		if blockStyle(n.text) {
			return "", false
		}
		return scalarText(n.text, false), true
	case len(n.kids) == 0 && n.kind == mapping:
		return "{}", true
	case len(n.kids) == 0:
		return "[]", true
	case !n.flow:
		return "", false
	}
	var parts []string
	for _, k := range n.kids {
		if k.refused != "" || len(k.head) > 0 || k.tail != "" || k.kind == scalar && !k.bare && strings.ContainsAny(k.text, "\n") {
			return "", false
		}
		if k.kind != scalar {
			k.flow = true
		}
		one, ok := k.inline()
		if !ok {
			return "", false
		}
		if k.kind == scalar && !k.bare {
			one = scalarText(k.text, true)
		}
		if n.kind == mapping {
			one = keyText(k.key) + ": " + one
		}
		parts = append(parts, one)
	}
	line := strings.Join(parts, ", ")
	if len(line) > 90 {
		return "", false
	}
	if n.kind == mapping {
		return "{" + line + "}", true
	}
	return "[" + line + "]", true
}

// blockStyle is true for texts of several lines that a literal block can hold.
func blockStyle(s string) bool {
	if !strings.Contains(strings.TrimRight(s, "\n"), "\n") || strings.HasPrefix(s, " ") || strings.HasPrefix(s, "\n") || len(s) > 1<<20 {
		return false
	}
	for _, c := range s {
		if c != '\n' && !printable(c) {
			return false
		}
	}
	for line := range strings.Lines(s) {
		if t := strings.TrimRight(line, "\n"); t != strings.TrimRight(t, " ") || strings.HasPrefix(t, "\t") {
			return false
		}
	}
	return true
}

func printable(c rune) bool {
	if c >= 0x200b && c <= 0x200f || c >= 0x202a && c <= 0x202e || c >= 0x2060 && c <= 0x206f {
		return false // what is not seen is written so that it is
	}
	return c >= ' ' && c < 0x7f || c >= 0xa1 && c < 0xd800 && c != 0x2028 && c != 0x2029 || c > 0xdfff && c < 0xfeff || c > 0xfeff && c < 0xfffd || c >= 0x10000 && c <= 0x10ffff
}

// block writes a text of several lines.
func (w *writer) block(s string, indent int, start string) {
	mark := "|-"
	body := strings.TrimRight(s, "\n")
	switch len(s) - len(body) {
	case 0:
	case 1:
		mark = "|"
	default:
		mark = "|+"
		body = strings.TrimSuffix(s, "\n")
	}
	w.put(start + " " + mark)
	for line := range strings.SplitSeq(body, "\n") {
		if line == "" {
			w.put("")
		} else {
			w.put(strings.Repeat(" ", indent+2) + line)
		}
	}
}

// keyText is a key; YAML 1.2 takes on for a text.
func keyText(s string) string {
	if s == "on" {
		return s
	}
	return scalarText(s, true)
}

// scalarText is a text as YAML has it on one line: plain where that is safe, else in quotes.
func scalarText(s string, flow bool) string {
	if plainText(s, flow) {
		return s
	}
	if strings.ContainsAny(s, `"\`) && strings.IndexFunc(s, func(c rune) bool { return !printable(c) }) < 0 {
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\t':
			b.WriteString(`\t`)
		case c == '\r':
			b.WriteString(`\r`)
		case printable(c):
			b.WriteRune(c)
		case c < 0x100:
			b.WriteString(`\x` + hex(c, 2))
		case c < 0x10000:
			b.WriteString(`\u` + hex(c, 4))
		default:
			b.WriteString(`\U` + hex(c, 8))
		}
	}
	b.WriteByte('"')
	return b.String()
}

func hex(c rune, width int) string {
	s := strconv.FormatInt(int64(c), 16)
	return strings.Repeat("0", max(0, width-len(s))) + s
}

// plainText is true for texts that YAML takes for text without quotes.
func plainText(s string, flow bool) bool {
	if s == "" || len(s) > 400 || s != strings.TrimSpace(s) {
		return false
	}
	switch strings.ToLower(s) {
	case "true", "false", "yes", "no", "on", "off", "y", "n", "null", "~", "<<", "=", "---", "...":
		return false
	}
	for _, c := range s {
		if !printable(c) {
			return false
		}
	}
	first := s[0]
	if strings.IndexByte("!&*-?|>%@`\"'#,[]{}:=.+~<0123456789", first) >= 0 {
		// Numbers, dates and the like are quoted; a text such as 1.2.3.4/24 could do without, but need not.
		if !strings.HasPrefix(s, "./") && !amountText(s) && !flagText(s) {
			return false
		}
	}
	if strings.Contains(s, ": ") || strings.Contains(s, " #") || strings.HasSuffix(s, ":") {
		return false
	}
	if strings.HasPrefix(s, ".inf") || strings.HasPrefix(s, ".nan") {
		return false
	}
	return !flow || !strings.ContainsAny(s, ",[]{}:")
}

// flagText is true for texts such as -c and --config=x, which are neither numbers nor elements of lists.
func flagText(s string) bool {
	rest := strings.TrimPrefix(strings.TrimPrefix(s, "-"), "-")
	return rest != s && rest != "" && (rest[0]|0x20 >= 'a' && rest[0]|0x20 <= 'z')
}

// amountText is true for texts such as 10s and 256MiB, which begin with a digit and are no numbers.
func amountText(s string) bool {
	digits := strings.TrimLeft(s, "0123456789")
	return digits != s && digits != "" && strings.Trim(digits, "smhdwgkMGKTiB0123456789") == "" && strings.IndexByte("0123456789", s[len(s)-1]) < 0
}
