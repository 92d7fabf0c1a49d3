package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"golang.org/x/term"
	"google.golang.org/protobuf/types/known/timestamppb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

func (a *app) logsCmd() *cobra.Command {
	req := &argosyv1.LogsRequest{}
	var tail int
	var ago time.Duration
	cmd := &cobra.Command{
		Use:   "logs APP[/STACK[.NUMBER][/CONTAINER]]",
		Short: "Show what containers wrote, of one or of many replicas",
		Example: `  argosy logs shop/lamp.3/apache
  argosy logs -f shop/lamp
  argosy logs --since 10m --timestamps shop`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeTargets,
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := parseTarget(args[0])
			if err != nil {
				return err
			}
			req.Tenant, req.App, req.Stack, req.Number, req.Member = a.tenant, t.app, t.stack, t.number, t.member
			switch {
			case tail < 0:
				req.All = true
			default:
				req.Tail = uint32(tail)
			}
			if ago > 0 {
				req.Since = timestamppb.New(time.Now().Add(-ago))
				req.All = !cmd.Flags().Changed("tail")
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			stream, err := c.streams().Logs(cmd.Context(), connect.NewRequest(req))
			if err != nil {
				return err
			}
			defer stream.Close()
			lines, warnings := 0, 0
			named := map[string]bool{}
			for stream.Receive() {
				if a.output == "name" {
					a.nameLogs(stream.Msg(), named)
				} else if err := a.showLogs(stream.Msg(), req.Timestamps, t.number != 0 && t.member != ""); err != nil {
					return err
				}
				lines += len(stream.Msg().Lines)
				if stream.Msg().Warning != "" {
					warnings++
				}
			}
			if err := stream.Err(); err != nil {
				return err
			}
			if lines == 0 && warnings > 0 { // nothing could be read, and why has been said
				return &exitError{code: exitFailed}
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&req.Follow, "follow", "f", false, "go on with what is written")
	cmd.Flags().IntVarP(&tail, "tail", "n", 200, "last lines of each container to begin with; -1 is all that is kept")
	cmd.Flags().DurationVar(&ago, "since", 0, "only lines of the last DURATION, for example 10m")
	cmd.Flags().BoolVarP(&req.Timestamps, "timestamps", "t", false, "show when each line was written")
	return cmd
}

// nameLogs names each container once that has written something.
func (a *app) nameLogs(m *argosyv1.LogsResponse, named map[string]bool) {
	if m.Warning != "" {
		a.note("argosy: %s", m.Warning)
	}
	for _, l := range m.Lines {
		if name := replicaName(l.GetKey()) + "/" + l.Member; !named[name] {
			named[name] = true
			fmt.Fprintln(a.sys.Out, name)
		}
	}
}

var logColors = []style{blue, green, yellow, "\x1b[35m", "\x1b[36m"}

func (a *app) showLogs(m *argosyv1.LogsResponse, stamps, single bool) error {
	if m.Warning != "" {
		a.note("argosy: %s", m.Warning)
	}
	colorful := a.colorful(a.sys.Out)
	var b strings.Builder
	for _, l := range m.Lines {
		if a.output == "json" {
			if err := a.printJSONLine(l); err != nil {
				return err
			}
			continue
		}
		if !single {
			name := replicaName(l.GetKey()) + "/" + l.Member
			if colorful {
				s := logColors[int(l.GetKey().GetNumber())%len(logColors)]
				name = string(s) + name + "\x1b[0m"
			}
			b.WriteString(name + "  ")
		}
		if stamps {
			b.WriteString(l.At.AsTime().Format(time.RFC3339Nano) + "  ")
		}
		b.Write(l.Text)
		b.WriteByte('\n')
	}
	_, err := io.WriteString(a.sys.Out, b.String())
	return err
}

func (a *app) execCmd() *cobra.Command {
	work := &argosyv1.ExecWork{}
	var interactive, noTTY bool
	var env []string
	cmd := &cobra.Command{
		Use:   "exec APP/STACK.NUMBER/CONTAINER [--] COMMAND [ARG...]",
		Short: "Run a command in a container, with a terminal if you have one",
		Long: `Run a command in a container, with a terminal if you have one.

Exit code: that of the command, once it has begun.`,
		Example: `  argosy exec shop/lamp.3/mysql -- mariadb --version
  argosy exec -i shop/lamp.3/mysql -- mariadb shop < dump.sql
  argosy exec -it shop/lamp.3/apache sh`,
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: a.completeTargets,
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := parseReplica(args[0])
			if err != nil {
				return err
			}
			if t.member == "" {
				return usageError("%q: name the container too, for example %s/apache", args[0], args[0])
			}
			command := args[1:]
			if command[0] == "--" { // flags end at the first argument, so this one is still there
				command = command[1:]
			}
			if len(command) == 0 {
				return usageError("there is no command to run")
			}
			work.Key, work.Member, work.Command = a.key(t), t.member, command
			work.Stdin = interactive
			work.Tty = work.Tty && !noTTY
			if work.Tty && !isTerminal(a.sys.In) {
				return usageError("-t needs a terminal, and standard input is none: leave it out")
			}
			work.Environment = map[string]string{}
			for _, e := range env {
				k, v, ok := strings.Cut(e, "=")
				if !ok {
					return usageError("--env %q: write NAME=value", e)
				}
				work.Environment[k] = v
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			return a.exec(cmd.Context(), c, work)
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&interactive, "interactive", "i", false, "pass standard input on")
	flags.BoolVarP(&work.Tty, "tty", "t", false, "with a terminal")
	flags.BoolVarP(&noTTY, "no-tty", "T", false, "without a terminal, even with -t")
	flags.StringVarP(&work.User, "user", "u", "", "user to run as")
	flags.StringVarP(&work.WorkingDir, "workdir", "w", "", "directory to run in")
	flags.StringArrayVarP(&env, "env", "e", nil, "set a variable: NAME=value")
	flags.SetInterspersed(false)
	return cmd
}

// exec runs work and returns an error that carries the command's exit code when that is not 0.
func (a *app) exec(ctx context.Context, c *connection, work *argosyv1.ExecWork) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream := c.streams().Exec(ctx)
	// net/http looks at the context only when the request's body has ended.
	defer context.AfterFunc(ctx, func() { _ = stream.CloseRequest() })()
	var mu sync.Mutex
	send := func(m *argosyv1.ExecRequest) error {
		mu.Lock()
		defer mu.Unlock()
		return stream.Send(m)
	}
	if work.Tty {
		restore, err := a.rawTerminal(ctx, work, send)
		if err != nil {
			return err
		}
		defer restore()
	}
	if err := send(&argosyv1.ExecRequest{Start: work}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if work.Stdin {
		go a.pumpStdin(send)
	}
	for {
		m, err := stream.Receive()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				return errors.New("the connection ended before the command did")
			}
			return err
		}
		switch d := m.Data.(type) {
		case *argosyv1.ExecResponse_Stdout:
			_, err = a.sys.Out.Write(d.Stdout)
		case *argosyv1.ExecResponse_Stderr:
			_, err = a.sys.Err.Write(d.Stderr)
		case *argosyv1.ExecResponse_End:
			if d.End.Error != "" {
				return errors.New(d.End.Error)
			}
			if d.End.ExitCode != 0 {
				return &exitError{code: int(d.End.ExitCode)}
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("writing what the command printed: %w", err)
		}
	}
}

func (a *app) pumpStdin(send func(*argosyv1.ExecRequest) error) {
	buf := make([]byte, 32<<10)
	for {
		n, err := a.sys.In.Read(buf)
		if n > 0 {
			if send(&argosyv1.ExecRequest{Data: &argosyv1.ExecRequest_Stdin{Stdin: append([]byte(nil), buf[:n]...)}}) != nil {
				return
			}
		}
		if err != nil {
			_ = send(&argosyv1.ExecRequest{Data: &argosyv1.ExecRequest_StdinClosed{StdinClosed: true}})
			return
		}
	}
}

// rawTerminal hands the terminal to the remote side and sends its size whenever that changes.
func (a *app) rawTerminal(ctx context.Context, work *argosyv1.ExecWork, send func(*argosyv1.ExecRequest) error) (func(), error) {
	fd := int(a.sys.In.(*os.File).Fd())
	if w, h, err := term.GetSize(fd); err == nil {
		work.Rows, work.Columns = uint32(h), uint32(w)
	}
	state, err := term.MakeRaw(fd)
	if err != nil {
		return nil, fmt.Errorf("preparing the terminal: %w", err)
	}
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-resized:
				if w, h, err := term.GetSize(fd); err == nil {
					_ = send(&argosyv1.ExecRequest{Data: &argosyv1.ExecRequest_Resize{Resize: &argosyv1.TerminalSize{Rows: uint32(h), Columns: uint32(w)}}})
				}
			}
		}
	}()
	return func() {
		signal.Stop(resized)
		_ = term.Restore(fd, state)
	}, nil
}
