package sketch

import "strings"

// value reads what stands at at, until the end of its last line. A line that is not further right than limit does not
// belong to it.
func (r *reader) value(n *Node, at, limit int, ownLine bool) int {
	end := r.lineEnd(at)
	at = r.properties(n, at, end)
	n.OwnLine = ownLine
	if at == end || r.text[at] == '#' {
		return r.rest(at, end)
	}
	n.Start = at
	switch r.text[at] {
	case '|', '>':
		return r.literal(n, at, limit)
	case '[', '{':
		to, _ := r.flow(n, at, limit, len(r.open))
		return r.rest(to, r.lineEnd(to))
	case '"', '\'':
		to := r.quotedLines(at, limit)
		n.scalar(Text{unquote(r.text[at:to]), at, to})
		return r.rest(to, r.lineEnd(to))
	case '*':
		to := r.wordEnd(at+1, end)
		n.scalar(Text{r.text[at+1 : to], at, to})
		n.Kind = Alias
		return r.rest(to, end)
	}
	to := r.contentEnd(at)
	n.scalar(Text{r.text[at:to], at, to})
	return r.rest(to, end)
}

func (n *Node) scalar(t Text) { n.Kind, n.Text, n.Start, n.End = Scalar, t, t.Start, t.End }

// properties reads spaces, an anchor and a tag in front of a value.
func (r *reader) properties(n *Node, at, end int) int {
	for at < end {
		switch r.text[at] {
		case ' ', '\t':
			at++
		case '&':
			to := r.wordEnd(at+1, end)
			n.Anchor = Text{r.text[at+1 : to], at, to}
			r.doc.Anchors[n.Anchor.Value] = n
			at = to
		case '!':
			at = r.wordEnd(at+1, end)
		default:
			return at
		}
	}
	return at
}

func (r *reader) wordEnd(at, end int) int {
	for at < end && strings.IndexByte(" \t,[]{}", r.text[at]) < 0 {
		at++
	}
	return at
}

// literal reads a text of several lines.
func (r *reader) literal(n *Node, at, limit int) int {
	end := r.lineEnd(at)
	n.scalar(Text{"", at, end})
	n.Literal = true
	for next := r.next(end); next < len(r.text); next = r.next(next) {
		lineEnd := r.lineEnd(next)
		s := r.text[next:lineEnd]
		if blank := strings.TrimLeft(s, " "); blank != "" {
			if len(s)-len(blank) <= limit {
				break
			}
			end = lineEnd
		}
	}
	n.Text.End, n.End = end, end
	return end
}

// quoted is behind the quote that closes the one at at, or end when there is none before end.
func (r *reader) quoted(at, end int) int {
	quote := r.text[at]
	for i := at + 1; i < end; i++ {
		switch {
		case r.text[i] == '\\' && quote == '"':
			i++
		case r.text[i] != quote:
		case quote == '\'' && i+1 < end && r.text[i+1] == quote:
			i++
		default:
			return i + 1
		}
	}
	return end
}

// quotedLines is quoted over as many lines as are further right than limit. A quote that nothing closes ends with its
// line: it is being typed.
func (r *reader) quotedLines(at, limit int) int {
	quote := r.text[at]
	for i := at + 1; i < len(r.text); i++ {
		switch c := r.text[i]; {
		case c == '\n':
			line := i + 1
			for i < len(r.text)-1 && r.text[i+1] == ' ' {
				i++
			}
			if i+1 < len(r.text) && i+1-line <= limit && r.text[i+1] != '\n' && r.text[i+1] != '\r' {
				return r.lineEnd(at)
			}
		case c == '\\' && quote == '"':
			if i+1 < len(r.text) && r.text[i+1] != '\n' {
				i++
			}
		case c != quote:
		case quote == '\'' && i+1 < len(r.text) && r.text[i+1] == quote:
			i++
		default:
			return i + 1
		}
	}
	return r.lineEnd(at)
}

// unquote takes the quotes off; what is escaped stays as it is written, but for doubled single quotes.
func unquote(s string) string {
	quote := s[0]
	s = s[1:]
	if s != "" && s[len(s)-1] == quote {
		s = s[:len(s)-1]
	}
	if quote == '\'' {
		s = strings.ReplaceAll(s, "''", "'")
	}
	return s
}

