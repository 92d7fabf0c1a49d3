package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/argosy-cluster/argosy/internal/handover"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailed  = 1
	exitChanges = 2
	exitTimeout = 3
	exitUsage   = 64
	// exitInterrupted is what shells make of Ctrl-C.
	exitInterrupted = 130
)

// exitError carries an exit code. An empty message prints nothing: what there was to say has been said.
type exitError struct {
	code int
	msg  string
}

func (e *exitError) Error() string { return e.msg }

func usageError(format string, args ...any) error {
	return &exitError{code: exitUsage, msg: fmt.Sprintf(format, args...)}
}

// IO is what a command has around it: what it reads from and writes to, the environment, and the rooms that are slow to load.
type IO struct {
	In       io.Reader
	Out, Err io.Writer
	// LookupEnv reads the environment.
	LookupEnv func(string) (string, bool)
	// Rooms are argosyd's, nil elsewhere.
	Rooms *Rooms
	// handedOver says that argosy had the arguments first.
	handedOver bool
	// HandOver replaces the process with argosyd, which gets the arguments. It returns only when that failed; nil cannot.
	HandOver func(args []string) error
}

// Getenv is a variable's value, empty when it is not set.
func (s IO) Getenv(name string) string {
	v, _ := s.LookupEnv(name)
	return v
}

// System is the process's own input, output and environment.
func System() IO {
	return IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, LookupEnv: os.LookupEnv, HandOver: handover.To}
}

// Process runs the command that this process was started for and returns its exit code. Rooms are nil where it is argosy.
func Process(rooms *Rooms) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// After the first signal the next one kills: a command that does not end can always be stopped.
	context.AfterFunc(ctx, stop)
	sys := System()
	sys.Rooms = rooms
	if rooms != nil {
		var err error
		if sys.handedOver, err = handover.Taken(); err != nil {
			fmt.Fprintln(sys.Err, "argosy: "+err.Error())
			return exitFailed
		}
	}
	return Main(ctx, os.Args[1:], sys)
}

// Main runs one command and returns the exit code of the process.
func Main(ctx context.Context, args []string, sys IO) int {
	root, a := newRoot(sys, args)
	root.SetArgs(args)
	a.args = args
	a.ctx = ctx
	cmd, err := root.ExecuteContextC(ctx)
	if ctx.Err() == nil && !isDial(err) {
		a.renewLogin(ctx)
	}
	if err == nil {
		return exitOK
	}
	var exit *exitError
	if errors.As(err, &exit) {
		if exit.msg != "" {
			fmt.Fprintln(sys.Err, "argosy: "+exit.msg)
		}
		return exit.code
	}
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || connect.CodeOf(err) == connect.CodeCanceled) {
		fmt.Fprintln(sys.Err, "argosy: interrupted")
		return exitInterrupted
	}
	msg := err.Error()
	if isUsage(msg) {
		fmt.Fprintf(sys.Err, "argosy: %s%s\nRun 'argosy --help', or --help after a command, to see how it is used.\n", msg, meant(cmd, err))
		return exitUsage
	}
	fmt.Fprintln(sys.Err, "argosy: "+a.explainError(err))
	return exitFailed
}

// isUsage recognises the errors that cobra and pflag make of a wrong command line; they have no type.
func isUsage(msg string) bool {
	for _, p := range []string{"unknown command", "unknown flag", "unknown shorthand", "flag needs an argument",
		"invalid argument", "accepts ", "requires at least", "required flag", "if any flags in the group", "bad flag syntax"} {
		if strings.HasPrefix(msg, p) {
			return true
		}
	}
	return false
}

// app is what all commands share: the global flags and the process's surroundings.
type app struct {
	sys    IO
	args   []string
	server string
	// serverFrom is who named the server.
	serverFrom origin
	// local is the socket that is asked where nobody names a server.
	local  string
	tenant string
	// ctx ends when the command is interrupted.
	ctx context.Context
	// asked is where the command looked for a server; see connect.
	asked asked
	// output is table, json or name; wide is a table with more columns, yaml is JSON in another dress.
	output     string
	wide, yaml bool
	// written is whether a document of YAML was: another needs a line between.
	written bool
	color   string
	// login is the one that the command was carried out as, nil where it needed none.
	login *login
}

var outputs = []string{"table", "wide", "json", "yaml", "name"}

const rootLong = `Argosy turns a set of Linux machines into one place to run stacks of containers.

A manifest says what each container is, which of them belong together in a stack, and how many of each stack the cluster
needs. 'argosy apply' makes it so, 'argosy ps' shows it, 'argosy explain' says why.`

const rootExample = `  argosy validate examples/lamp/lamp.yaml
  argosy plan examples/lamp/lamp.yaml
  argosy apply examples/lamp/lamp.yaml --wait
  argosy ps
  argosy scale shop/lamp=7
  argosy logs -f shop/lamp.3/apache
  argosy explain shop/lamp.3`

// heavyShort and heavyLong are what argosyd says of itself when somebody asks it.
const heavyShort = "Argosy with the rooms that are slow to load"

const heavyLong = `argosyd is what argosy becomes to run a server or an agent, to join, to read Compose files and to start local clusters:
the same commands, and the rooms that they need, which are slow to load. Units of systemd may name it; people use argosy.`

