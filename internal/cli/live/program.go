package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	tea "charm.land/bubbletea/v2"
	"golang.org/x/sync/errgroup"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// Source is a cluster as a view reads it. Its methods may be called side by side.
type Source interface {
	// Replicas tells of all replicas, then of what changes, until the context or the connection ends.
	Replicas(ctx context.Context, tell func(*argosyv1.WatchReplicasResponse)) error
	// Usage does so of what they use; with a key, of that replica and its members.
	Usage(ctx context.Context, of *argosyv1.ReplicaKey, tell func(*argosyv1.WatchUsageResponse)) error
	Machines(ctx context.Context) ([]*argosyv1.MachineStatus, error)
	// Explain is the answer of `argosy explain` as text.
	Explain(ctx context.Context, key *argosyv1.ReplicaKey) (string, error)
	// Command is the process that the terminal is handed to.
	Command(ctx context.Context, what Action, key *argosyv1.ReplicaKey, member string) (*exec.Cmd, error)
	// Refused reports whether an error will stay: asking again is no use.
	Refused(err error) bool
	// Say makes a sentence of an error.
	Say(err error) string
}

// How often the actor asks and tells.
const (
	machinesEvery = 2 * time.Second
	tickEvery     = time.Second
	retryAfter    = time.Second
	answerWithin  = 5 * time.Second
)

// Run shows a view on a terminal until somebody quits it or the process is asked to end. However it ends, it leaves the
// terminal as it found it.
func Run(ctx context.Context, src Source, in io.Reader, out io.Writer, env []string, m *Model) error {
	// Ctrl-C is a key here, and while a command has the terminal it is that command's. What ends the view is bubbletea's to
	// see, which restores the terminal first.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	p := &program{ctx: ctx, src: src, m: m, stops: make(chan os.Signal, 1)}
	p.tea = tea.NewProgram(p, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out), tea.WithEnvironment(env))
	signal.Notify(p.stops, syscall.SIGTSTP)
	defer signal.Stop(p.stops)
	_, err := p.tea.Run()
	switch {
	case p.failed != nil:
		return p.failed
	case errors.Is(err, tea.ErrInterrupted), errors.Is(err, context.Canceled) && !errors.Is(err, tea.ErrProgramPanic):
		return nil
	}
	return err
}

// program carries out what its model wants.
type program struct {
	ctx    context.Context
	src    Source
	m      *Model
	tea    *tea.Program
	failed error
	// stopMembers ends the watch of a replica's members.
	stopMembers context.CancelFunc
	// stops are requests to stop the process. released: the terminal is not ours now.
	stops    chan os.Signal
	released atomic.Bool
	screen   string
	drawn    bool
}

// own is a message of this package on its way through bubbletea.
type own struct{ Msg }

type fatal struct{ err error }

func (p *program) Init() tea.Cmd {
	return tea.Batch(p.watch, p.clock, p.obeyStops, func() tea.Msg { return own{Tick{time.Now()}} })
}

func (p *program) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	var in Msg
	switch msg := msg.(type) {
	case own:
		in = msg.Msg
	case tea.WindowSizeMsg:
		in = Resize{msg.Width, msg.Height}
	case tea.KeyPressMsg:
		in = Key{Name: msg.String(), Text: msg.Key().Text}
	case tea.PasteMsg:
		in = Key{Name: "paste", Text: msg.Content}
	case tea.MouseWheelMsg:
		switch msg.Button {
		case tea.MouseWheelUp:
			in = Wheel{-3}
		case tea.MouseWheelDown:
			in = Wheel{3}
		}
	case tea.ResumeMsg:
		p.released.Store(false)
	case fatal:
		p.failed = msg.err
		return p, tea.Quit
	}
	if in == nil {
		return p, nil
	}
	p.drawn = false
	var cmds []tea.Cmd
	for _, e := range p.m.Update(in) {
		cmds = append(cmds, p.carryOut(e))
	}
	return p, tea.Batch(cmds...)
}

func (p *program) View() tea.View {
	if !p.drawn {
		p.screen, p.drawn = p.m.View(), true
	}
	v := tea.NewView(p.screen)
	v.AltScreen = true
	v.MouseMode = tea.MouseModeCellMotion
	return v
}

func (p *program) send(m Msg) { p.tea.Send(own{m}) }

func (p *program) carryOut(e Effect) tea.Cmd {
	switch e := e.(type) {
	case Quit:
		return tea.Quit
	case Suspend:
		return p.suspend
	case Explain:
		return func() tea.Msg {
			ctx, cancel := context.WithTimeout(p.ctx, answerWithin)
			defer cancel()
			text, err := p.src.Explain(ctx, e.Key)
			if err != nil {
				return own{Notice{p.src.Say(err)}}
			}
			return own{Text{"explain", text}}
		}
	case WatchMembers:
		if p.stopMembers != nil {
			p.stopMembers()
			p.stopMembers = nil
		}
		if e.Key == nil {
			return nil
		}
		ctx, cancel := context.WithCancel(p.ctx)
		p.stopMembers = cancel
		return func() tea.Msg {
			p.again(ctx, func() error {
				return p.src.Usage(ctx, e.Key, func(c *argosyv1.WatchUsageResponse) { p.send(Usage{time.Now(), c, e.Key}) })
			})
			return nil
		}
	case HandOver:
		return p.handOver(e)
	}
	return nil
}

