package work

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"connectrpc.com/connect"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/agent/docker"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Engine reads logs and runs commands; docker.Engine is one.
type Engine interface {
	Logs(ctx context.Context, containerID string, opts docker.LogOptions, each func(docker.LogLine) error) error
	Exec(ctx context.Context, containerID string, x docker.Exec) (*docker.Process, error)
}

// Members finds containers; executor.Executor does.
type Members interface {
	Member(k core.Key, member string) (core.Container, bool)
}

// Config of a Desk. Engine and Members are needed.
type Config struct {
	Engine  Engine
	Members Members
	Log     *slog.Logger
	// Most works at a time; 0 means 64.
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
		cfg.Most = 64
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
	end := &argosyv1.WorkEnd{}
	var err error
	switch {
	case crowded:
		err = fmt.Errorf("this machine is doing %d works already; try again later", d.cfg.Most)
	case w.GetLogs() != nil:
		go cancelled(conn, cancel)
		err = d.logs(ctx, l, w.GetLogs())
	case w.GetExec() != nil:
		var code int
		code, err = d.exec(ctx, cancel, l, w.GetExec())
		end.ExitCode = int32(code)
	default:
		err = errors.New("this agent does not know this kind of work; upgrade it")
	}
	if err != nil {
		end.Error = err.Error()
	}
	if ctx.Err() != nil { // the server has had enough
		return nil
	}
	return errors.Join(l.send(&argosyv1.AttachRequest{Data: &argosyv1.AttachRequest_End{End: end}}), conn.CloseRequest())
}

// cancelled ends work that takes no input when the server says so or goes away.
func cancelled(conn *bidi, cancel context.CancelFunc) {
	defer cancel()
	for {
		m, err := conn.Receive()
		if err != nil || m.GetCancel() {
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
	for {
		if err := d.cfg.Engine.Logs(ctx, c.ContainerID, opts, each); err != nil || !w.GetFollow() {
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
			return old, errors.New("its container is gone")
		}
		if c.State == core.Running && (c.ContainerID != old.ContainerID || c.StartedAt.After(old.StartedAt)) {
			return c, nil
		}
	}
}

func logLine(w *argosyv1.LogsWork, x docker.LogLine) *argosyv1.LogLine {
	out := &argosyv1.LogLine{Stderr: x.Stderr, Text: x.Text, Key: w.GetKey(), Member: w.GetMember()}
	if !x.At.IsZero() {
		out.At = timestamppb.New(x.At)
	}
	return out
}

func (d *Desk) exec(ctx context.Context, cancel context.CancelFunc, l *line, w *argosyv1.ExecWork) (int, error) {
	c, err := d.find(w.GetKey(), w.GetMember())
	if err != nil {
		return 0, err
	}
	if c.State != core.Running {
		return 0, fmt.Errorf("%s/%s does not run: it is %s", core.KeyOf(w.GetKey()), w.GetMember(), c.State)
	}
	p, err := d.cfg.Engine.Exec(ctx, c.ContainerID, docker.Exec{
		Command: w.GetCommand(), TTY: w.GetTty(), Stdin: w.GetStdin(), Rows: w.GetRows(), Columns: w.GetColumns(),
		User: w.GetUser(), WorkingDir: w.GetWorkingDir(), Environment: w.GetEnvironment(),
	})
	if err != nil {
		return 0, err
	}
	defer p.Close()
	stop := context.AfterFunc(ctx, p.Close)
	defer stop()
	go input(ctx, cancel, l.conn, p)
	err = p.Output(func(stderr bool, b []byte) error {
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

// input moves what the server sends to the command.
func input(ctx context.Context, cancel context.CancelFunc, conn *bidi, p *docker.Process) {
	for {
		m, err := conn.Receive()
		if err != nil {
			cancel()
			return
		}
		switch what := m.GetData().(type) {
		case *argosyv1.AttachResponse_Stdin:
			if _, err := p.Write(what.Stdin); err != nil {
				continue // the command ended or closed its input; its output says the rest
			}
		case *argosyv1.AttachResponse_StdinClosed:
			_ = p.CloseInput()
		case *argosyv1.AttachResponse_Resize:
			_ = p.Resize(ctx, what.Resize.GetRows(), what.Resize.GetColumns())
		case *argosyv1.AttachResponse_Cancel:
			cancel()
			return
		}
	}
}
