package placement

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"
)

// Each file in testdata/transcripts is a list of expressions:
//
//	parse                       the expression is the input; answers its canonical spelling, or the fault with a caret
//	match LABEL=VALUE…          each line of the input is an expression; answers whether it matches, or the mismatch
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, td *datadriven.TestData) string {
			labels := map[string]string{}
			for _, a := range td.CmdArgs {
				labels[a.Key] = strings.Join(a.Vals, ",")
			}
			lookup := func(k string) (string, bool) { v, ok := labels[k]; return v, ok }
			var b strings.Builder
			for _, line := range strings.Split(td.Input, "\n") {
				e, err := Parse(line)
				switch {
				case err != nil:
					b.WriteString(fault(t, err))
				case td.Cmd == "parse":
					fmt.Fprintf(&b, "%s   keys %v\n", e, e.Keys())
				case e.Eval(lookup):
					fmt.Fprintf(&b, "yes  %s\n", e)
				default:
					m, ok := e.Mismatch(lookup)
					if !ok {
						t.Fatalf("%s does not match but has no mismatch", e)
					}
					fmt.Fprintf(&b, "no   %s   (%s)\n", e, m)
				}
			}
			return b.String()
		})
	})
}

func fault(t *testing.T, err error) string {
	var syntax *SyntaxError
	if !errors.As(err, &syntax) {
		t.Fatalf("%v is not a *SyntaxError", err)
	}
	return fmt.Sprintf("%s\n%s^\n%s\n", syntax.Source, strings.Repeat(" ", syntax.Column()-1), syntax.Msg)
}

func TestLimits(t *testing.T) {
	for name, source := range map[string]string{
		"length":      strings.Repeat("x", MaxLength+1),
		"parentheses": strings.Repeat("(", 500),
		"negations":   strings.Repeat("!", 500) + "has(x)",
		"terms":       strings.TrimSuffix(strings.Repeat("a==b&&", MaxTerms+1), "&&"),
		"values":      "a in (" + strings.TrimSuffix(strings.Repeat("b,", MaxTerms+1), ",") + ")",
		"not text":    "zone == \xff\xfe",
		"long value":  "zone == '" + strings.Repeat("é", MaxLength) + "'",
	} {
		e, err := Parse(source)
		if err == nil {
			t.Errorf("%s: %d bytes were accepted as %s", name, len(source), e)
			continue
		}
		if text := err.Error(); len(text) > 6*MaxLength {
			t.Errorf("%s: the error has %d bytes", name, len(text))
		}
	}
}

func TestZeroMatchesAll(t *testing.T) {
	if !(Expr{}).Eval(nil) || !(Expr{}).IsZero() || (Expr{}).String() != "" || (Expr{}).Keys() != nil {
		t.Error("the zero Expr does not match everything, or is not empty")
	}
}

// drawNode makes expressions without their text.
func drawNode(depth int) *rapid.Generator[*node] {
	return rapid.Custom(func(t *rapid.T) *node {
		kinds := []op{opHas, opIs, opIsNot}
		if depth > 0 {
			kinds = append(kinds, opAnd, opOr, opNot)
		}
		n := &node{op: rapid.SampledFrom(kinds).Draw(t, "op")}
		switch n.op {
		case opAnd, opOr:
			n.parts = rapid.SliceOfN(drawNode(depth-1), 2, 3).Draw(t, "parts")
		case opNot:
			n.parts = rapid.SliceOfN(drawNode(depth-1), 1, 1).Draw(t, "part")
		default:
			n.key = rapid.SampledFrom([]string{"zone", "rack", "has", "in", "not"}).Draw(t, "key")
			n.list = rapid.Bool().Draw(t, "list")
			if n.op != opHas {
				n.values = rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "", "far away", "it's", `"quoted"`, "in"}), 1, 1).Draw(t, "values")
			}
		}
		return n
	})
}

// TestSpellingKeepsMeaning: what String spells reads back as the same.
func TestSpellingKeepsMeaning(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := drawNode(3).Draw(t, "node")
		text := n.format(0)
		if len(text) > MaxLength {
			t.Skip("longer than is allowed")
		}
		e, err := Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if e.String() != text {
			t.Fatalf("%s is spelled %s after reading", text, e)
		}
		labels := rapid.MapOf(rapid.SampledFrom([]string{"zone", "rack", "has", "in"}), rapid.SampledFrom([]string{"a", "b", "", "in"})).Draw(t, "labels")
		lookup := func(k string) (string, bool) { v, ok := labels[k]; return v, ok }
		if e.Eval(lookup) != n.eval(lookup) {
			t.Fatalf("%s means something else after reading", text)
		}
		if _, ok := e.Mismatch(lookup); ok == e.Eval(lookup) {
			t.Fatalf("%s: Mismatch and Eval disagree", text)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"zone == edge", "disk != 'a b'", "rack in (a, b) || !has(gpu)", "!(a == b && c not in (d))", "((a==b))", "has(", "a = b", "\x00",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, source string) {
		e, err := Parse(source)
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.Offset < 0 || syntax.Offset > len(syntax.Source) || syntax.Msg == "" {
				t.Fatalf("%q: bad fault %#v", source, err)
			}
			_ = syntax.Error()
			return
		}
		again, err := Parse(e.String())
		if err != nil && len(e.String()) <= MaxLength {
			t.Fatalf("%q is spelled %q, which is refused: %v", source, e, err)
		}
		if err == nil && again.String() != e.String() {
			t.Fatalf("%q is spelled %q and then %q", source, e, again)
		}
		none := func(string) (string, bool) { return "", false }
		if m, ok := e.Mismatch(none); ok == e.Eval(none) || ok && m.String() == "" {
			t.Fatalf("%q: Mismatch and Eval disagree", source)
		}
	})
}