// again repeats a watch that breaks, until the context ends or it is refused.
func (p *program) again(ctx context.Context, watch func() error) {
	for {
		err := watch()
		if ctx.Err() != nil || p.src.Refused(err) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(retryAfter):
		}
	}
}

func (p *program) clock() tea.Msg {
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return nil
		case now := <-t.C:
			p.send(Tick{now})
		}
	}
}

// watch keeps the model told of the cluster. When one of its streams breaks, all begin anew: what one says must be no older
// than what another says.
func (p *program) watch() tea.Msg {
	for {
		err := p.session()
		switch {
		case p.ctx.Err() != nil:
			return nil
		case p.src.Refused(err):
			return fatal{err}
		}
		p.send(Link{At: time.Now(), Err: p.src.Say(err)})
		select {
		case <-p.ctx.Done():
			return nil
		case <-time.After(retryAfter):
		}
	}
}

func (p *program) session() error {
	g, ctx := errgroup.WithContext(p.ctx)
	g.Go(func() error {
		err := p.src.Replicas(ctx, func(c *argosyv1.WatchReplicasResponse) {
			p.send(Link{At: time.Now()})
			p.send(Replicas{time.Now(), c})
		})
		return ended(err)
	})
	g.Go(func() error { return p.pollMachines(ctx) })
	if !p.m.opts.Plain {
		g.Go(func() error {
			err := p.src.Usage(ctx, nil, func(c *argosyv1.WatchUsageResponse) { p.send(Usage{At: time.Now(), Change: c}) })
			return ended(err)
		})
	}
	return g.Wait()
}

// ended is the error of a watch that ended: it should not have.
func ended(err error) error {
	if err == nil {
		return errors.New("the server ended the watch")
	}
	return err
}

func (p *program) pollMachines(ctx context.Context) error {
	t := time.NewTicker(machinesEvery)
	defer t.Stop()
	for {
		asked, cancel := context.WithTimeout(ctx, answerWithin)
		list, err := p.src.Machines(asked)
		cancel()
		if err != nil {
			return err
		}
		p.send(Machines{time.Now(), list})
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}

// suspend gives the terminal back, and then stops the process: bubbletea sends its group the signal that obeyStops waits for.
func (p *program) suspend() tea.Msg {
	p.released.Store(true)
	return tea.SuspendMsg{}
}

// obeyStops does what Ctrl-Z asks for, wherever it comes from. Go never gives a signal that was once asked for its default
// back, so the process stops itself; while it shows a view, only after the terminal is as it was.
func (p *program) obeyStops() tea.Msg {
	for {
		select {
		case <-p.ctx.Done():
			return nil
		case <-p.stops:
			if p.released.Load() {
				_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
				continue
			}
			p.tea.Send(p.suspend())
		}
	}
}

// handOver gives the terminal to a command. Ctrl-C and Ctrl-Z are the command's then.
func (p *program) handOver(r HandOver) tea.Cmd {
	ctx, cancel := context.WithCancel(p.ctx)
	cmd, err := p.src.Command(ctx, r.What, r.Key, r.Member)
	if err != nil {
		cancel()
		return func() tea.Msg { return own{Notice{p.src.Say(err)}} }
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = answerWithin
	h := &handed{Cmd: cmd, cancel: cancel, quit: p.tea.Quit, released: &p.released}
	return tea.Exec(h, func(error) tea.Msg { // what went wrong was on the terminal
		cancel()
		return own{Tick{time.Now()}}
	})
}

// handed is a command that has the terminal.
type handed struct {
	*exec.Cmd
	cancel   func()
	quit     func()
	released *atomic.Bool
}

func (h *handed) SetStdin(r io.Reader)  { h.Stdin = r }
func (h *handed) SetStdout(w io.Writer) { h.Stdout = w }
func (h *handed) SetStderr(w io.Writer) { h.Stderr = w }

// Run runs the command. What it said stays to be read when it failed, or ended by itself.
func (h *handed) Run() error {
	h.released.Store(true)
	defer h.released.Store(false)
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	done := make(chan struct{})
	interrupted := make(chan bool, 1)
	go func() {
		was := false
		for {
			select {
			case s := <-signals:
				if s == syscall.SIGTERM {
					h.cancel()
					go h.quit()
				}
				was = true
			case <-done:
				interrupted <- was
				return
			}
		}
	}()
	err := h.Cmd.Run()
	close(done)
	if <-interrupted || err == nil && h.quiet() {
		return err
	}
	fmt.Fprint(h.Stdout, "\n[ended; press Enter to go back]")
	buf := make([]byte, 1)
	for {
		n, err := h.Stdin.Read(buf)
		if err != nil || n == 1 && buf[0] == '\n' {
			return nil
		}
	}
}

// quiet reports whether a command that succeeded has nothing more to be read: a shell that somebody left.
func (h *handed) quiet() bool { return !strings.Contains(strings.Join(h.Args, " "), " logs ") }
