package compose

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/argosy-cluster/argosy/internal/manifest"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// project is a directory of testdata/projects: Compose files, what they become (argosy.yaml) and what is said about it
// (notes). The file args says how to import, one word and its value a line:
//
//	files      the Compose files, when it is not compose.yaml alone
//	profile    switch one on
//	stacks     auto, each or one
//	binds      volumes
//	env        NAME=VALUE in the environment
//	env-file   in place of .env
//	app        the app's name
//	strict     nothing may be left out: without it, projects are imported with --partial
type project struct {
	name  string
	files []string
	opts  Options
	env   map[string]string
}

func projects(t testing.TB) []project {
	t.Helper()
	dirs, err := filepath.Glob("testdata/projects/*")
	if err != nil || len(dirs) < 40 {
		t.Fatalf("%d projects are in testdata, want at least 40 (%v)", len(dirs), err)
	}
	var out []project
	for _, dir := range dirs {
		out = append(out, readProject(t, dir))
	}
	return out
}

func readProject(t testing.TB, dir string) project {
	t.Helper()
	p := project{name: filepath.Base(dir), files: []string{"compose.yaml"}, env: map[string]string{}, opts: Options{Partial: true}}
	args, err := os.ReadFile(filepath.Join(dir, "args"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(args)) {
		word, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "files":
			p.files = strings.Fields(value)
		case "profile":
			p.opts.Profiles = append(p.opts.Profiles, value)
		case "stacks":
			p.opts.Stacks = Stacks(value)
		case "binds":
			p.opts.BindsAsVolumes = true
		case "env":
			k, v, _ := strings.Cut(value, "=")
			p.env[k] = v
		case "env-file":
			p.opts.EnvFiles = append(p.opts.EnvFiles, value)
		case "app":
			p.opts.App = value
		case "strict":
			p.opts.Partial = false
		default:
			t.Fatalf("%s: args: %q is not known", dir, word)
		}
	}
	p.opts.LookupEnv = func(name string) (string, bool) { v, ok := p.env[name]; return v, ok }
	return p
}

// run imports the project from within its directory, as a person does.
func (p project) run(t *testing.T) Result {
	t.Helper()
	files, err := manifest.ReadFiles(p.files, nil)
	if err != nil {
		t.Fatal(err)
	}
	return Import(files, p.opts)
}

func TestProjects(t *testing.T) {
	for _, p := range projects(t) {
		t.Run(p.name, func(t *testing.T) {
			t.Chdir(filepath.Join("testdata/projects", p.name))
			res := p.run(t)
			var notes strings.Builder
			if err := res.Notes.Render(&notes, manifest.Style{}); err != nil {
				t.Fatal(err)
			}
			if len(res.Faults) > 0 {
				notes.WriteString("---- faults\n")
				if err := res.Faults.Render(&notes, manifest.Style{}); err != nil {
					t.Fatal(err)
				}
			}
			for _, f := range append(res.Faults, res.Notes...) {
				if f.Line == 0 {
					t.Errorf("a fault has no place: %s", f)
				}
			}
			golden(t, "argosy.yaml", string(res.Manifest))
			golden(t, "notes", notes.String())
			if res.Manifest != nil {
				p.check(t, res.Manifest)
			}
		})
	}
}

// check has the manifest judged with the environment of the project and what its header says to export.
func (p project) check(t *testing.T, text []byte) {
	t.Helper()
	lookup := func(name string) (string, bool) {
		if v, ok := p.env[name]; ok {
			return v, true
		}
		return "1", strings.Contains(string(text), "export "+name+"=")
	}
	_, _, faults := manifest.Parse([]manifest.File{{Name: "argosy.yaml", Data: text}}, manifest.Options{LookupEnv: lookup, ReadFile: manifest.FilesBelow})
	if len(faults) > 0 {
		t.Errorf("the manifest is not valid:\n%v", faults.Err())
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	if *rewrite {
		var err error
		if got == "" {
			if err = os.Remove(name); os.IsNotExist(err) {
				err = nil
			}
		} else {
			err = os.WriteFile(name, []byte(got), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs; if it is right, run with -rewrite:\n%s", name, diff)
	}
}

// The example that the README shows comes over whole.
func TestExampleIsImported(t *testing.T) {
	const path = "../../examples/compose/compose.yaml"
	files, err := manifest.ReadFiles([]string{path}, nil)
	if err != nil {
		t.Fatal(err)
	}
	res := Import(files, Options{App: "blog"})
	if err := res.Faults.Err(); err != nil {
		t.Fatal(err)
	}
	spec, _, faults := manifest.Parse([]manifest.File{{Name: "blog.yaml", Data: res.Manifest}}, manifest.Options{})
	if err := faults.Err(); err != nil {
		t.Fatal(err)
	}
	if n := len(spec.GetContainers()); n != 3 {
		t.Errorf("the manifest has %d containers, the example 3 services", n)
	}
}
