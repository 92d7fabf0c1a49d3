// Package argosy holds the rules of the repository as tests. A failure names its cure.
package argosy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/argosy-cluster/argosy/"

// pure rooms decide: state in, plan out. They import nothing that reaches outside, and never ask for the time.
var pure = []string{
	"internal/agent/core", "internal/claims", "internal/definition", "internal/leader/core", "internal/orchestrator", "internal/placement",
	"internal/fault", "internal/rotation", "internal/scheduler", "internal/state", "internal/store/upkeep", "internal/unitfile",
	"internal/agent/volume/mountinfo", "internal/agent/volume/superblock", "internal/volumesource",
}

// forbidden to pure rooms.
var reaching = []string{
	"net", "net/http", "os", "os/exec", "io/ioutil", "log", "log/slog", "math/rand", "math/rand/v2", "crypto/rand", "syscall",
	"go.etcd.io/", "github.com/moby/", "github.com/vishvananda/", "connectrpc.com/",
}

type goFile struct {
	path string // slash-separated, from the root
	pkg  string // its directory
	ast  *ast.File
}

func goFiles(t *testing.T) []goFile {
	t.Helper()
	var out []goFile
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != "." && (strings.HasPrefix(name, ".") || name == "bin" || name == "testdata" || name == "tools" || name == "node_modules") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		f, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		slash := filepath.ToSlash(path)
		out = append(out, goFile{slash, filepath.ToSlash(filepath.Dir(path)), f})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 50 {
		t.Fatalf("only %d Go files were found: run this from the root of the repository", len(out))
	}
	return out
}

func (f goFile) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

func generated(f goFile) bool { return ast.IsGenerated(f.ast) }

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	docs := map[string]bool{}
	for _, f := range goFiles(t) {
		if f.isTest() || generated(f) {
			continue
		}
		docs[f.pkg] = docs[f.pkg] || f.ast.Doc != nil
	}
	for pkg, ok := range docs {
		if !ok {
			t.Errorf("%s has no package comment: add a doc.go that says what it is and shows its main loop", pkg)
		}
	}
}

func TestPureRoomsReachNothing(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.isTest() || !within(f.pkg, pure) {
			continue
		}
		for _, imp := range f.ast.Imports {
			path, _ := strconv.Unquote(imp.Path.Value)
			for _, bad := range reaching {
				if path == bad || strings.HasSuffix(bad, "/") && strings.HasPrefix(path, bad) {
					t.Errorf("%s imports %s, but %s decides and must not act: pass what it needs as a value, or do it in the actor", f.path, path, f.pkg)
				}
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" {
				switch sel.Sel.Name {
				case "Now", "Since", "Until", "Sleep", "After", "Tick", "NewTimer", "NewTicker", "AfterFunc":
					t.Errorf("%s calls time.%s, but %s must give the same answer for the same input: take the time as a parameter", f.path, sel.Sel.Name, f.pkg)
				}
			}
			return true
		})
	}
}

func within(pkg string, rooms []string) bool {
	for _, r := range rooms {
		if pkg == r || strings.HasPrefix(pkg, r+"/") {
			return true
		}
	}
	return false
}

// only says which packages alone may import something.
var only = map[string][]string{
	"go.yaml.in/yaml/":                 {"internal/manifest"},
	"github.com/compose-spec/":         {"internal/compose"},
	"github.com/sirupsen/logrus":       {"internal/compose"},
	module + "internal/compose":        {"internal/node"},
	"github.com/hanwen/go-fuse/":       {"test/sharedisk"},
	"go.etcd.io/etcd/server/":          {"internal/store/embedded"},
	"go.etcd.io/etcd/etcdutl/":         {"internal/store/embedded"},
	"go.etcd.io/etcd/client/":          {"internal/store", "internal/server"},
	module + "internal/store/external": {"internal/server", "internal/node"},
	module + "internal/backup":         {"internal/server", "internal/node"},
	"filippo.io/age":                   {"internal/backup"},
	"github.com/klauspost/compress":    {"internal/backup"},
	"github.com/vishvananda/netlink":   {"internal/network", "internal/localcluster"},
	module + "internal/store/memory":   {"internal/sim"},
	module + "internal/cli":            {"cmd/argosy", "cmd/argosyd", "internal/node"},
	module + "internal/node":           {"cmd/argosyd"},
	module + "internal/lsp":            {"internal/cli"},
	module + "internal/server":         {"internal/node"},
	module + "internal/agent/docker":   {"internal/agent"},
	module + "internal/agent/systemd":  {"internal/agent"},
	module + "internal/agent/volume":   {"internal/agent", "internal/guard", "cmd/argosy-guard", "internal/sim"},
	module + "internal/leader/core":    {"internal/leader", "internal/sim"},
	"github.com/distribution/":         {"internal/reference"}, // whose tests compare with it
	"github.com/spf13/cobra":           {"internal/cli"},
	"charm.land/":                      {"internal/cli"},
	"github.com/charmbracelet/":        {"internal/cli"},
	"github.com/miekg/dns":             {"internal/dns"},
	"sigs.k8s.io/knftables":            {"internal/network"},
	"github.com/moby/moby/client":      {"internal/agent", "internal/image", "internal/localcluster", "internal/network", "internal/node"},
	"github.com/prometheus/":           {"internal/server"},
	"github.com/minio/minio-go/":       {"internal/backup/target"},
	"go.opentelemetry.io/":             {"internal/tracing"},
	"github.com/coreos/go-systemd/":    {"internal/agent", "internal/node", "internal/server"},
	"github.com/godbus/dbus/":          {"internal/agent/systemd"},
	"connectrpc.com/connect":           {"api", "internal/agent", "internal/auth", "internal/cli", "internal/server", "internal/dispatcher", "internal/join", "internal/peers", "internal/protocol"},
}

