package placement

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokEnd tokenKind = iota
	tokWord
	tokString
	tokEqual
	tokUnequal
	tokAnd
	tokOr
	tokNot
	tokOpen
	tokClose
	tokComma
)

type token struct {
	kind tokenKind
	at   int    // byte offset
	text string // as written; without quotes for a string
}

func (t token) is(word string) bool { return t.kind == tokWord && t.text == word }

func (t token) describe() string {
	if t.kind == tokEnd {
		return "the end"
	}
	return fmt.Sprintf("%q", t.text)
}

// lexer cuts src into tokens. The first character that fits nowhere sets bad
// and badAt, and every later token is the end.
type lexer struct {
	src   string
	pos   int
	bad   string
	badAt int
}

// signs in the order in which they are tried: a prefix comes after the longer.
var signs = []struct {
	text string
	kind tokenKind
	bad  string
}{
	{"===", 0, "=== is not an operator; write =="},
	{"==", tokEqual, ""},
	{"!=", tokUnequal, ""},
	{"&&", tokAnd, ""},
	{"||", tokOr, ""},
	{"=", 0, "= is not an operator; write =="},
	{"&", 0, "& is not an operator; write &&"},
	{"|", 0, "| is not an operator; write ||"},
	{"<", 0, "labels are words and have no order; use ==, !=, in or not in"},
	{">", 0, "labels are words and have no order; use ==, !=, in or not in"},
	{"~", 0, "patterns are not supported; use ==, !=, in or not in"},
	{"!", tokNot, ""},
	{"(", tokOpen, ""},
	{")", tokClose, ""},
	{",", tokComma, ""},
}

func (l *lexer) next() token {
	for l.pos < len(l.src) && strings.IndexByte(" \t\r\n", l.src[l.pos]) >= 0 {
		l.pos++
	}
	at := l.pos
	if at >= len(l.src) {
		return token{kind: tokEnd, at: len(l.src)}
	}
	if c := l.src[at]; c == '"' || c == '\'' {
		return l.quoted(c)
	}
	for l.pos < len(l.src) && isWordByte(l.src[l.pos]) {
		l.pos++
	}
	if l.pos > at {
		return token{kind: tokWord, at: at, text: l.src[at:l.pos]}
	}
	for _, s := range signs {
		if strings.HasPrefix(l.src[at:], s.text) {
			if s.bad != "" {
				return l.fail(at, s.bad)
			}
			l.pos = at + len(s.text)
			return token{kind: s.kind, at: at, text: s.text}
		}
	}
	r, _ := utf8.DecodeRuneInString(l.src[at:])
	return l.fail(at, fmt.Sprintf("%q cannot stand here; put values with such characters in quotes", r))
}

// quoted reads a string up to the same quote. There are no escapes: a value
// that holds one kind of quote is written in the other.
func (l *lexer) quoted(quote byte) token {
	at := l.pos
	end := strings.IndexByte(l.src[at+1:], quote)
	if end < 0 {
		return l.fail(at, "this quote is never closed")
	}
	l.pos = at + 1 + end + 1
	return token{kind: tokString, at: at, text: l.src[at+1 : at+1+end]}
}

func (l *lexer) fail(at int, msg string) token {
	l.bad, l.badAt = msg, at
	l.pos = len(l.src)
	return token{kind: tokEnd, at: len(l.src)}
}

func isWordByte(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	return strings.IndexByte("._/:+-", c) >= 0
}
