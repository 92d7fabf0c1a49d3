package work

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/agent/dial"
	"github.com/argosy-cluster/argosy/internal/agent/docker"
	"github.com/argosy-cluster/argosy/internal/agent/systemd"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Engine reads logs, runs commands and handles files; docker.Engine is one.
type Engine interface {
	Logs(ctx context.Context, containerID string, opts docker.LogOptions, each func(docker.LogLine) error) error
	Exec(ctx context.Context, containerID string, x docker.Exec) (*docker.Process, error)
	Stat(ctx context.Context, containerID, path string) (docker.FileStat, error)
	ReadFiles(ctx context.Context, containerID, path string) (docker.FileStat, io.ReadCloser, error)
	WriteFiles(ctx context.Context, containerID, path string, tar io.Reader) error
}

// Members finds containers; executor.Executor does.
type Members interface {
	Member(k core.Key, member string) (core.Container, bool)
	// Assignment is what is wanted of a replica, nil when nothing is.
	Assignment(k core.Key) *argosyv1.Assignment
}

// Config of a Desk. Engine and Members are needed.
type Config struct {
	Engine  Engine
	Members Members
	// Dial connects to a port of a container; nil means dial.Port.
	Dial func(ctx context.Context, c core.Container, port uint16) (*net.TCPConn, error)
	// Journal reads what a unit wrote; nil means systemd.Logs.
	Journal func(ctx context.Context, c core.Container, opts docker.LogOptions, each func(docker.LogLine) error) error
	Log     *slog.Logger
	// Most works at a time; 0 means 256. A browser opens several connections at once through a forwarded port, and each is a
	// work, which costs at most a flow.Window of memory in each direction.
	Most int
}

// Desk does work.
type Desk struct {
	cfg    Config
	places chan struct{}
	under  sync.WaitGroup
}

// New makes a Desk.
func New(cfg Config) *Desk {
	if cfg.Most == 0 {
		cfg.Most = 256
	}
	if cfg.Dial == nil {
		cfg.Dial = dial.Port
	}
	if cfg.Journal == nil {
		cfg.Journal = systemd.Logs
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Desk{cfg: cfg, places: make(chan struct{}, cfg.Most)}
}

// Do attaches to the server and does the work, in a goroutine of its own that ends with ctx.
func (d *Desk) Do(ctx context.Context, client argosyv1connect.AgentServiceClient, w *argosyv1.Work) {
	crowded := false
	select {
	case d.places <- struct{}{}:
	default:
		crowded = true
	}
	d.under.Add(1)
	go func() {
		defer d.under.Done()
		if !crowded {
			defer func() { <-d.places }()
		}
		if err := d.attach(ctx, client, w, crowded); err != nil && ctx.Err() == nil {
			d.cfg.Log.Info("work ended early", "work", w.GetId(), "error", err)
		}
	}()
}

// Wait waits for all work to end.
func (d *Desk) Wait() { d.under.Wait() }

type bidi = connect.BidiStreamForClient[argosyv1.AttachRequest, argosyv1.AttachResponse]

// line is the stream of one work. Send is called by one goroutine at a time.
type line struct {
	id   string
	conn *bidi
	mu   sync.Mutex
	told bool
}

func (l *line) send(m *argosyv1.AttachRequest) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.told {
		m.WorkId, l.told = l.id, true
	}
	return l.conn.Send(m)
}

func (d *Desk) attach(ctx context.Context, client argosyv1connect.AgentServiceClient, w *argosyv1.Work, crowded bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn := client.Attach(ctx)
	defer conn.CloseResponse()
	l := &line{id: w.GetId(), conn: conn}
	// The server must know whom it hears before anything happens, even when nothing is said for an hour.
	if err := l.send(&argosyv1.AttachRequest{}); err != nil {
		_, rerr := conn.Receive()
		return fmt.Errorf("attach: %w", errors.Join(rerr, err))
	}
	said := make(chan *argosyv1.AttachResponse)
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		defer close(said)
		listen(ctx, cancel, conn, said)
	}()
	end := &argosyv1.WorkEnd{}
	var err error
	switch {
	case crowded:
		err = fmt.Errorf("this machine is doing %d works already; try again later", d.cfg.Most)
	case w.GetLogs() != nil:
		go input(ctx, nil, said)
		err = d.logs(ctx, l, w.GetLogs())
	case w.GetExec() != nil:
		var code int
		var p *docker.Process
		if p, err = d.start(ctx, w.GetExec()); err == nil {
			code, err = d.exec(ctx, l, p, said)
		}
		end.ExitCode = int32(code)
	case w.GetDial() != nil:
		err = d.dial(ctx, l, w.GetDial(), said)
	case w.GetCopy() != nil:
		err = d.copy(ctx, l, w.GetCopy(), said)
	default:
		err = errors.New("this agent does not know this kind of work; upgrade it")
	}
	if err != nil {
		end.Error = err.Error()
	}
	if ctx.Err() != nil { // the server has had enough
		return nil
	}
	go input(ctx, nil, said)
	err = errors.Join(l.send(&argosyv1.AttachRequest{Data: &argosyv1.AttachRequest_End{End: end}}), conn.CloseRequest())
	// To leave now would reset the stream, and what the server has not read yet would be lost on the way.
	t := time.NewTimer(partingTime)
	defer t.Stop()
	select {
	case <-heard:
	case <-t.C:
	}
	return err
}