// flow reads a map or list in brackets, and says whether it was closed.
func (r *reader) flow(n *Node, at, limit, depth int) (end int, closed bool) {
	n.Kind, n.Flow, n.Start = List, true, at
	if r.text[at] == '{' {
		n.Kind = Map
	}
	at++
	for {
		n.End = at
		if r.nodes >= maxNodes {
			return at, false
		}
		var ok bool
		if at, ok = r.between(at, limit); !ok {
			return n.End, false
		}
		switch r.text[at] {
		case ']', '}':
			n.End = at + 1
			return at + 1, true
		case ',':
			at++
			continue
		}
		if at, ok = r.flowItem(n, at, limit, depth); !ok {
			n.End = at
			return at, false
		}
	}
}

// between passes over spaces, line breaks and comments; false when the brackets were left open.
func (r *reader) between(at, limit int) (int, bool) {
	for at < len(r.text) {
		switch c := r.text[at]; {
		case c == ' ' || c == '\t' || c == '\r':
			at++
		case c == '#':
			end := r.lineEnd(at)
			r.comment(at, end)
			at = end
		case c == '\n':
			line := at + 1
			for at = line; at < len(r.text) && r.text[at] == ' '; at++ {
			}
			if at < len(r.text) && at-line <= limit && strings.IndexByte("\r\n]}#", r.text[at]) < 0 {
				return line - 1, false
			}
		default:
			return at, true
		}
	}
	return at, false
}

// flowItem reads one entry or item.
func (r *reader) flowItem(n *Node, at, limit, depth int) (int, bool) {
	c := r.add(n, &Node{Start: at, End: at})
	if n.Kind == Map {
		c.IsEntry = true
		to := r.flowWord(at)
		c.Key = Text{r.text[at:to], at, to}
		if q := r.text[at]; q == '"' || q == '\'' {
			c.Key.Value = unquote(r.text[at:to])
		}
		c.Start, c.End = to, to
		at = to
		for at < len(r.text) && r.text[at] == ' ' {
			at++
		}
		if at == len(r.text) || r.text[at] != ':' {
			// A bracket where a key should be is passed over.
			if to == c.Key.Start {
				at++
			}
			return at, true
		}
		c.Colon = true
		c.Start, c.End = at+1, at+1
		return r.flowValue(c, at+1, limit, depth)
	}
	at, ok := r.flowValue(c, at, limit, depth)
	if ok && c.Kind == Scalar && at < len(r.text) && r.text[at] == ':' {
		// [key: value]
		key := c.Text
		*c = Node{Parent: n, Kind: Map, Flow: true, Start: key.Start, End: at + 1}
		entry := r.add(c, &Node{IsEntry: true, Colon: true, Key: key, Start: at + 1, End: at + 1})
		return r.flowValue(entry, at+1, limit, depth)
	}
	return at, ok
}

func (r *reader) flowValue(n *Node, at, limit, depth int) (int, bool) {
	at, ok := r.between(at, limit)
	if !ok {
		return at, false
	}
	at = r.properties(n, at, r.lineEnd(at))
	if at == len(r.text) {
		return at, false
	}
	switch r.text[at] {
	case ',', ']', '}', '\n', '\r':
		return at, true
	case '[', '{':
		if depth < maxDepth {
			return r.flow(n, at, limit, depth+1)
		}
		return at + 1, true
	case '*':
		to := r.wordEnd(at+1, r.lineEnd(at))
		n.scalar(Text{r.text[at+1 : to], at, to})
		n.Kind = Alias
		return to, true
	case '"', '\'':
		to := r.quotedLines(at, limit)
		n.scalar(Text{unquote(r.text[at:to]), at, to})
		return to, true
	}
	to := r.flowWord(at)
	n.scalar(Text{r.text[at:to], at, to})
	if to == at {
		to++
	}
	return to, true
}

// flowWord is the end of the word at at: a quoted one, or one that a comma, bracket, colon, comment or line break ends.
func (r *reader) flowWord(at int) int {
	end := r.lineEnd(at)
	if c := r.text[at]; c == '"' || c == '\'' {
		return r.quoted(at, end)
	}
	i := at
	for ; i < end; i++ {
		c := r.text[i]
		if strings.IndexByte(",[]{}", c) >= 0 || c == '#' && i > at && r.text[i-1] == ' ' {
			break
		}
		if c == ':' && (i+1 == end || strings.IndexByte(" \t,[]{}", r.text[i+1]) >= 0) {
			break
		}
	}
	for i > at && (r.text[i-1] == ' ' || r.text[i-1] == '\t') {
		i--
	}
	return i
}
