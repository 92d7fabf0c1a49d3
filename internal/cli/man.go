package cli

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/argosy-cluster/argosy/internal/handover"
	"github.com/argosy-cluster/argosy/internal/version"
)

// manCmd is for those who install or package Argosy: `make man` calls it.
func (a *app) manCmd() *cobra.Command {
	return &cobra.Command{
		Use: "man DIRECTORY", Short: "Write a manual page for each command into a directory", Hidden: true,
		Example: "  argosy man /usr/local/share/man/man1", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("making the directory for manual pages: %w", err)
			}
			root, _ := newRoot(a.sys, nil) // this command may have been made alone
			root.InitDefaultHelpCmd()
			root.InitDefaultCompletionCmd()
			pages := manPages(root, "argosy "+version.Version)
			names := slices.Sorted(maps.Keys(pages))
			for _, name := range names {
				if err := os.WriteFile(filepath.Join(args[0], name), []byte(pages[name]), 0o644); err != nil {
					return fmt.Errorf("writing a manual page: %w", err)
				}
			}
			return a.told(map[string]any{"pages": names}, names, "%s: %s", args[0], plural(uint32(len(names)), "manual page"))
		},
	}
}

// manPages are the manual pages of a command and of all below it, by the names of their files. They say nothing of the day
// on which they are made, so that the same program has the same pages. The format is written here, since it is little, and
// the way by Markdown would bring two packages more into every start of the program.
func manPages(c *cobra.Command, source string) map[string]string {
	pages := map[string]string{}
	if !c.HasParent() {
		c.InitDefaultCompletionCmd()
		pages[handover.Heavy+".1"] = manHeavy(source)
	}
	pages[manName(c)+".1"] = manPage(c, source)
	for _, sub := range documented(c) {
		maps.Copy(pages, manPages(sub, source))
	}
	return pages
}

// documented lists the commands below one that people are told of.
func documented(c *cobra.Command) []*cobra.Command {
	return slices.DeleteFunc(slices.Clone(c.Commands()), func(sub *cobra.Command) bool {
		return !sub.IsAvailableCommand() || sub.Name() == "help"
	})
}

// manHeavy is the page of argosyd. What it can do stands in those of argosy.
func manHeavy(source string) string {
	return fmt.Sprintf(".TH %s 1 \"\" %s %s\n.nh\n.ad l\n.SH NAME\n%s \\- %s\n.SH SYNOPSIS\n\\fB%s\\fR COMMAND\n.SH DESCRIPTION\n%s.SH SEE ALSO\n.BR argosy (1)\n",
		roffWord(strings.ToUpper(handover.Heavy)), roffWord(source), roffWord("Argosy"), handover.Heavy, roff(heavyShort), handover.Heavy, roffText(heavyLong))
}

func manName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

func manPage(c *cobra.Command, source string) string {
	c.InitDefaultHelpFlag() // otherwise only the command that runs has it
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 1 \"\" %s %s\n.nh\n.ad l\n", roffWord(strings.ToUpper(manName(c))), roffWord(source), roffWord("Argosy"))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(manName(c)), roff(c.Short))
	b.WriteString(".SH SYNOPSIS\n")
	if len(documented(c)) > 0 {
		fmt.Fprintf(&b, "\\fB%s\\fR COMMAND\n", roff(c.CommandPath()))
	}
	if c.RunE != nil && c.HasParent() || c.Run != nil {
		if len(documented(c)) > 0 {
			b.WriteString(".br\n")
		}
		fmt.Fprintf(&b, "\\fB%s\\fR%s\n", roff(c.CommandPath()), roff(strings.TrimPrefix(c.UseLine(), c.CommandPath())))
	}
	text, exits := splitExits(cmp.Or(c.Long, c.Short+"."))
	b.WriteString(".SH DESCRIPTION\n" + roffText(text))
	if len(c.Aliases) > 0 {
		fmt.Fprintf(&b, ".PP\nIt may be called %s, too.\n", roff(strings.Join(c.Aliases, " or ")))
	}
	manCommands(&b, c)
	manFlags(&b, "OPTIONS", c.LocalNonPersistentFlags())
	shared := c.Root().PersistentFlags()
	manFlags(&b, "OPTIONS OF EVERY COMMAND", shared)
	if c.Example != "" {
		b.WriteString(".SH EXAMPLES\n" + roffBlock(strings.Split(c.Example, "\n")))
	}
	manExits(&b, exits)
	b.WriteString(".SH ENVIRONMENT\n")
	for _, v := range manEnvironment {
		fmt.Fprintf(&b, ".TP\n\\fB%s\\fR\n%s", roff(v.name), roffText(v.text))
	}
	manSeeAlso(&b, c)
	return b.String()
}

func manCommands(b *strings.Builder, c *cobra.Command) {
	begun := false
	for _, sub := range documented(c) {
		if !begun {
			b.WriteString(".SH COMMANDS\n")
			begun = true
		}
		fmt.Fprintf(b, ".TP\n\\fB%s\\fR\n%s", roff(sub.CommandPath()), roffText(sub.Short+"."))
	}
}

