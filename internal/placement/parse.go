package placement

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Limits of one expression.
const (
	MaxLength = 1024 // bytes
	MaxDepth  = 16   // nested parentheses and negations
	MaxTerms  = 64   // comparisons, calls of has and listed values together
)

// A SyntaxError says what is wrong with an expression and where.
type SyntaxError struct {
	Source string // the whole expression, cut after MaxLength bytes
	Offset int    // byte in Source at which the fault begins, 0 ≤ Offset ≤ len(Source)
	Msg    string // what is wrong and what was expected
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("column %d of %q: %s", e.Column(), e.Source, e.Msg)
}

// Column is the position of the fault in characters, from 1.
func (e *SyntaxError) Column() int {
	return utf8.RuneCountInString(e.Source[:e.Offset]) + 1
}

// Parse reads one expression. Its error is a *SyntaxError.
func Parse(source string) (Expr, error) {
	if len(source) > MaxLength {
		cut := strings.ToValidUTF8(source[:MaxLength], "?")
		return Expr{}, &SyntaxError{Source: cut, Offset: 0,
			Msg: fmt.Sprintf("the expression has %d bytes; at most %d are allowed", len(source), MaxLength)}
	}
	if !utf8.ValidString(source) {
		return Expr{}, &SyntaxError{Source: strings.ToValidUTF8(source, "?"), Offset: 0, Msg: "the expression is not valid UTF-8"}
	}
	p := parser{lex: lexer{src: source}}
	p.next()
	n := p.or(0)
	if p.err == nil && p.tok.kind != tokEnd {
		p.fail(p.tok.at, "unexpected %s after the end of the expression; join conditions with && or ||", p.tok.describe())
	}
	if p.err != nil {
		return Expr{}, p.err
	}
	return Expr{root: n, text: n.format(0)}, nil
}

// MustParse is Parse for expressions written in code; it panics on a fault.
func MustParse(source string) Expr {
	e, err := Parse(source)
	if err != nil {
		panic(err)
	}
	return e
}

// parser is a recursive descent; after the first fault every method returns
// at once because the current token is then the end.
type parser struct {
	lex   lexer
	tok   token
	terms int
	err   *SyntaxError
}

func (p *parser) next() {
	p.tok = p.lex.next()
	if p.lex.bad != "" && p.err == nil {
		p.fail(p.lex.badAt, "%s", p.lex.bad)
	}
}

func (p *parser) fail(at int, format string, args ...any) {
	if p.err == nil {
		p.err = &SyntaxError{Source: p.lex.src, Offset: at, Msg: fmt.Sprintf(format, args...)}
	}
	p.tok = token{kind: tokEnd, at: len(p.lex.src)}
	p.lex.pos = len(p.lex.src)
}

// term counts one comparison or value against MaxTerms.
func (p *parser) term(at int) {
	if p.terms++; p.terms > MaxTerms {
		p.fail(at, "more than %d conditions and values in one expression", MaxTerms)
	}
}

func (p *parser) or(depth int) *node {
	return p.chain(depth, tokOr, opOr, p.and)
}

func (p *parser) and(depth int) *node {
	return p.chain(depth, tokAnd, opAnd, p.unary)
}

func (p *parser) chain(depth int, sep tokenKind, op op, part func(int) *node) *node {
	first := part(depth)
	if p.tok.kind != sep {
		return first
	}
	n := &node{op: op, parts: []*node{first}}
	for p.tok.kind == sep {
		p.next()
		n.parts = append(n.parts, part(depth))
	}
	return n
}

func (p *parser) unary(depth int) *node {
	if depth > MaxDepth {
		p.fail(p.tok.at, "more than %d levels of parentheses and negations", MaxDepth)
	}
	switch p.tok.kind {
	case tokNot:
		p.next()
		return &node{op: opNot, parts: []*node{p.unary(depth + 1)}}
	case tokOpen:
		open := p.tok.at
		p.next()
		n := p.or(depth + 1)
		if p.err == nil && p.tok.kind != tokClose {
			p.fail(open, "this parenthesis is never closed")
		}
		p.next()
		return n
	case tokWord:
		return p.condition()
	}
	p.fail(p.tok.at, "expected a condition such as zone == edge, found %s", p.tok.describe())
	return &node{}
}

// condition reads what starts with a word: a comparison, a list or has(label).
func (p *parser) condition() *node {
	key := p.tok
	p.term(key.at)
	p.next()
	switch {
	case key.text == "has" && p.tok.kind == tokOpen:
		return p.has()
	case p.tok.kind == tokEqual, p.tok.kind == tokUnequal:
		n := &node{op: opIs, key: key.text}
		if p.tok.kind == tokUnequal {
			n.op = opIsNot
		}
		sign := p.tok.text
		p.next()
		n.values = []string{p.value("after " + sign)}
		return n
	case p.tok.is("in"):
		p.next()
		return &node{op: opIs, list: true, key: key.text, values: p.list()}
	case p.tok.is("not"):
		p.next()
		if !p.tok.is("in") {
			p.fail(p.tok.at, "expected in after not, found %s", p.tok.describe())
		}
		p.next()
		return &node{op: opIsNot, list: true, key: key.text, values: p.list()}
	}
	p.fail(p.tok.at, "expected ==, !=, in or not in after %q, found %s; to ask whether a machine has a label write has(%s)",
		key.text, p.tok.describe(), key.text)
	return &node{}
}

func (p *parser) has() *node {
	p.next()
	if p.tok.kind != tokWord {
		p.fail(p.tok.at, "expected a label in has(…), found %s", p.tok.describe())
	}
	n := &node{op: opHas, key: p.tok.text}
	p.next()
	if p.tok.kind != tokClose {
		p.fail(p.tok.at, "expected ) after the label, found %s", p.tok.describe())
	}
	p.next()
	return n
}

func (p *parser) list() []string {
	if p.tok.kind != tokOpen {
		p.fail(p.tok.at, "expected a list such as (a, b) after in, found %s", p.tok.describe())
		return nil
	}
	p.next()
	values := []string{p.value("in the list")}
	for p.tok.kind == tokComma {
		p.next()
		values = append(values, p.value("in the list"))
	}
	if p.tok.kind != tokClose {
		p.fail(p.tok.at, "expected , or ) in the list, found %s", p.tok.describe())
	}
	p.next()
	return values
}

func (p *parser) value(where string) string {
	v := p.tok
	if v.kind != tokWord && v.kind != tokString {
		p.fail(v.at, "expected a value %s, found %s", where, v.describe())
		return ""
	}
	p.term(v.at)
	p.next()
	return v.text
}
