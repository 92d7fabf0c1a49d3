package manifest

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/unitfile"
)

// FuzzParse: whatever is given, Parse neither panics nor contradicts itself.
func FuzzParse(f *testing.F) {
	for _, seed := range seeds(f) {
		f.Add(seed, "word")
	}
	for _, text := range hostile() {
		if len(text) < 20_000 {
			f.Add(text, "")
		}
	}
	f.Fuzz(func(t *testing.T, text, variable string) {
		options := Options{
			LookupEnv: func(name string) (string, bool) { return variable, len(name)%2 == 0 },
			ReadFile: func(_, path string, limit int) ([]byte, error) {
				if len(variable) > limit {
					return nil, errors.New("too large")
				}
				return []byte(variable), nil
			},
		}
		files := []File{{Name: "fuzz.yaml", Data: []byte(text)}}
		spec, source, faults := Parse(files, options)
		if (spec == nil) != (len(faults) > 0) || source == nil {
			t.Fatalf("a spec (%t) and %d faults", spec != nil, len(faults))
		}
		again, _, faultsAgain := Parse(files, options)
		if !proto.Equal(spec, again) || !slices.EqualFunc(faults, faultsAgain, sameFault) {
			t.Fatal("the second time it is another app")
		}
		checkFaults(t, text, faults)
		checkFaults(t, text, source.Notes())
		if spec == nil {
			return
		}
		if len(Diff(spec, again)) > 0 {
			t.Fatal("the app differs from itself")
		}
		if err := source.Fault("here", "containers", spec.GetContainers()[0].GetName()); err.Line == 0 && len(spec.Containers) > 0 {
			t.Fatal("a container of the app has no place")
		}
	})
}

func sameFault(a, b Fault) bool { return a.String() == b.String() && a.Suggestion == b.Suggestion }

// checkFaults: every fault is sorted, says something, stands within the file and is fit for a terminal.
func checkFaults(t *testing.T, text string, faults Faults) {
	if len(faults) > MaxFaults+1 {
		t.Fatalf("%d faults", len(faults))
	}
	lines := strings.Count(text, "\n") + 1
	for i, f := range faults {
		if f.Message == "" {
			t.Fatal("a fault without a message")
		}
		// The YAML library counts lines as YAML does, which has more kinds of line breaks.
		if !strings.ContainsAny(text, "\r\u0085\u2028\u2029") && f.File == "fuzz.yaml" && f.Line > lines+1 {
			t.Fatalf("%s: the file has %d lines", f, lines)
		}
		if i > 0 && f.Line > 0 && f.Line < faults[i-1].Line {
			t.Fatalf("%s stands behind %s", f, faults[i-1])
		}
	}
	var out bytes.Buffer
	if err := faults.Render(&out, Style{}); err != nil {
		t.Fatal(err)
	}
	if i := bytes.IndexFunc(out.Bytes(), func(c rune) bool { return c < ' ' && c != '\n' && c != '\t' || c == 0x7f }); i >= 0 {
		t.Fatalf("the faults have a control character in them: %q", out.Bytes()[max(0, i-20):i+1])
	}
}

// seeds are the manifests of the transcripts.
func seeds(t testing.TB) []string {
	paths, err := filepath.Glob("testdata/transcripts/*")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	manifest := regexp.MustCompile(`(?ms)^parse[^\n]*\n(.*?)^----$`)
	var out []string
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range manifest.FindAllSubmatch(data, -1) {
			out = append(out, string(m[1]))
		}
	}
	return out
}

// FuzzSet: whatever is set above a manifest, there is an app that renders to itself or a fault, and nothing else.
func FuzzSet(f *testing.F) {
	lamp, err := os.ReadFile("testdata/lamp.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"cluster.lamp=3", "containers.apache.environment.DEBUG=1", "a[+]=1", "containers.apache.ports[0]=1", "x=[&a {b: *a}]",
		"containers.apache.command=[a, \"b\"]", "containers=", "<<.a=1", "containers.apache={<<: 1}", "a.b[c.d].e=", "=", "[", "argosy=v2"} {
		f.Add(s, "containers.apache.image=httpd:3")
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		spec, source, faults := Parse([]File{{Name: "lamp.yaml", Data: lamp}}, Options{Set: []string{first, second}})
		if (spec == nil) == (len(faults) == 0) {
			t.Fatalf("an app and %d faults", len(faults))
		}
		if err := faults.Render(io.Discard, Style{}); err != nil {
			t.Fatal(err)
		}
		_ = source.Notes()
		if spec == nil {
			return
		}
		if wrong := sameAgain(spec); wrong != "" {
			t.Fatal(wrong)
		}
	})
}

// FuzzUnit: whatever a unit file says, it is judged quickly and its faults are within it.
func FuzzUnit(f *testing.F) {
	f.Add("web.service", "[Service]\nExecStart=/bin/true\\\n# comment\n --x\nMemoryMax=1G\nCPUQuota=20%\n")
	f.Add("a.mount", "[Mount\n\\\n;\n=\n[X-Fleet]")
	f.Fuzz(func(t *testing.T, name, text string) {
		if !unitfile.IsName(name) {
			return
		}
		lines := strings.Count(text, "\n") + 1
		_, faults := unitfile.Read(name, text)
		for _, fault := range faults {
			if fault.Line < 1 || fault.Line > lines || fault.Col < 1 {
				t.Errorf("a fault at %d:%d of %d lines: %s", fault.Line, fault.Col, lines, fault.Message)
			}
		}
		if err := verifyResources(&argosyv1.ContainerSpec{Resources: UnitResources(name, text)}); err != nil {
			t.Errorf("what %q reserves: %v", text, err)
		}
	})
}