func TestImportsStayInTheirRooms(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.isTest() || strings.HasPrefix(f.pkg, "test/") {
			continue
		}
		for _, imp := range f.ast.Imports {
			path, _ := strconv.Unquote(imp.Path.Value)
			for what, rooms := range only {
				hit := path == what || strings.HasPrefix(path, strings.TrimSuffix(what, "/")+"/")
				self := within(module+f.pkg, []string{strings.TrimSuffix(what, "/")})
				if hit && !self && !within(f.pkg, rooms) {
					t.Errorf("%s imports %s, which belongs to %s: go through that room, or change the rule in policy_test.go and say why in docs/design/DECISIONS.md", f.path, path, strings.Join(rooms, ", "))
				}
			}
		}
	}
}

// light are the modules that argosy itself may be linked with. What it is linked with, every command and every --help waits
// for; argosyd is there for all else.
var light = []string{
	"github.com/argosy-cluster/argosy", "google.golang.org/protobuf", "connectrpc.com/connect", "go.yaml.in/yaml/v4",
	"github.com/spf13/cobra", "github.com/spf13/pflag", "github.com/docker/go-units",
	"golang.org/x/sync", "golang.org/x/sys", "golang.org/x/term",
	// The live views, which cost two milliseconds.
	"charm.land/bubbletea/v2", "github.com/charmbracelet/colorprofile", "github.com/charmbracelet/ultraviolet", "github.com/charmbracelet/x/ansi",
	"github.com/charmbracelet/x/term", "github.com/charmbracelet/x/termios", "github.com/charmbracelet/x/windows",
	"github.com/clipperhouse/displaywidth", "github.com/clipperhouse/uax29/v2", "github.com/lucasb-eyer/go-colorful", "github.com/mattn/go-runewidth",
	"github.com/muesli/cancelreader", "github.com/rivo/uniseg", "github.com/xo/terminfo",
}

func TestArgosyIsLight(t *testing.T) {
	found := 0
	for pkg, mod := range linked(t, "./cmd/argosy") {
		found++
		if !slices.Contains(light, mod) {
			t.Errorf("cmd/argosy is linked with %s, and every command waits for that: move what needs it to internal/node, behind cli.Rooms", pkg)
		}
	}
	if found < 30 {
		t.Fatalf("only %d packages were found", found)
	}
}

// linked are the packages that an executable has, with their modules, but for the standard library.
func linked(t *testing.T, executable string) map[string]string {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}} {{end}}{{.ImportPath}}", executable).Output()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if mod, pkg, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			found[pkg] = mod
		}
	}
	return found
}

// TestLeasesAreSmall: what a lease depends on has no Engine's, systemd's or etcd's client in it, nor the rest of the protocol.
func TestLeasesAreSmall(t *testing.T) {
	for executable, room := range map[string]string{"cmd/argosy-witness": "internal/witness", "internal/guard": "internal/guard", "cmd/argosy-guard": "internal/guard"} {
		found := linked(t, "./"+executable)
		for pkg, mod := range found {
			own := pkg == module+"api/argosy/lease/v1" || within(pkg, []string{module + executable, module + room, module + "internal/claims",
				module + "internal/lease", module + "internal/version"})
			// A guard mounts.
			own = own || executable == "cmd/argosy-guard" && within(pkg, []string{module + "internal/agent/volume", module + "internal/volumesource", module + "internal/agent/host"})
			if !own && !slices.Contains([]string{"google.golang.org/protobuf", "golang.org/x/sys", "golang.org/x/sync"}, mod) {
				t.Errorf("%s is linked with %s: it must go on when nothing else does, so leave that to the server or agent beside it", executable, pkg)
			}
		}
		if found[module+room] == "" {
			t.Fatalf("%s is not among the %d packages of %s", room, len(found), executable)
		}
	}
}

func TestNoInit(t *testing.T) {
	for _, f := range goFiles(t) {
		if generated(f) {
			continue
		}
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s has an init function: do the work where it is needed, so that importing costs nothing", f.path)
			}
		}
	}
}

// What one package does when it is loaded, all commands wait for.
func TestLoadingIsCheap(t *testing.T) {
	for _, f := range goFiles(t) {
		if generated(f) || f.isTest() || strings.HasPrefix(f.pkg, "test/") {
			continue
		}
		for _, d := range f.ast.Decls {
			vars, ok := d.(*ast.GenDecl)
			if !ok || vars.Tok != token.VAR {
				continue
			}
			ast.Inspect(vars, func(n ast.Node) bool {
				if _, ok := n.(*ast.FuncLit); ok {
					return false // runs when it is called
				}
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				sel, ok := call.Fun.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				x, ok := sel.X.(*ast.Ident)
				if ok && (x.Name == "regexp" && strings.Contains(sel.Sel.Name, "Compile") || x.Name == "template" && sel.Sel.Name == "Must") {
					t.Errorf("%s compiles something as it is loaded, and every command pays for that: use internal/pattern, or sync.OnceValue", f.path)
				}
				return true
			})
		}
	}
}

// A replaced module is replaced only here, and what users build would be something else.
func TestModuleFilesNameNoLocalReplacement(t *testing.T) {
	b, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "\nreplace ") {
		t.Error("go.mod replaces a module: users' `go install` ignores that, so the build would differ; remove it")
	}
}