func manFlags(b *strings.Builder, title string, flags *pflag.FlagSet) {
	begun := false
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		if !begun {
			fmt.Fprintf(b, ".SH %s\n", title)
			begun = true
		}
		value, usage := pflag.UnquoteUsage(f)
		word := `\fB` + roff("--"+f.Name) + `\fR`
		if f.Shorthand != "" {
			word = `\fB` + roff("-"+f.Shorthand) + `\fR, ` + word
		}
		if value != "" {
			word += ` \fI` + roff(value) + `\fR`
		}
		switch f.DefValue {
		case "", "false", "0", "0s", "[]":
		default:
			usage += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(b, ".TP\n%s\n%s", word, roffText(usage))
	})
}

// exitCodes is what every command ends with; what a command's own text says of a code goes before it.
var exitCodes = []struct{ code, text string }{
	{"0", "done"},
	{"1", "it failed; the sentence on standard error says why and what to do"},
	{"64", "the command line was wrong"},
	{"130", "interrupted"},
}

// exitMark begins what a command's text says of an exit code.
const exitMark = "Exit code"

// splitExits takes the paragraphs about exit codes from a command's text: what each code means, and under no code what is
// said of all.
func splitExits(long string) (text string, exits map[string]string) {
	exits = map[string]string{}
	var rest []string
	for _, paragraph := range strings.Split(long, "\n\n") {
		if !strings.HasPrefix(paragraph, exitMark) {
			rest = append(rest, paragraph)
			continue
		}
		for _, part := range strings.Split(strings.ReplaceAll(paragraph, "\n", " "), exitMark)[1:] {
			code, meaning, _ := strings.Cut(part, ":")
			exits[strings.TrimSpace(code)] = strings.TrimSuffix(strings.TrimSpace(meaning), ".")
		}
	}
	return strings.Join(rest, "\n\n"), exits
}

func manExits(b *strings.Builder, exits map[string]string) {
	b.WriteString(".SH EXIT STATUS\n")
	said := maps.Clone(exits)
	for _, e := range exitCodes {
		said[e.code] = cmp.Or(said[e.code], e.text)
	}
	if all := said[""]; all != "" {
		b.WriteString(roffText(strings.ToUpper(all[:1]) + all[1:] + ". Otherwise:"))
		delete(said, "")
	}
	codes := slices.SortedFunc(maps.Keys(said), func(x, y string) int {
		return cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y)) // they are numbers
	})
	for _, code := range codes {
		fmt.Fprintf(b, ".TP\n\\fB%s\\fR\n%s", code, roffText(said[code]))
	}
}

// manEnvironment is what commands take from the environment.
var manEnvironment = []struct{ name, text string }{
	{"ARGOSY_SERVER", "server to ask, where --server does not say"},
	{"ARGOSY_TENANT", "tenant to act for, where --tenant does not say"},
	{"DOCKER_HOST", "where the Docker Engine answers that agent, cluster and image load talk to (default unix:///var/run/docker.sock)"},
	{"NO_COLOR", "no colour when set, unless --color says always"},
	{"XDG_CONFIG_HOME", "where logins are kept, in the directory argosy below it (default ~/.config)"},
}

func manSeeAlso(b *strings.Builder, c *cobra.Command) {
	also := documented(c)
	if p := c.Parent(); p != nil {
		also = append([]*cobra.Command{p}, also...)
		if len(also) == 1 { // what stands beside it
			also = append(also, slices.DeleteFunc(documented(p), func(s *cobra.Command) bool { return s == c || s.GroupID != c.GroupID })...)
		}
	}
	b.WriteString(".SH SEE ALSO\n")
	for i, s := range also {
		comma := ","
		if i == len(also)-1 {
			comma = ""
		}
		fmt.Fprintf(b, ".BR %s (1)%s\n", roff(manName(s)), comma)
	}
}

var roffMarks = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`)

// roff writes a text so that nothing in it means anything to the formatter, and that it can be copied from a page.
func roff(s string) string {
	var b strings.Builder
	for _, r := range roffMarks.Replace(s) {
		if r > '~' { // formatters disagree about what bytes beyond ASCII are
			fmt.Fprintf(&b, `\[u%04X]`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// roffWord is an argument of a request.
func roffWord(s string) string { return `"` + strings.ReplaceAll(roff(s), `"`, `\(dq`) + `"` }

// roffLine is a line of text; one that began with a dot would be a request.
func roffLine(s string) string {
	if s = roff(s); strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	return s + "\n"
}

// roffBlock is lines as they are, moved in.
func roffBlock(lines []string) string {
	indent := len(lines[0])
	for _, l := range lines {
		if l != "" {
			indent = min(indent, len(l)-len(strings.TrimLeft(l, " ")))
		}
	}
	var b strings.Builder
	b.WriteString(".RS 4\n.nf\n")
	for _, l := range lines {
		b.WriteString(roffLine(l[min(indent, len(l)):]))
	}
	b.WriteString(".fi\n.RE\n")
	return b.String()
}

// roffText is paragraphs. One with columns keeps its lines, others are filled.
func roffText(s string) string {
	var b strings.Builder
	for i, paragraph := range strings.Split(strings.TrimSpace(strings.ReplaceAll(s, "\t", "    ")), "\n\n") {
		if i > 0 {
			b.WriteString(".PP\n")
		}
		lines := strings.Split(strings.Trim(paragraph, "\n"), "\n")
		if strings.Contains(paragraph, "  ") {
			b.WriteString(roffBlock(lines))
			continue
		}
		for _, l := range lines {
			b.WriteString(roffLine(strings.TrimSpace(l)))
		}
	}
	return b.String()
}
