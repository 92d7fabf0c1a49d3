package sketch

import "strings"

const (
	// maxDepth bounds nesting. What is deeper belongs to what is above it.
	maxDepth = 64
	// maxNodes bounds a tree. No manifest has as many, and what comes after them is not read.
	maxNodes = 200_000
)

type reader struct {
	text string
	doc  *Doc
	open []*Node // the maps and lists that the next line may continue, the innermost last

	nodes            int
	lineFrom, lineTo int // what lineEnd found last
}

// Read makes the tree of a text.
func Read(text string) *Doc {
	r := &reader{text: text, doc: &Doc{Root: &Node{indent: -1}, Anchors: map[string]*Node{}}}
	at := 0
	if strings.HasPrefix(text, "\ufeff") {
		at = len("\ufeff")
	}
	for at < len(text) && r.nodes < maxNodes {
		line := at
		for at < len(text) && text[at] == ' ' {
			at++
		}
		end := r.lineEnd(at)
		switch rest := text[at:end]; {
		case strings.TrimSpace(rest) == "":
		case rest[0] == '#':
			r.comment(at, end)
		case at == line && (rest[0] == '%' || marks(rest, "---") || marks(rest, "...")):
		default:
			end = r.line(at, line)
		}
		at = r.next(end)
	}
	r.doc.Root.close()
	return r.doc
}

func marks(rest, mark string) bool {
	after, ok := strings.CutPrefix(rest, mark)
	return ok && (after == "" || after[0] == ' ')
}

// close fills in where maps and lists end. Nesting is bounded, and so is the recursion.
func (n *Node) close() {
	for i, c := range n.Children {
		c.close()
		c.index = i
		n.End = max(n.End, c.End)
	}
	if n.IsEntry {
		n.End = max(n.End, n.Key.End)
	}
}

func (r *reader) comment(from, to int) {
	r.doc.comments = append(r.doc.comments, Text{Start: from, End: to})
}

// lineEnd is where the line of at ends, without its line break.
func (r *reader) lineEnd(at int) int {
	// A line may hold a whole manifest in brackets: it is asked for again and again.
	if r.lineFrom <= at && at <= r.lineTo && r.lineTo > 0 {
		return r.lineTo
	}
	end := len(r.text)
	if i := strings.IndexByte(r.text[at:], '\n'); i >= 0 {
		end = at + i
	}
	if end > at && r.text[end-1] == '\r' {
		end--
	}
	r.lineFrom, r.lineTo = at, end
	return end
}

// next is where the line behind at begins.
func (r *reader) next(at int) int {
	if i := strings.IndexByte(r.text[at:], '\n'); i >= 0 {
		return at + i + 1
	}
	return len(r.text)
}

// line reads what begins at at in the line that begins at line, and gives back where it ended, which may be lines below.
func (r *reader) line(at, line int) int {
	for depth := 0; ; depth++ {
		col := at - line
		end := r.lineEnd(at)
		if r.text[at] == '-' && (at+1 == end || r.text[at+1] == ' ') && depth < maxDepth {
			list := r.container(col, List)
			item := r.add(list, &Node{Start: at + 1, End: at + 1})
			for at++; at < end && r.text[at] == ' '; at++ {
			}
			if at == end || r.text[at] == '#' {
				return r.rest(at, end)
			}
			if r.text[at] == '-' && (at+1 == end || r.text[at+1] == ' ') || r.isKey(at) {
				continue
			}
			return r.value(item, at, list.indent, false)
		}
		if key, after, ok := r.key(at); ok {
			m := r.container(col, Map)
			entry := r.add(m, &Node{IsEntry: true, Colon: true, Key: key, Start: after, End: after})
			return r.value(entry, after, m.indent, false)
		}
		return r.loose(at, col)
	}
}

func (r *reader) isKey(at int) bool {
	_, _, ok := r.key(at)
	return ok
}

func (r *reader) add(n, c *Node) *Node {
	r.nodes++
	c.Parent = n
	n.Children = append(n.Children, c)
	return c
}

