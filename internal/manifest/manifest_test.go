package manifest

import (
	"errors"
	"fmt"
	"sort"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// TestTranscripts reads manifests and shows what comes of them: the notes, then the faults or the app.
//
//	parse [env=(A=1, B=)] [grant=(…)] [show=(image, ports)]
//	shop.yaml of the case; `>>> NAME` begins a further file of the app, `<<< NAME` one that a manifest can name; `+++ PATH=VALUE` is set above them
//
// show leaves out everything of the app but these fields of its containers.
//
//	diff
//	the app before, or `nothing`
//	=====
//	the app after
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "parse":
				return transcript(d)
			case "changes":
				before, after, _ := strings.Cut(d.Input, "\n=====\n")
				return transcriptChanges(t, before, after)
			case "diff":
				before, after, _ := strings.Cut(d.Input, "\n=====\n")
				return transcriptDiff(t, before, after)
			default:
				d.Fatalf(t, "unknown command %s", d.Cmd)
				return ""
			}
		})
	})
}

func transcript(d *datadriven.TestData) string {
	files, options := caseOf(d)
	spec, source, faults := Parse(files, options)
	var b strings.Builder
	for _, n := range source.Notes() {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	_ = faults.Render(&b, Style{})
	if spec == nil {
		return b.String()
	}
	var show []string
	for _, a := range d.CmdArgs {
		if a.Key == "show" {
			show = a.Vals
		}
	}
	if show == nil {
		dump(&b, "", spec.ProtoReflect())
	} else {
		for _, c := range spec.Containers {
			dumpFields(&b, "", c.ProtoReflect(), show)
		}
	}
	if b.Len() == 0 {
		return "ok\n"
	}
	return b.String()
}

// transcriptChanges says what Changes finds.
func transcriptChanges(t *testing.T, before, after string) string {
	var b strings.Builder
	for _, c := range Changes(specOf(t, before), specOf(t, after)) {
		fmt.Fprintf(&b, "%s %s: %s → %s\n", c.Of, c.What, c.From, c.To)
	}
	return b.String()
}

func specOf(t *testing.T, text string) *argosyv1.AppSpec {
	if text == "nothing" {
		return nil
	}
	spec, _, faults := Parse([]File{{Name: "shop.yaml", Data: []byte(text)}}, Options{})
	if err := faults.Err(); err != nil {
		t.Fatal(err)
	}
	return spec
}

func transcriptDiff(t *testing.T, before, after string) string {
	lines := Diff(specOf(t, before), specOf(t, after))
	if len(lines) == 0 {
		return "no difference\n"
	}
	return strings.Join(lines, "\n") + "\n"
}

func caseOf(d *datadriven.TestData) ([]File, Options) {
	files := []File{{Name: "shop.yaml"}}
	named := map[string]string{}
	var o Options
	current := func(s string) { files[len(files)-1].Data = append(files[len(files)-1].Data, s...) }
	for _, line := range strings.SplitAfter(d.Input, "\n") {
		if name, ok := strings.CutPrefix(line, ">>> "); ok {
			files = append(files, File{Name: strings.TrimSpace(name)})
			continue
		}
		if set, ok := strings.CutPrefix(line, "+++ "); ok {
			o.Set = append(o.Set, strings.TrimSuffix(set, "\n"))
			continue
		}
		if name, ok := strings.CutPrefix(line, "<<< "); ok {
			name = strings.TrimSpace(name)
			named[name] = ""
			current = func(s string) { named[name] += s }
			continue
		}
		current(line)
	}
	env := map[string]string{}
	for _, a := range d.CmdArgs {
		switch a.Key {
		case "env":
			for _, v := range a.Vals {
				k, v, _ := strings.Cut(v, "=")
				env[k] = v
			}
		case "grant":
			for _, v := range a.Vals {
				o.Grants = grant(o.Grants, v)
			}
		}
	}
	o.LookupEnv = func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	o.ReadFile = func(_, path string, _ int) ([]byte, error) {
		text, ok := named[path]
		if !ok {
			return nil, errors.New("no such file")
		}
		return []byte(text), nil
	}
	return files, o
}

func grant(g Grants, word string) Grants {
	switch {
	case word == "socket":
		g.DockerSocket = true
	case word == "security":
		g.SecurityOpts = true
	case word == "oom":
		g.OOMProtection = true
	case strings.HasPrefix(word, "/"):
		g.HostPaths = append(g.HostPaths, word)
	default:
		g.Capabilities = append(g.Capabilities, word)
	}
	return g
}

// dump writes a message as indented lines, always the same way.
func dump(b *strings.Builder, indent string, m protoreflect.Message) { dumpFields(b, indent, m, nil) }

func dumpFields(b *strings.Builder, indent string, m protoreflect.Message, only []string) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !m.Has(f) || (only != nil && !contains(only, string(f.Name()))) {
			continue
		}
		switch v := m.Get(f); {
		case f.IsMap():
			var lines []string
			v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				lines = append(lines, fmt.Sprintf("%s%s[%s]: %s\n", indent, f.Name(), k.String(), dumpScalar(f.MapValue(), v)))
				return true
			})
			sort.Strings(lines)
			b.WriteString(strings.Join(lines, ""))
		case f.IsList():
			for i := range v.List().Len() {
				dumpValue(b, indent, f, v.List().Get(i))
			}
		default:
			dumpValue(b, indent, f, v)
		}
	}
}

func dumpValue(b *strings.Builder, indent string, f protoreflect.FieldDescriptor, v protoreflect.Value) {
	if f.Message() == nil {
		fmt.Fprintf(b, "%s%s: %s\n", indent, f.Name(), dumpScalar(f, v))
		return
	}
	if d, ok := v.Message().Interface().(*durationpb.Duration); ok {
		fmt.Fprintf(b, "%s%s: %s\n", indent, f.Name(), d.AsDuration())
		return
	}
	fmt.Fprintf(b, "%s%s:\n", indent, f.Name())
	dump(b, indent+"  ", v.Message())
}

func dumpScalar(f protoreflect.FieldDescriptor, v protoreflect.Value) string {
	switch f.Kind() {
	case protoreflect.EnumKind:
		return showEnum(f.Enum(), v.Enum())
	case protoreflect.BytesKind:
		return fmt.Sprintf("%q", v.Bytes())
	case protoreflect.StringKind:
		return fmt.Sprintf("%q", v.String())
	}
	return v.String()
}
