package lsp

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"

	"github.com/argosy-cluster/argosy/internal/manifest"
)

// aCase is one manifest of the transcripts of package manifest.
type aCase struct {
	pos    string
	env    map[string]string
	files  []manifest.File // the first is shop.yaml, the others are companions
	beside map[string]string
}

func (c aCase) options() Options {
	return Options{
		LookupEnv: func(name string) (string, bool) { v, ok := c.env[name]; return v, ok },
		ReadFile: func(_, path string, _ int) ([]byte, error) {
			for _, f := range c.files[1:] {
				if f.Name == path {
					return f.Data, nil
				}
			}
			if text, ok := c.beside[path]; ok {
				return []byte(text), nil
			}
			return nil, errors.New("no such file")
		},
	}
}

func manifestCases(t testing.TB) []aCase {
	t.Helper()
	var out []aCase
	paths, err := filepath.Glob("../manifest/testdata/transcripts/*")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	split := regexp.MustCompile(`(?m)^(>>>|<<<) (.*)\n`)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		datadriven.RunTestFromString(&testing.T{}, string(text), func(_ *testing.T, d *datadriven.TestData) string {
			if d.Cmd != "parse" {
				return d.Expected
			}
			c := aCase{pos: filepath.Base(path) + " " + d.Pos, env: map[string]string{}, beside: map[string]string{}}
			for _, a := range d.CmdArgs {
				for _, v := range a.Vals {
					if k, v, ok := strings.Cut(v, "="); ok && a.Key == "env" {
						c.env[k] = v
					}
				}
			}
			input := d.Input + "\n"
			heads := split.FindAllStringSubmatchIndex(input, -1)
			end := func(i int) int {
				if i < len(heads) {
					return heads[i][0]
				}
				return len(input)
			}
			c.files = []manifest.File{{Name: "shop.yaml", Data: []byte(input[:end(0)])}}
			for i, h := range heads {
				name, body := strings.TrimSpace(input[h[4]:h[5]]), input[h[1]:end(i+1)]
				if input[h[2]:h[3]] == ">>>" {
					c.files = append(c.files, manifest.File{Name: name, Data: []byte(body)})
				} else {
					c.beside[name] = body
				}
			}
			out = append(out, c)
			return d.Expected
		})
	}
	return out
}

// TestSameFaultsAsValidate: of every manifest in the transcripts of package manifest, an editor is shown exactly what
// the parser finds, word for word and character for character.
func TestSameFaultsAsValidate(t *testing.T) {
	faulty, compared := 0, 0
	otherFile := regexp.MustCompile(`^[a-z./]+:\d+:\d+: `)
	for _, c := range manifestCases(t) {
		if len(c.files) > 1 {
			var names []string
			for _, f := range c.files[1:] {
				names = append(names, f.Name)
			}
			c.files[0].Data = append([]byte("# argosy: with "+strings.Join(names, " ")+"\n"), c.files[0].Data...)
		}
		o := c.options()
		// The document is the last file of its app.
		_, source, faults := manifest.Parse(append(c.files[1:len(c.files):len(c.files)], c.files[0]), manifest.Options{LookupEnv: o.LookupEnv, ReadFile: o.ReadFile})
		text := string(c.files[0].Data)
		var want []diagnostic
		elsewhere := 0
		for _, f := range faults {
			if f.File != "" && f.File != "shop.yaml" {
				elsewhere++
				continue
			}
			want = append(want, shown(text, f, severityError))
		}
		for _, f := range source.Notes() {
			if f.File == "shop.yaml" {
				want = append(want, shown(text, f, severityInformation))
			}
		}
		talk := talk(t, o, true)
		got := talk.open(manifestURI, "argosy", text)
		if elsewhere > 0 {
			// They are told of where the document names the file that they are in: `a.env:1:1: …`.
			kept := slices.DeleteFunc(slices.Clone(got), func(d diagnostic) bool { return otherFile.MatchString(d.Message) })
			if len(kept) == len(got) {
				t.Errorf("%s: nothing is said of %d faults in other files", c.pos, elsewhere)
			}
			got = kept
		}
		if d := cmp.Diff(want, got); d != "" && len(want)+len(got) > 0 {
			t.Errorf("%s: validate and lsp differ:\n%s", c.pos, d)
		}
		talk.bye()
		compared += len(want)
		if len(faults) > 0 {
			faulty++
		}
	}
	t.Logf("%d faults and notes of %d faulty manifests are the same", compared, faulty)
	if faulty < 40 || compared < 150 {
		t.Errorf("only %d faults of %d manifests were compared", compared, faulty)
	}
}

// shown is how a fault should appear, found another way than the server does.
func shown(text string, f manifest.Fault, severity int) diagnostic {
	d := diagnostic{Severity: severity, Source: "argosy", Message: strings.Join(append([]string{f.Message}, f.Help()...), "\n")}
	if f.Line == 0 {
		return d
	}
	lines := strings.Split(text, "\n")
	if f.Line > len(lines) {
		d.Range = span{position{len(lines) - 1, 0}, position{len(lines) - 1, 0}}
		return d
	}
	line := []rune(strings.TrimSuffix(lines[f.Line-1], "\r"))
	units := func(column int) int { return len(utf16.Encode(line[:min(column-1, len(line))])) }
	d.Range = span{position{f.Line - 1, units(f.Col)}, position{f.Line - 1, units(f.EndCol)}}
	return d
}