// partingTime is how long the server may take to read what is left.
const partingTime = 10 * time.Second

// listen hands over what the server says, until it has had enough or is gone; then it ends the work.
func listen(ctx context.Context, cancel context.CancelFunc, conn *bidi, said chan<- *argosyv1.AttachResponse) {
	defer cancel()
	for {
		m, err := conn.Receive()
		if err != nil || m.GetCancel() {
			return
		}
		select {
		case said <- m:
		case <-ctx.Done():
			return
		}
	}
}

func (d *Desk) find(k *argosyv1.ReplicaKey, member string) (core.Container, error) {
	c, ok := d.cfg.Members.Member(core.KeyOf(k), member)
	if !ok {
		return c, fmt.Errorf("%s has no container %q on this machine", core.KeyOf(k), member)
	}
	return c, nil
}

// running finds a container that runs; unit says what to do instead where the member is a unit.
func (d *Desk) running(k *argosyv1.ReplicaKey, member, unit string) (core.Container, error) {
	c, err := d.find(k, member)
	if err == nil && c.Unit != nil {
		err = fmt.Errorf("%s/%s is a unit: %s", core.KeyOf(k), member, unit)
	}
	if err == nil && c.State != core.Running {
		err = fmt.Errorf("%s/%s does not run: it is %s", core.KeyOf(k), member, c.State)
	}
	return c, err
}

// againEvery is how often it is looked, in memory, whether a followed member has come back.
const againEvery = 250 * time.Millisecond

// logs streams a member's lines. Following goes on over restarts and replacements of its container.
func (d *Desk) logs(ctx context.Context, l *line, w *argosyv1.LogsWork) error {
	c, err := d.find(w.GetKey(), w.GetMember())
	if err != nil {
		return err
	}
	opts := docker.LogOptions{Follow: w.GetFollow(), Tail: int(min(w.GetTail(), 1<<20))}
	if w.GetAll() {
		opts.Tail = -1
	}
	if w.GetSince() != nil {
		opts.Since = w.GetSince().AsTime()
		if w.GetTail() == 0 {
			opts.Tail = -1
		}
	}
	last := time.Time{}
	each := func(x docker.LogLine) error {
		if x.At.After(last) {
			last = x.At
		}
		return l.send(&argosyv1.AttachRequest{Data: &argosyv1.AttachRequest_Log{Log: logLine(w, x)}})
	}
	if c.Unit != nil {
		return d.journal(ctx, w, c, opts, each)
	}
	for {
		err := d.cfg.Engine.Logs(ctx, c.ContainerID, opts, each)
		var fault *core.Fault
		removed := errors.As(err, &fault) && fault.Kind == core.FaultGone
		if !w.GetFollow() || err != nil && !removed {
			return err
		}
		if c, err = d.next(ctx, w, c); err != nil {
			return err
		}
		opts.Tail, opts.Since = -1, time.Time{}
		if !last.IsZero() {
			opts.Since = last.Add(time.Nanosecond)
		}
	}
}

// journal streams a unit's lines. Following ends when nothing wants the unit any more.
func (d *Desk) journal(ctx context.Context, w *argosyv1.LogsWork, c core.Container, opts docker.LogOptions, each func(docker.LogLine) error) error {
	if !w.GetFollow() {
		return d.cfg.Journal(ctx, c, opts, each)
	}
	own, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		t := time.NewTicker(againEvery)
		defer t.Stop()
		for own.Err() == nil {
			select {
			case <-own.Done():
			case <-t.C:
			}
			if _, there := d.cfg.Members.Member(core.KeyOf(w.GetKey()), w.GetMember()); !there && !d.wanted(w) {
				cancel()
			}
		}
	}()
	err := d.cfg.Journal(own, c, opts, each)
	if ctx.Err() == nil && own.Err() != nil {
		return errors.New("the unit is gone, and nothing wants another")
	}
	return err
}