// container is the map or list whose children stand in this column.
func (r *reader) container(col int, kind Kind) *Node {
	r.leave(col)
	if top := r.top(); top != nil && top.indent == col {
		if top.Kind == kind {
			return top
		}
		// A list may stand in the column of the key that it belongs to.
		if top.Kind == List {
			r.open = r.open[:len(r.open)-1]
			if top = r.top(); top != nil && top.indent == col {
				return top
			}
		}
	}
	if len(r.open) >= maxDepth {
		return r.top()
	}
	n := r.slot()
	if len(n.Children) == 0 {
		n.Kind = kind
	}
	n.indent = col
	r.open = append(r.open, n)
	return n
}

// leave closes what stands in columns behind col.
func (r *reader) leave(col int) {
	for len(r.open) > 0 && r.top().indent > col {
		r.open = r.open[:len(r.open)-1]
	}
}

func (r *reader) top() *Node {
	if len(r.open) == 0 {
		return nil
	}
	return r.open[len(r.open)-1]
}

// slot is the node whose value stands further to the right than the innermost open map or list.
func (r *reader) slot() *Node {
	if top := r.top(); top != nil {
		return top.Children[len(top.Children)-1]
	}
	return r.doc.Root
}

// loose reads a line that has neither a dash nor a key: a value, its continuation, or a word that will be a key.
func (r *reader) loose(at, col int) int {
	r.leave(col)
	end := r.contentEnd(at)
	if top := r.top(); top != nil && top.indent == col && top.Kind == List {
		r.open = r.open[:len(r.open)-1]
	}
	top := r.top()
	word := func(in *Node) int {
		r.add(in, &Node{IsEntry: true, Key: Text{r.text[at:end], at, end}, Start: end, End: end})
		return r.rest(end, r.lineEnd(at))
	}
	if top != nil && top.indent == col {
		return word(top)
	}
	limit := -1
	if top != nil {
		limit = top.indent
	}
	switch slot := r.slot(); {
	case slot.Kind == Empty:
		return r.value(slot, at, limit, true)
	case slot.Kind == Scalar && !slot.Literal:
		slot.Text.End, slot.End = end, end
		slot.Text.Value = r.text[slot.Text.Start:end]
		return r.rest(end, r.lineEnd(at))
	case top != nil:
		return word(top)
	case slot.Kind == Map:
		return word(slot)
	}
	return r.lineEnd(at)
}

// rest notes the comment that may stand between at and the end of the line.
func (r *reader) rest(at, end int) int {
	if i := strings.IndexByte(r.text[min(at, end):end], '#'); i >= 0 {
		r.comment(at+i, end)
	}
	return end
}

// contentEnd is where the text of the line at at ends: before a comment and the spaces in front of it.
func (r *reader) contentEnd(at int) int {
	s := r.text[at:r.lineEnd(at)]
	if i := strings.Index(s, " #"); i >= 0 {
		s = s[:i]
	}
	return at + len(strings.TrimRight(s, " \t"))
}

// key reads `word:`, `"word":` or `'word':`; after is behind the colon.
func (r *reader) key(at int) (key Text, after int, ok bool) {
	end := r.lineEnd(at)
	s := r.text[at:end]
	switch s[0] {
	case '"', '\'':
		to := r.quoted(at, end)
		colon := to
		for colon < end && r.text[colon] == ' ' {
			colon++
		}
		if colon == end || r.text[colon] != ':' || colon+1 < end && r.text[colon+1] != ' ' {
			return Text{}, 0, false
		}
		return Text{unquote(r.text[at:to]), at, to}, colon + 1, true
	case '[', '{', '&', '*', '!', '|', '>', '#', '@', '`', '%', ',', ']', '}':
		return Text{}, 0, false
	}
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '#' && i > 0 && s[i-1] == ' ':
			return Text{}, 0, false
		case s[i] == ':' && (i+1 == len(s) || s[i+1] == ' ' || s[i+1] == '\t'):
			word := strings.TrimRight(s[:i], " \t")
			return Text{word, at, at + len(word)}, at + i + 1, word != ""
		}
	}
	return Text{}, 0, false
}
