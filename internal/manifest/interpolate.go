package manifest

import (
	"fmt"
	"strings"
)

// interpolate replaces variables in the text of v as Compose does:
//
//	$V ${V}            the variable, empty when it is not set (a note says so)
//	${V:-d} ${V-d}     d when V is not set (with the colon: or empty)
//	${V:+x} ${V+x}     x when V is set (with the colon: and not empty)
//	${V:?why} ${V?why} a fault with this reason when V is not set (with the colon: or empty)
//	$$                 a dollar sign, as is one before anything else
//
// d and x may hold variables again.
func (r *reader) interpolate(v value) (string, bool) {
	if strings.IndexByte(v.n.Value, '$') < 0 {
		return v.n.Value, true
	}
	in := interpolator{r: r, v: v, text: v.n.Value}
	out := in.until(0, false, true)
	return out, !in.failed
}

// interpolator is one pass over one text.
type interpolator struct {
	r      *reader
	v      value
	text   string
	pos    int
	failed bool

	// quiet keeps the fault as message instead of reporting it at v.
	quiet   bool
	message string
}

const maxBraces = 16

func (in *interpolator) fail(offset, length int, format string, args ...any) *Fault {
	in.failed = true
	if in.quiet {
		in.message = fmt.Sprintf(format, args...)
		return nil
	}
	return in.r.faultIn(in.v, offset, length, format, args...)
}

// until expands up to the end of the text, or within braces up to the closing one. A text that is not wanted (the
// alternative that is not taken) is read and dropped, and its variables need not be set.
func (in *interpolator) until(depth int, braces, wanted bool) string {
	var b strings.Builder
	open := 0 // plain braces within braces, as in `${V:-{"a": 1}}`
	for in.pos < len(in.text) && !in.failed {
		c := in.text[in.pos]
		switch {
		case braces && c == '}' && open == 0:
			return b.String()
		case c != '$':
			switch c {
			case '{':
				open++
			case '}':
				open--
			}
			end := strings.IndexAny(in.text[in.pos+1:], "${}") + 1
			if end == 0 {
				end = len(in.text) - in.pos
			}
			in.write(&b, in.text[in.pos:in.pos+end], wanted)
			in.pos += end
		default:
			in.dollar(&b, depth, wanted)
		}
	}
	return b.String()
}

func (in *interpolator) write(b *strings.Builder, s string, wanted bool) {
	if !wanted || in.failed {
		return
	}
	if in.r.expanded += len(s); in.r.expanded > maxExpanded {
		in.failed = true
		in.r.stop(in.v, "the variables of the manifest expand to more than %d bytes", maxExpanded)
		return
	}
	b.WriteString(s)
}

// dollar reads what a dollar sign begins.
func (in *interpolator) dollar(b *strings.Builder, depth int, wanted bool) {
	start := in.pos
	in.pos++
	switch rest := in.text[in.pos:]; {
	case strings.HasPrefix(rest, "$"):
		in.pos++
		in.write(b, "$", wanted)
	case strings.HasPrefix(rest, "{"):
		in.pos++
		in.braces(b, start, depth, wanted)
	case nameLength(rest) > 0:
		name := rest[:nameLength(rest)]
		in.pos += len(name)
		in.write(b, in.lookup(name, start, wanted), wanted)
	default:
		in.write(b, "$", wanted)
	}
}

// braces reads ${…} from behind the opening brace.
func (in *interpolator) braces(b *strings.Builder, start, depth int, wanted bool) {
	if depth >= maxBraces {
		in.fail(start, 2, "variables stand within variables more than %d deep", maxBraces)
		return
	}
	name := in.text[in.pos:][:nameLength(in.text[in.pos:])]
	in.pos += len(name)
	if name == "" {
		in.fail(start, 2, "a variable's name is missing after ${").Advise("a name is letters, digits and _, like ${TAG}")
		return
	}
	op := in.operator()
	if op == "" {
		if !in.closed(start) {
			return
		}
		in.write(b, in.lookup(name, start, wanted), wanted)
		return
	}
	set, ok := in.r.env(name)
	if op[0] == ':' && set == "" {
		ok = false
	}
	kind := op[len(op)-1]
	useAlternative := wanted && ((kind == '-' && !ok) || (kind == '+' && ok) || (kind == '?' && !ok))
	alternative := in.until(depth+1, true, useAlternative)
	if in.failed || !in.closed(start) {
		return
	}
	switch {
	case useAlternative && kind == '?':
		if alternative == "" {
			alternative = "it is required"
		}
		in.fail(start, in.pos-start, "the variable %s is not set: %s", name, printable(alternative)).
			Advise("set it in the environment of argosy")
	case useAlternative:
		// Already counted while it was read.
		b.WriteString(alternative)
	case kind != '+':
		in.write(b, set, wanted)
	}
}

func (in *interpolator) closed(start int) bool {
	if in.pos < len(in.text) && in.text[in.pos] == '}' {
		in.pos++
		return true
	}
	if in.pos >= len(in.text) {
		in.fail(start, in.pos-start, "the closing } of ${ is missing")
	} else {
		in.fail(in.pos, 1, "%s has no meaning within ${…}", quoted(in.text[in.pos:in.pos+runeOffset(in.text[in.pos:], 1)])).
			Advise("after the name may stand :- - :+ + :? or ?")
	}
	return false
}

func (in *interpolator) operator() string {
	for _, op := range []string{":-", ":+", ":?", "-", "+", "?"} {
		if strings.HasPrefix(in.text[in.pos:], op) {
			in.pos += len(op)
			return op
		}
	}
	return ""
}

func (in *interpolator) lookup(name string, start int, wanted bool) string {
	s, ok := in.r.env(name)
	if !ok && wanted && !in.r.unset[name] {
		if in.r.unset == nil {
			in.r.unset = map[string]bool{}
		}
		in.r.unset[name] = true
		f := in.r.note(in.v, "the variable %s is not set; it counts as empty", name)
		if !in.quiet {
			narrow(f, in.v, start, in.pos-start)
		}
	}
	return s
}

func (r *reader) env(name string) (string, bool) {
	if r.opts.LookupEnv == nil {
		return "", false
	}
	return r.opts.LookupEnv(name)
}

// nameLength is how many bytes of s are a variable's name.
func nameLength(s string) int {
	for i := range len(s) {
		c := s[i]
		if c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9' || i == 0) {
			return i
		}
	}
	return len(s)
}
