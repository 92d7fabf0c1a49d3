package cli

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var rewrite = flag.Bool("rewrite", false, "write docs/cli.md anew")

const docsFile = "../../docs/cli.md"

const docsHead = `# Commands

<!-- Made from the commands themselves: go test ./internal/cli -run Docs -rewrite -->

Every command says the same with ` + "`--help`" + `. ` + "`argosy completion bash`" + ` (or zsh, fish) prints what your shell needs to complete
commands, apps, stacks, replicas, machines, secrets, images, revisions and everything else that has a name.

With ` + "`-o json` or `-o yaml`" + ` programs read one document, keys always in the same order; ` + "`-o wide`" + ` adds columns to a table, and
` + "`-o name`" + ` is one name a line.

## Which cluster is asked

The first of these that there is:

1. ` + "`--server`" + ` or ` + "`ARGOSY_SERVER`" + `: ` + "`unix:///path`" + ` of a server's socket, or the name of a cluster that you logged in to;
2. the socket of a server on this host, ` + "`/run/argosy/server.sock`" + `;
3. the cluster that you logged in to last (` + "`argosy login`" + `).

When none answers, the message says which was asked, who named it and what to do: see [troubleshooting](troubleshooting.md#commands).
Of a login's addresses each has 5 seconds, one after another.

## How things are named

| written | means |
|---|---|
| ` + "`shop`" + ` | an app |
| ` + "`shop/lamp`" + ` | a stack of it, all replicas |
| ` + "`shop/lamp.3`" + ` | one replica |
| ` + "`shop/lamp.3/apache`" + ` | one container of it |
| ` + "`shop/lamp/apache`" + ` | that container of every replica |

## Exit codes

| code | |
|---|---|
| 0 | done |
| 1 | it failed; the sentence on standard error says why and what to do |
| 2 | ` + "`argosy plan`" + ` found something to do, ` + "`argosy diff`" + ` a difference |
| 3 | ` + "`--wait` or `argosy wait`" + ` ran out of time; the cluster goes on by itself |
| 64 | the command line was wrong |
| 130 | interrupted |

` + "`argosy exec`" + ` ends with the exit code of the command that it ran.

`

// docs is the text of docs/cli.md.
func docs(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString(docsHead)
	b.WriteString("## Flags of every command\n\n")
	writeFlags(&b, root.PersistentFlags())
	for _, g := range root.Groups() {
		fmt.Fprintf(&b, "## %s\n\n", strings.TrimSuffix(g.Title, ":"))
		for _, c := range root.Commands() {
			if c.GroupID == g.ID {
				writeCommand(&b, c)
			}
		}
	}
	b.WriteString("## Others\n\n")
	for _, c := range root.Commands() {
		if c.GroupID == "" && c.IsAvailableCommand() && c.Name() != "help" && c.Name() != "completion" {
			writeCommand(&b, c)
		}
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func writeCommand(b *strings.Builder, c *cobra.Command) {
	fmt.Fprintf(b, "### %s\n\n", c.CommandPath())
	if c.HasSubCommands() {
		fmt.Fprintf(b, "%s\n\n", strings.TrimSuffix(description(c), ".")+".")
	} else {
		fmt.Fprintf(b, "    %s\n\n%s\n\n", c.UseLine(), strings.TrimSuffix(description(c), ".")+".")
	}
	if len(c.Aliases) > 0 {
		fmt.Fprintf(b, "Also: `%s`.\n\n", strings.Join(c.Aliases, "`, `"))
	}
	writeFlags(b, c.LocalNonPersistentFlags())
	if c.Example != "" {
		fmt.Fprintf(b, "```\n%s\n```\n\n", strings.ReplaceAll(strings.TrimPrefix(c.Example, "  "), "\n  ", "\n"))
	}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			writeCommand(b, sub)
		}
	}
}

func description(c *cobra.Command) string {
	if c.Long != "" {
		return c.Long
	}
	return c.Short
}

func writeFlags(b *strings.Builder, flags *pflag.FlagSet) {
	var rows []string
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		name := "`--" + f.Name + "`"
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		usage := f.Usage
		switch f.DefValue {
		case "", "false", "0", "0s", "[]":
		default:
			usage += " (default `" + f.DefValue + "`)"
		}
		rows = append(rows, fmt.Sprintf("| %s | %s |\n", name, strings.ReplaceAll(usage, "|", `\|`)))
	})
	if len(rows) > 0 {
		fmt.Fprintf(b, "| flag | |\n|---|---|\n%s\n", strings.Join(rows, ""))
	}
}

func testRoot() *cobra.Command {
	root, _ := newRoot(IO{In: &bytes.Buffer{}, Out: &bytes.Buffer{}, Err: &bytes.Buffer{}, LookupEnv: func(string) (string, bool) { return "", false }}, nil)
	return root
}

func TestDocsAreCurrent(t *testing.T) {
	want := docs(testRoot())
	if *rewrite {
		if err := os.WriteFile(docsFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(have), want); d != "" {
		t.Errorf("docs/cli.md is not what the commands say; run: go test ./internal/cli -run Docs -rewrite\n%s", d)
	}
}

// Every command says what it is for, one that takes arguments or flags shows how it is used, and every flag says what it
// does in the same form: no capital, no full stop.
func TestCommandsExplainThemselves(t *testing.T) {
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: Short is %q: write what it is for, without a full stop", c.CommandPath(), c.Short)
		}
		if c.Long != "" && !strings.HasSuffix(c.Long, ".") {
			t.Errorf("%s: Long does not end with a full stop", c.CommandPath())
		}
		if c.Example == "" {
			t.Errorf("%s has no example: show how it is typed, each line after two spaces", c.CommandPath())
		}
		for l := range strings.Lines(c.Example) {
			if !strings.HasPrefix(l, "  ") || !strings.Contains(l, "argosy ") {
				t.Errorf("%s: the example %q begins with no two spaces or does not call argosy", c.CommandPath(), l)
			}
		}
		c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" || strings.HasSuffix(f.Usage, ".") || f.Usage[:1] != strings.ToLower(f.Usage[:1]) {
				t.Errorf("%s --%s: usage is %q: say what it does, without capital and full stop", c.CommandPath(), f.Name, f.Usage)
			}
		})
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(testRoot())
}

// TestNames: each command is found by the name that it has, so that it can be made alone.
func TestNames(t *testing.T) {
	_, a := newRoot(IO{In: &bytes.Buffer{}, Out: &bytes.Buffer{}, Err: &bytes.Buffer{}, LookupEnv: func(string) (string, bool) { return "", false }}, []string{"ps"})
	for _, c := range a.commands() {
		if got := c.make().Name(); got != c.name {
			t.Errorf("the command %s is listed as %s", got, c.name)
		}
		root, _ := newRoot(a.sys, []string{c.name, "--help"})
		if n := len(root.Commands()); n != 1 {
			t.Errorf("%s is made together with %d others", c.name, n-1)
		}
	}
}
