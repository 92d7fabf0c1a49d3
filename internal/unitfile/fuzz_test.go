package unitfile_test

import (
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/coreos/go-systemd/v22/unit"

	"github.com/argosy-cluster/argosy/internal/fault"
	"github.com/argosy-cluster/argosy/internal/unitfile"
)

// seeds are files that a parser is likely to stumble over.
var seeds = []string{
	"",
	"[Service]\nExecStart=/bin/true\n",
	"[Unit]\nDescription=a\n\n[Service]\nExecStart=/bin/sh -c \"echo \\\n# c\n ; d\n  e\"\nEnvironment=\n[Install]\nWantedBy=a.target\n",
	"[Service]\nExecStart=a \\\n\nExecStop=b\\\\\nType=\\",
	"\ufeff[Serv\\\nice]\r\nA\\\n=\\\n b\r\n",
	"[Service]\nA=\\\n\\\n\\\n# x\n\n[Service]\nB=c",
	"[X-Fleet]\nMachineMetadata=\"a=b\" 'c=d'\nMachineMetadata=e=f\nConflicts=%p@*.service [a-z]?.mount\nMachineOf=%n\nGlobal=t\nReplaces=x*\nMachineID=282f949f\n",
	"[X-Fleet]\nX-ConditionMachineID=%i\nX-Conflicts=%% %\nX-ConditionMachineMetadata=é=\xff\n",
	"A=b\n[a\n[]\n=\nx\n[X-a]b\n\rc",
	"[Service]\nA=\x00",
	"[Service]\nA=b \\ \nC=d\t\\\n\te",
	"[Service]\n" + strings.Repeat("A=\\\n", 100),
	"[" + strings.Repeat("é", 2000) + "=",
}

func FuzzRead(f *testing.F) {
	for i, s := range seeds {
		f.Add([]string{"web@1.service", "a@.timer", "b.mount", "c"}[i%4], s)
	}
	f.Fuzz(func(t *testing.T, name, text string) {
		u, faults := unitfile.Read(name, text)
		if (u == nil) != (len(faults) > 0) {
			t.Fatalf("the unit is %v with faults %v", u, faults)
		}
		lines := strings.Split(text, "\n")
		for _, at := range faults {
			placed(t, at, len(lines))
		}
		if err := faults.Render(io.Discard, fault.Style{}); err != nil {
			t.Error(err)
		}
		file, faults := unitfile.Parse(name, text)
		if len(faults) == 0 {
			comesBack(t, file)
		}
	})
}

// placed finds fault with a place that no editor could go to.
func placed(t *testing.T, f fault.Fault, lines int) {
	if f.Message == "" || !utf8.ValidString(f.Message) {
		t.Errorf("a fault says %q", f.Message)
	}
	if f.Line != 0 && (f.Line > lines || f.Col < 1 || f.EndCol <= f.Col) {
		t.Errorf("the place %d:%d-%d of %q is none in %d lines", f.Line, f.Col, f.EndCol, f.Message, lines)
	}
	if n := utf8.RuneCountInString(f.Text); f.Text != "" && (f.Col < f.TextCol || f.Col > f.TextCol+n) {
		t.Errorf("column %d of %q is not in the text shown, %d to %d", f.Col, f.Message, f.TextCol, f.TextCol+n)
	}
}

// comesBack checks that a file's options say the same as its text.
func comesBack(t *testing.T, file *unitfile.File) {
	options := file.Options()
	again, faults := unitfile.FromOptions("again", options)
	if len(faults) > 0 {
		t.Fatalf("what was read cannot be written: %v\n%q", faults.Err(), options)
	}
	if !slices.Equal(again.Options(), options) || again.Hash() != file.Hash() {
		t.Errorf("options %q became %q", options, again.Options())
	}
	var want, got []string
	for _, s := range file.Settings() {
		want = append(want, s.Section+"\x00"+s.Name+"\x00"+s.Value)
	}
	for _, s := range again.Settings() {
		got = append(got, s.Section+"\x00"+s.Name+"\x00"+s.Value)
	}
	slices.SortStableFunc(want, bySection)
	slices.SortStableFunc(got, bySection)
	if !slices.Equal(got, want) {
		t.Errorf("systemd would read %q instead of %q", got, want)
	}
	reread, faults := unitfile.Parse("reread", again.Text())
	if len(faults) > 0 || reread.Hash() != file.Hash() {
		t.Errorf("%q is read as %q: %v", again.Text(), reread.Options(), faults.Err())
	}
}

func bySection(a, b string) int {
	a, _, _ = strings.Cut(a, "\x00")
	b, _, _ = strings.Cut(b, "\x00")
	return strings.Compare(a, b)
}

