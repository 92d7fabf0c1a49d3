package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

const onlyHelp = "prints its help"

// noFormats are the commands that no story tries with each output format, and why.
var noFormats = map[string]string{
	"image":           onlyHelp,
	"backup":          onlyHelp,
	"secret":          onlyHelp,
	"registry":        onlyHelp,
	"token":           onlyHelp,
	"unit":            onlyHelp,
	"cluster":         onlyHelp,
	"agent":           "runs until it is stopped",
	"server":          "runs until it is stopped",
	"lsp":             "speaks a protocol",
	"exec":            "its output is the command's own",
	"cp":              "its output may be an archive",
	"port-forward":    "runs until it is stopped",
	"logs":            "needs containers that run",
	"completion":      "its output is a program for a shell",
	"join":            "makes the host a machine, as root",
	"leave":           "takes the host out of a cluster, as root",
	"login":           "needs a token, which works once",
	"token revoke":    "needs a token's id; answers as secret delete does",
	"machines label":  "needs a machine; answers as secret delete does",
	"volumes release": "needs a shared volume, which needs machines with guards; answers as secret delete does",
	"machines remove": "needs a machine; answers as secret delete does",
	"machines show":   "needs a machine; shows an element of what machines list shows",
	"servers remove":  "needs a second server; answers as secret delete does",
	"server recover":  "ends what a cluster was, once",
	"image load":      "needs an image; the story of images has it",
	"image remove":    "needs an image; the story of images has it",
	"cluster up":      "makes machines, as root",
	"cluster down":    "removes machines, as root",
	"cluster engine":  "has nothing to show but that it starts",
	"cluster list":    "shows what is on the host, which others change meanwhile",
}

// Every command that shows something is tried with each output format, by a line that begins with formats in a script of
// cmd/argosy; or it says here why not.
func TestFormatsAreTried(t *testing.T) {
	scripts, err := filepath.Glob("../../cmd/argosy/testdata/script/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	line := regexp.MustCompile(`(?m)^!? *formats .*\bargosy (.*)$`)
	tried := map[string]bool{}
	for _, script := range scripts {
		b, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range line.FindAllSubmatch(b, -1) {
			c, _, err := testRoot().Find(strings.Fields(string(m[1])))
			if err != nil {
				t.Fatalf("%s: %s: %v", script, m[0], err)
			}
			tried[strings.TrimPrefix(c.CommandPath(), "argosy ")] = true
		}
	}
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		name := strings.TrimPrefix(c.CommandPath(), "argosy ")
		switch reason := noFormats[name]; {
		case tried[name] && reason != "":
			t.Errorf("%s is tried with each format: it needs no reason why not", name)
		case !tried[name] && reason == "":
			t.Errorf("%s: write a line that begins with formats into a script (formats.txtar), or say in noFormats why there is none", name)
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	root := testRoot()
	for _, c := range root.Commands() {
		visit(c)
	}
	for name := range noFormats {
		if c, _, err := root.Find(strings.Fields(name)); name != "completion" && (err != nil || c.CommandPath() != "argosy "+name) {
			t.Errorf("noFormats: there is no command %s", name)
		}
	}
}
