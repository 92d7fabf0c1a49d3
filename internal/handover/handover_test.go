package handover

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/argosy-cluster/argosy/internal/version"
)

// TestMain lets the test executable be argosy or argosyd: it hands over, or prints what was handed to it.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case Light:
		version.Version = os.Getenv("VERSION_OF_ARGOSY")
		say("argosy", To(os.Args[1:]))
	case Heavy:
		version.Version = os.Getenv("VERSION_OF_ARGOSYD")
		taken, err := Taken()
		_, left := os.LookupEnv(variable)
		if err == nil && taken && !left {
			os.Stdout.WriteString("argosyd carries out " + strings.Join(os.Args[1:], " ") + "\n")
			return
		}
		say("argosyd", err)
	default:
		os.Exit(m.Run())
	}
}

func say(who string, err error) {
	if err != nil {
		os.Stderr.WriteString(who + ": " + err.Error() + "\n")
	}
	os.Exit(1)
}

// install copies the test executable to a path below dir.
func install(t *testing.T, dir, path string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestHandOver(t *testing.T) {
	for _, c := range []struct {
		name, at, path string // where argosyd is, and what PATH is
		version, want  string
	}{
		{"beside", "bin/argosyd", "", "here", "argosyd carries out server --name a b\n"},
		{"in libexec", "libexec/argosy/argosyd", "", "here", "argosyd carries out server --name a b\n"},
		{"by PATH", "elsewhere/argosyd", "elsewhere", "here", "argosyd carries out server --name a b\n"},
		{"nowhere", "elsewhere/argosyd", "", "here", "argosy: argosyd is missing, which has what this needs: it is neither in DIR/bin or DIR/libexec/argosy nor in PATH\n" +
			"Install it beside DIR/bin/argosy, from the same build: 'make install' does\n"},
		{"another version", "bin/argosyd", "", "there", "argosyd: argosy is version here, but DIR/bin/argosyd is there: install the two of one build, as 'make install' does\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			argosy := install(t, dir, "bin/argosy")
			install(t, dir, c.at)
			link := filepath.Join(dir, "link") // where argosyd is, is decided by the file
			if err := os.Mkdir(link, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(argosy, filepath.Join(link, Light)); err != nil {
				t.Fatal(err)
			}
			for _, as := range []string{argosy, filepath.Join(link, Light)} {
				cmd := exec.Command(as, "server", "--name", "a b")
				cmd.Env = []string{"PATH=" + filepath.Join(dir, c.path), "VERSION_OF_ARGOSYD=" + c.version, "VERSION_OF_ARGOSY=here"}
				out, _ := cmd.CombinedOutput()
				if got := strings.ReplaceAll(string(out), dir, "DIR"); got != c.want {
					t.Errorf("as %s: got %q, want %q", as, got, c.want)
				}
			}
		})
	}
}

// An argosyd that is argosy would hand over to itself for ever.
func TestNotToItself(t *testing.T) {
	dir := t.TempDir()
	argosy := install(t, dir, "argosy")
	cmd := exec.Command(argosy)
	cmd.Env = []string{"PATH=", variable + "=" + version.Version}
	install(t, dir, "argosyd")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "is argosy (") {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestPlaces(t *testing.T) {
	for path, want := range map[string][]string{
		"/usr/bin/argosy":             {"/usr/bin", "/usr/libexec/argosy"},
		"/usr/libexec/argosy/argosyd": {"/usr/libexec/argosy", "/usr/bin"},
		"/home/a/src/build/argosy":    {"/home/a/src/build"},
		"/argosy":                     {"/"},
	} {
		if got := places(path); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", path, got, want)
		}
	}
}