func FuzzOptions(f *testing.F) {
	f.Add("Service", "ExecStart", "/bin/true", "X-Fleet", "Global", "true")
	f.Add("Service", "ExecStart", "/bin/true \\", "Service", "User", "root")
	f.Add("Service", "ExecStart", "/bin/true \\\n# c\\\n  b", "Unit", "After", " a \n")
	f.Add("Service", "ExecStart", "a\n[Service]\nUser=root", "Service", "Type", "b\r\n")
	f.Add("Service\\", "Exec=", "", "", "#", "\ufeff")
	f.Fuzz(func(t *testing.T, s1, n1, v1, s2, n2, v2 string) {
		options := []unitfile.Option{{Section: s1, Name: n1, Value: v1}, {Section: s2, Name: n2, Value: v2}, {Section: s1, Name: "Last", Value: "x"}}
		file, faults := unitfile.FromOptions("a.service", options)
		for _, at := range faults {
			placed(t, at, 1+strings.Count(file.Text(), "\n"))
		}
		if len(faults) > 0 {
			return
		}
		if !slices.Equal(file.Options(), options) {
			t.Errorf("%q became %q", options, file.Options())
		}
		var theirs []*unit.UnitOption
		for _, o := range options {
			theirs = append(theirs, unit.NewUnitOption(o.Section, o.Name, o.Value))
		}
		if want, err := io.ReadAll(unit.Serialize(theirs)); err != nil || file.Text() != string(want) {
			t.Errorf("the text %q is not fleet's, %q: its hash would be another", file.Text(), want)
		}
		settings := file.Settings()
		if len(settings) != len(options) {
			t.Fatalf("%d options became %d settings", len(options), len(settings))
		}
		for _, s := range settings {
			if !slices.ContainsFunc(options, func(o unitfile.Option) bool { return o.Section == s.Section && o.Name == s.Name }) {
				t.Errorf("systemd would read %+v, which nobody said", s)
			}
		}
	})
}

// What is not continued, fleet's client reads as it is read here.
func FuzzLikeFleet(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.ContainsAny(text, "\\\r\v\f") || strings.Contains(text, "\ufeff") || !plainSpace(text) {
			return
		}
		file, faults := unitfile.Parse("a", text)
		if len(faults) > 0 {
			return
		}
		theirs, err := unit.Deserialize(strings.NewReader(text))
		if err != nil {
			return // a bound of theirs
		}
		var want []unitfile.Option
		for _, o := range theirs {
			want = append(want, unitfile.Option{Section: o.Section, Name: o.Name, Value: o.Value})
		}
		if got := file.Options(); !slices.Equal(got, want) {
			t.Errorf("fleet's client reads %q, not %q", want, got)
		}
	})
}

// plainSpace tells whether the only blanks are those that systemd knows; Go's libraries know more.
func plainSpace(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c == 0x85 || c == 0xa0 || c > 0x1000 })
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{"web@1.service", "a@b@c.mount", "-.mount", ".service", `a\x2db.swap`, "%n*[.path"} {
		f.Add(s, "web-*.service")
	}
	f.Fuzz(func(t *testing.T, s, glob string) {
		if back, err := unitfile.Unescape(unitfile.Escape(s)); err != nil || back != s && !strings.HasPrefix(s, "/") {
			t.Errorf("%q comes back as %q: %v", s, back, err)
		}
		if escaped := unitfile.Escape(s); s != "" && len(escaped) < 200 {
			if _, err := unitfile.ParseName(escaped + ".service"); err != nil {
				t.Errorf("%q is escaped to %q, which is no name: %v", s, escaped, err)
			}
		}
		a, b := unitfile.Rules{Name: s, Conflicts: []string{glob}}, unitfile.Rules{Name: glob}
		if _, one := unitfile.Compatible(a, b); true {
			if _, other := unitfile.Compatible(b, a); one != other {
				t.Errorf("whether %q and %q are compatible depends on who is asked", s, glob)
			}
		}
		n, err := unitfile.ParseName(s)
		if err != nil {
			return
		}
		switch {
		case strings.ContainsAny(s, "/\x00\n \"*?["):
			t.Errorf("%q could be another file, or a pattern", s)
		case n.Stem+"."+n.Type != s || n.At && n.Prefix+"@"+n.Instance != n.Stem || !n.At && n.Prefix != n.Stem:
			t.Errorf("%q fell into %+v", s, n)
		case !unitfile.Match(s, s):
			t.Errorf("%q does not match itself", s)
		}
	})
}