// next waits for a member to run again after its container old ended.
func (d *Desk) next(ctx context.Context, w *argosyv1.LogsWork, old core.Container) (core.Container, error) {
	t := time.NewTicker(againEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return old, ctx.Err()
		case <-t.C:
		}
		c, ok := d.cfg.Members.Member(core.KeyOf(w.GetKey()), w.GetMember())
		if !ok {
			if !d.wanted(w) {
				return old, errors.New("the container is gone, and nothing wants another")
			}
			continue
		}
		if c.State == core.Running && (c.ContainerID != old.ContainerID || c.StartedAt.After(old.StartedAt)) {
			return c, nil
		}
	}
}

func (d *Desk) wanted(w *argosyv1.LogsWork) bool {
	a := d.cfg.Members.Assignment(core.KeyOf(w.GetKey()))
	if a.GetGoal() != argosyv1.ReplicaGoal_REPLICA_GOAL_RUN {
		return false
	}
	if slices.ContainsFunc(a.GetUnits(), func(u *argosyv1.Unit) bool { return u.GetName() == w.GetMember() }) {
		return true
	}
	return slices.ContainsFunc(a.GetContainers(), func(c *argosyv1.ContainerSpec) bool { return c.GetName() == w.GetMember() })
}

func logLine(w *argosyv1.LogsWork, x docker.LogLine) *argosyv1.LogLine {
	out := &argosyv1.LogLine{Stderr: x.Stderr, Text: x.Text, Key: w.GetKey(), Member: w.GetMember()}
	if !x.At.IsZero() {
		out.At = timestamppb.New(x.At)
	}
	return out
}

// start begins a command in a member's container.
func (d *Desk) start(ctx context.Context, w *argosyv1.ExecWork) (*docker.Process, error) {
	c, err := d.running(w.GetKey(), w.GetMember(), "it has no container to enter")
	if err != nil {
		return nil, err
	}
	return d.cfg.Engine.Exec(ctx, c.ContainerID, docker.Exec{
		Command: w.GetCommand(), TTY: w.GetTty(), Stdin: w.GetStdin(), Rows: w.GetRows(), Columns: w.GetColumns(),
		User: w.GetUser(), WorkingDir: w.GetWorkingDir(), Environment: w.GetEnvironment(),
	})
}

// exec passes on what a command writes and returns its exit code.
func (d *Desk) exec(ctx context.Context, l *line, p *docker.Process, said <-chan *argosyv1.AttachResponse) (int, error) {
	defer p.Close()
	stop := context.AfterFunc(ctx, p.Close)
	defer stop()
	over, done := context.WithCancel(ctx)
	defer done()
	go input(over, p, said)
	err := p.Output(func(stderr bool, b []byte) error {
		if stderr {
			return l.send(&argosyv1.AttachRequest{Data: &argosyv1.AttachRequest_Stderr{Stderr: b}})
		}
		return l.send(&argosyv1.AttachRequest{Data: &argosyv1.AttachRequest_Stdout{Stdout: b}})
	})
	if err != nil {
		return 0, err
	}
	return p.ExitCode(ctx)
}

// input moves what the server sends to the command, until ctx ends. Without a command it is passed over.
func input(ctx context.Context, p *docker.Process, said <-chan *argosyv1.AttachResponse) {
	for {
		var m *argosyv1.AttachResponse
		select {
		case <-ctx.Done():
			return
		case m = <-said:
		}
		switch what := m.GetData().(type) {
		case nil:
			if m == nil {
				return
			}
		case *argosyv1.AttachResponse_Stdin:
			if p == nil {
				continue
			}
			if _, err := p.Write(what.Stdin); err != nil {
				continue // the command ended or closed its input; its output says the rest
			}
		case *argosyv1.AttachResponse_StdinClosed:
			if p != nil {
				_ = p.CloseInput()
			}
		case *argosyv1.AttachResponse_Resize:
			if p != nil {
				_ = p.Resize(ctx, what.Resize.GetRows(), what.Resize.GetColumns())
			}
		}
	}
}
