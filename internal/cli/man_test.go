package cli

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// Every command has a page, with every section that people look for, in which every option of it is.
func TestManPagesOfAllCommands(t *testing.T) {
	root := testRoot()
	pages := manPages(root, "argosy test")
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		page, ok := pages[manName(c)+".1"]
		if !ok {
			t.Errorf("%s has no manual page", c.CommandPath())
		}
		for _, section := range []string{"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "SEE ALSO"} {
			if !strings.Contains(page, "\n.SH "+section+"\n") {
				t.Errorf("%s: its manual page has no section %s", c.CommandPath(), section)
			}
		}
		if c.Example != "" && !strings.Contains(page, "\n.SH EXAMPLES\n") {
			t.Errorf("%s: its manual page lacks the examples", c.CommandPath())
		}
		for _, sub := range documented(c) {
			visit(sub)
		}
	}
	visit(root)
	for name, page := range pages {
		for l := range strings.Lines(page) {
			_, also, ok := strings.Cut(l, ".BR ")
			if file, _, _ := strings.Cut(strings.ReplaceAll(also, `\-`, "-"), " "); ok && pages[file+".1"] == "" {
				t.Errorf("%s: see also %s, which is no page", name, file)
			}
		}
	}
}

// The formatter finds nothing to complain of.
func TestManPagesFormat(t *testing.T) {
	if _, err := exec.LookPath("groff"); err != nil {
		t.Fatal("groff is missing, and manual pages are tried with it: run make install-deps, or apt-get install groff-base")
	}
	dir := t.TempDir()
	pages := manPages(testRoot(), "argosy test")
	args := []string{"-man", "-Tutf8", "-ww", "-z"}
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(pages[name]), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
	}
	if out, err := exec.Command("groff", args...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("groff: %v\n%s", err, out)
	}
}

// One page as it is, to be judged when it changes: go test ./internal/cli -run ManPageOf -rewrite.
func TestManPageOfDiff(t *testing.T) {
	const golden = "testdata/argosy-diff.1"
	page := manPages(testRoot(), "argosy test")["argosy-diff.1"]
	if *rewrite {
		if err := os.WriteFile(golden, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), page); d != "" {
		t.Errorf("the page differs from %s; if it is right so, run: go test ./internal/cli -run ManPageOf -rewrite\n%s", golden, d)
	}
}

func TestRoff(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{".TH is no request here", "\\&.TH is no request here\n"},
		{"'nor this", "\\(aqnor this\n"},
		{`a\nb`, "a\\enb\n"},
		{"port-forward --to ~/x", "port\\-forward \\-\\-to \\(ti/x\n"},
		{"m1 → m2…", "m1 \\[u2192] m2\\[u2026]\n"},
		{"one\ntwo\n\n  three\n    four", "one\ntwo\n.PP\n.RS 4\n.nf\nthree\n  four\n.fi\n.RE\n"},
	} {
		if got := roffText(c.in); got != c.want {
			t.Errorf("roffText(%q) = %q, want %q", c.in, got, c.want)
		}
	}
	if got, want := roffWord(`a "b"`), `"a \(dqb\(dq"`; got != want {
		t.Errorf("roffWord: %s, want %s", got, want)
	}
}

// A command that can run out of time says with which exit code it ends then.
func TestExitCodesAreSaid(t *testing.T) {
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		_, exits := splitExits(c.Long)
		if c.Flags().Lookup("timeout") != nil && exits["3"] == "" {
			t.Errorf("%s has --timeout: its help has to say what exit code 3 is", c.CommandPath())
		}
		for code, meaning := range exits {
			if strings.Trim(code, "0123456789") != "" || meaning == "" {
				t.Errorf("%s: write \"Exit code 3: what it means.\"; this is %q: %q", c.CommandPath(), code, meaning)
			}
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(testRoot())
	for _, name := range []string{"plan", "diff"} {
		c, _, err := testRoot().Find([]string{name})
		if err != nil {
			t.Fatal(err)
		}
		if _, exits := splitExits(c.Long); exits["2"] == "" {
			t.Errorf("%s: its help has to say what exit code 2 is", name)
		}
	}
}
