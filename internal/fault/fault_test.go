package fault_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/argosy-cluster/argosy/internal/fault"
)

func TestRender(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault fault.Fault
		want  string
	}{
		{"a place", fault.Fault{File: "a.unit", Line: 12, Col: 3, EndCol: 7, Message: "no", Hint: "do", Suggestion: "this", Text: "x\tword y", TextCol: 1},
			"a.unit:12:3: no\n   12 | x\tword y\n      |  \t^~~~\n      did you mean \"this\"?\n      do\n"},
		{"an argument", fault.Fault{File: "--set", Line: 1, Col: 1, EndCol: 2, Message: "no", Text: "a=b", TextCol: 1, Argument: true},
			"--set: no\n      | a=b\n      | ^\n"},
		{"no place", fault.Fault{Message: "no"}, "no\n"},
		{"what a terminal would obey", fault.Fault{File: "f", Line: 1, Col: 1, EndCol: 2, Message: "no", Text: "\x1b[2Ja", TextCol: 1},
			"f:1:1: no\n    1 | \ufffd[2Ja\n      | ^\n"},
		{"a suggestion with quotes of its own", fault.Fault{Message: "no", Suggestion: `"a" "b"`}, "no\n      did you mean \"a\" \"b\"?\n"},
	} {
		var b strings.Builder
		if err := (fault.Faults{c.fault}).Render(&b, fault.Style{}); err != nil {
			t.Fatal(err)
		}
		if b.String() != c.want {
			t.Errorf("%s:\n%q, want\n%q", c.name, b.String(), c.want)
		}
	}
}

func TestLongLinesAreCutAroundTheirPlace(t *testing.T) {
	f := fault.Fault{File: "f", Line: 1, Col: 5001, EndCol: 5005, Message: "no", Text: strings.Repeat("é", 5000) + "word" + strings.Repeat("z", 5000), TextCol: 1}
	var b strings.Builder
	if err := (fault.Faults{f}).Render(&b, fault.Style{}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	source, caret := []rune(lines[1]), []rune(lines[2])
	at := strings.IndexRune(lines[2], '^')
	if len(source) > 130 || at < 0 || string(source[at:at+4]) != "word" || string(caret[at:]) != "^~~~" {
		t.Errorf("the place is lost:\n%s", b.String())
	}
}

func TestCollector(t *testing.T) {
	var c fault.Collector
	for i := range 2 * 10 * fault.Max {
		f := c.Add(fault.Fault{File: "f", Line: 5000 - i, Col: 1, Message: "unknown imge"})
		f.Near("imge", []string{"volumes", "image"}).Advise("look at %d", i) // f may be nil
	}
	got := c.Sorted()
	if len(got) != fault.Max+1 || got[0].Line != 4001 || got[0].Suggestion != "image" || got[0].Hint != "look at 999" {
		t.Errorf("%d faults, the first %+v", len(got), got[0])
	}
	if want := "and 1900 more"; got[fault.Max].Message != want {
		t.Errorf("%q, want %q", got[fault.Max].Message, want)
	}
	twice := fault.Fault{File: "f", Line: 1, Message: "same"}
	if n := len(fault.Gather([]fault.Fault{twice, twice})); n != 1 {
		t.Errorf("one thing is told %d times", n)
	}
}

func TestNearest(t *testing.T) {
	words := []string{"ExecStart", "ExecStop", "ExecReload", "Restart", "User"}
	for word, want := range map[string]string{
		"ExecStrat": "ExecStart", "execstart": "ExecStart", "Exec": "", "Usr": "User", "Environment": "", "": "", "x": "", strings.Repeat("a", 5000): "",
	} {
		if got := fault.Nearest(word, words); got != want {
			t.Errorf("%.20s is near %q, want %q", word, got, want)
		}
	}
}

func FuzzRender(f *testing.F) {
	f.Add("some text", 3, 5, 1)
	f.Add(strings.Repeat("é\t", 400), 600, 700, 1)
	f.Fuzz(func(t *testing.T, text string, col, end, first int) {
		var b strings.Builder
		in := fault.Fault{File: "f", Line: 1, Col: max(1, col), EndCol: end, Message: "m", Text: text, TextCol: min(max(1, first), max(1, col))}
		if err := (fault.Faults{in}).Render(&b, fault.Style{}); err != nil {
			t.Fatal(err)
		}
		if n := len(b.String()); n > 4*2*200 {
			t.Errorf("%d bytes for %s", n, fmt.Sprintf("%.30q", text))
		}
	})
}