// newRoot is the tree of commands. Where args begin with the name of one, it is the only one in it: to make all of them takes
// as long as many a command.
func newRoot(sys IO, args []string) (*cobra.Command, *app) {
	a := &app{sys: sys, local: defaultSocket, ctx: context.Background()}
	root := &cobra.Command{
		Use:           handover.Light,
		Short:         "A cluster manager for stacks of containers",
		Long:          rootLong,
		Example:       rootExample,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	if sys.Rooms != nil && !sys.handedOver {
		root.Use, root.Short, root.Long, root.Example = handover.Heavy, heavyShort, heavyLong, "  argosyd server\n  argosyd agent"
	}
	root.SetIn(sys.In)
	root.SetOut(sys.Out)
	root.SetErr(sys.Err)
	flags := root.PersistentFlags()
	flags.StringVar(&a.server, "server", "", "server to ask: unix:///path or the name of a cluster logged in to (env ARGOSY_SERVER)")
	flags.StringVar(&a.tenant, "tenant", "", "tenant to act for (env ARGOSY_TENANT; default: your own)")
	flags.StringVarP(&a.output, "output", "o", "table", "output format: table, wide, json, yaml or name")
	flags.StringVar(&a.color, "color", "auto", "colour: auto, always or never")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp))
	_ = root.RegisterFlagCompletionFunc("server", a.completeLogins)
	_ = root.RegisterFlagCompletionFunc("tenant", none)
	_ = root.RegisterFlagCompletionFunc("color", cobra.FixedCompletions([]string{"auto", "always", "never"}, cobra.ShellCompDirectiveNoFileComp))
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return a.checkFlags() }
	root.AddGroup(
		&cobra.Group{ID: "apps", Title: "Apps:"},
		&cobra.Group{ID: "look", Title: "Look:"},
		&cobra.Group{ID: "cluster", Title: "The cluster:"},
		&cobra.Group{ID: "run", Title: "On the machines themselves:"},
	)
	commands := a.commands()
	if len(args) > 0 {
		if i := slices.IndexFunc(commands, func(c entry) bool { return c.name == args[0] }); i >= 0 {
			commands = commands[i : i+1]
		}
	}
	for _, c := range commands {
		made := c.make()
		made.GroupID = c.group
		root.AddCommand(made)
	}
	return root, a
}

// entry is a command by its name, not made yet.
type entry struct {
	name, group string
	make        func() *cobra.Command
}

// commands are all that there are, in the groups that help shows; those without one are last.
func (a *app) commands() []entry {
	return []entry{
		{"validate", "apps", a.validateCmd},
		{"schema", "apps", a.schemaCmd},
		{"lsp", "apps", a.lspCmd},
		{"import", "apps", a.importCmd},
		{"plan", "apps", a.planCmd},
		{"diff", "apps", a.diffCmd},
		{"apply", "apps", a.applyCmd},
		{"render", "apps", a.renderCmd},
		{"wait", "apps", a.waitCmd},
		{"scale", "apps", a.scaleCmd},
		{"rollback", "apps", a.rollbackCmd},
		{"restart", "apps", a.restartCmd},
		{"delete", "apps", a.deleteCmd},
		{"unit", "apps", a.unitCmd},
		{"secret", "apps", a.secretCmd},
		{"image", "apps", a.imageCmd},
		{"registry", "apps", a.registryCmd},
		{"ps", "look", a.psCmd},
		{"top", "look", a.topCmd},
		{"apps", "look", a.appsCmd},
		{"explain", "look", a.explainCmd},
		{"volumes", "look", a.volumesCmd},
		{"logs", "look", a.logsCmd},
		{"exec", "look", a.execCmd},
		{"port-forward", "look", a.portForwardCmd},
		{"cp", "look", a.copyCmd},
		{"events", "look", a.eventsCmd},
		{"revisions", "look", a.revisionsCmd},
		{"machines", "cluster", a.machinesCmd},
		{"servers", "cluster", a.serversCmd},
		{"token", "cluster", a.tokenCmd},
		{"login", "cluster", a.loginCmd},
		{"ca", "cluster", a.caCmd},
		{"status", "cluster", a.statusCmd},
		{"backup", "cluster", a.backupCmd},
		{"cluster", "cluster", a.localClusterCmd},
		{"server", "run", a.serverCmd},
		{"agent", "run", a.agentCmd},
		{"join", "run", a.joinCmd},
		{"leave", "run", a.leaveCmd},
		{"version", "", a.versionCmd},
		{"man", "", a.manCmd},
	}
}

func (a *app) checkFlags() error {
	switch a.output {
	case "table", "json", "name":
	case "wide":
		a.output, a.wide = "table", true
	case "yaml":
		a.output, a.yaml = "json", true
	default:
		return usageError("--output %q is not known: use table, wide, json, yaml or name", a.output)
	}
	switch a.color {
	case "auto", "always", "never":
	default:
		return usageError("--color %q is not known: use auto, always or never", a.color)
	}
	switch env := a.sys.Getenv("ARGOSY_SERVER"); {
	case a.server != "" && a.serverFrom == fromNobody:
		a.serverFrom = fromFlag
	case a.server == "" && env != "":
		a.server, a.serverFrom = env, fromEnvironment
	}
	if a.tenant == "" {
		a.tenant = a.sys.Getenv("ARGOSY_TENANT")
	}
	return nil
}
