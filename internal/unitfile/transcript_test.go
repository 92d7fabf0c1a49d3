package unitfile_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/argosy-cluster/argosy/internal/fault"
	"github.com/argosy-cluster/argosy/internal/unitfile"
)

// Transcripts have these commands:
//
//	read name=web.service     a unit file; written as Go writes strings when it has quoted
//	options name=web.service  the same, as a list of options in JSON
//	compatible                two lines: a unit's name and its Conflicts
//	name                      names, one a line
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var name string
			d.MaybeScanArgs(t, "name", &name)
			switch d.Cmd {
			case "read":
				text := d.Input
				if d.HasArg("quoted") {
					if err := json.Unmarshal([]byte(`"`+text+`"`), &text); err != nil {
						t.Fatal(err)
					}
				}
				u, faults := unitfile.Read(name, text)
				return show(u, faults)
			case "options":
				var options []unitfile.Option
				if err := json.Unmarshal([]byte(d.Input), &options); err != nil {
					t.Fatal(err)
				}
				u, faults := unitfile.ReadOptions(name, options)
				if u != nil && !slices.Equal(u.File.Options(), options) {
					t.Errorf("%s: the options are not kept", d.Pos)
				}
				if u != nil {
					return u.File.Text() + "hash " + u.File.Hash() + "\n"
				}
				return show(u, faults)
			case "compatible":
				return compatible(strings.Split(d.Input, "\n"))
			case "name":
				return names(strings.Split(d.Input, "\n"))
			}
			t.Fatalf("%s: unknown command %s", d.Pos, d.Cmd)
			return ""
		})
	})
}

func show(u *unitfile.Unit, faults fault.Faults) string {
	var b strings.Builder
	if err := faults.Render(&b, fault.Style{}); err != nil {
		return err.Error()
	}
	if u == nil {
		return b.String()
	}
	for _, s := range u.File.Settings() {
		fmt.Fprintf(&b, "%d:%d [%s] %s=%q\n", s.Line, s.Col, s.Section, s.Name, s.Value)
	}
	for i, s := range u.File.Settings() {
		if raw := u.File.Options()[i].Value; raw != s.Value {
			fmt.Fprintf(&b, "%s as an option: %q\n", s.Name, raw)
		}
	}
	f := u.Fleet
	if f.MachineID.Is != "" {
		fmt.Fprintf(&b, "machine id: %s\n", f.MachineID.Is)
	}
	said := func(what string, list []unitfile.Said) {
		for _, s := range list {
			fmt.Fprintf(&b, "%s: %s (%d:%d)\n", what, s.Is, s.Line, s.Col)
		}
	}
	said("machine of", f.MachineOf)
	for _, p := range f.Metadata {
		fmt.Fprintf(&b, "metadata: %s is %s (%d:%d)\n", p.Key, p.Value, p.Line, p.Col)
	}
	for _, e := range f.Require() {
		fmt.Fprintf(&b, "require: %s\n", e)
	}
	said("conflicts", f.Conflicts)
	said("replaces", f.Replaces)
	if f.Global {
		b.WriteString("global\n")
	}
	if i := u.Install; len(i.WantedBy)+len(i.RequiredBy)+len(i.Also)+len(i.Alias) > 0 || i.DefaultInstance != "" {
		fmt.Fprintf(&b, "install: %+v\n", i)
	}
	return b.String()
}

func compatible(lines []string) string {
	var units []unitfile.Rules
	for _, l := range lines {
		words := strings.Fields(l)
		units = append(units, unitfile.Rules{Name: words[0], Conflicts: words[1:]})
	}
	clash, ok := unitfile.Compatible(units[0], units[1])
	_, other := unitfile.Compatible(units[1], units[0])
	switch {
	case ok != other:
		return "it matters who is asked\n"
	case ok:
		return "compatible\n"
	}
	return clash.String() + "\n"
}

func names(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		n, err := unitfile.ParseName(l)
		switch {
		case err != nil:
			fmt.Fprintf(&b, "%s\n", err)
			if s := err.(*unitfile.NameError).Suggestion; s != "" {
				fmt.Fprintf(&b, "  did you mean %q?\n", s)
			}
		case n.IsTemplate():
			fmt.Fprintf(&b, "template %s of type %s\n", n.Prefix, n.Type)
		case n.IsInstance():
			fmt.Fprintf(&b, "instance %s of %s\n", n.Instance, n.Template())
		default:
			fmt.Fprintf(&b, "unit %s of type %s\n", n.Stem, n.Type)
		}
	}
	return b.String()
}
