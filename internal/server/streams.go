package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/state"
)

const (
	// attachTime is how long a machine may take to answer work that it was sent.
	attachTime = 10 * time.Second
	// maxLogSources is how many containers one request may read at once.
	maxLogSources = 500
)

// attachment is a stream that an agent opened to answer work. The handler of the agent's RPC owns the stream; the one who
// asked for the work uses it through here, until done is called.
type attachment struct {
	mu    sync.Mutex // guards sending
	ended bool
	write func(*argosyv1.AttachResponse) error
	in    chan *argosyv1.AttachRequest // closed when the agent has ended
	over  chan struct{}                // closed by done
}

// send fails once the stream is over.
func (a *attachment) send(m *argosyv1.AttachResponse) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return io.EOF
	}
	return a.write(m)
}

// receive returns io.EOF when the agent has ended, and ctx's error when that is over.
func (a *attachment) receive(ctx context.Context) (*argosyv1.AttachRequest, error) {
	select {
	case m, ok := <-a.in:
		if !ok {
			return nil, io.EOF
		}
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// done tells the agent to stop and lets its stream end. It is called once.
func (a *attachment) done() {
	_ = a.send(&argosyv1.AttachResponse{Data: &argosyv1.AttachResponse_Cancel{Cancel: true}})
	a.mu.Lock()
	a.ended = true
	a.mu.Unlock()
	close(a.over)
}

// waiting is work that was sent to a machine whose agent has not attached yet.
type waiting struct {
	machine string
	arrived chan *attachment
}

// attachments pairs agents' streams with those who asked for them.
type attachments struct {
	mu   sync.Mutex
	work map[string]*waiting
}

// ask sends work to a machine and waits for its agent to attach. The caller must call done.
func (s *Server) ask(ctx context.Context, machine string, w *argosyv1.Work) (*attachment, error) {
	w.Id = s.newID()
	wait := &waiting{machine: machine, arrived: make(chan *attachment, 1)}
	s.attachments.mu.Lock()
	s.attachments.work[w.Id] = wait
	s.attachments.mu.Unlock()
	defer func() {
		s.attachments.mu.Lock()
		delete(s.attachments.work, w.Id)
		s.attachments.mu.Unlock()
		// An agent that attached in the instant in which nobody waited any more must not wait for ever.
		select {
		case a := <-wait.arrived:
			a.done()
		default:
		}
	}()
	if err := s.leader.SendWork(machine, w); err != nil {
		return nil, connect.NewError(connect.CodeUnavailable, err)
	}
	timer := time.NewTimer(attachTime)
	defer timer.Stop()
	select {
	case a := <-wait.arrived:
		return a, nil
	case <-ctx.Done():
		return nil, rpcError(ctx.Err())
	case <-timer.C:
		return nil, connect.NewError(connect.CodeUnavailable, fmt.Errorf("the machine did not answer within %s", attachTime))
	}
}

// attach serves an agent's stream: it hands it to whoever asked for the work, and returns when they are done.
func (s *Server) attach(ctx context.Context, machine string, stream *connect.BidiStream[argosyv1.AttachRequest, argosyv1.AttachResponse]) error {
	first, err := stream.Receive()
	if err != nil {
		return err
	}
	s.attachments.mu.Lock()
	wait := s.attachments.work[first.WorkId]
	if wait != nil && wait.machine == machine {
		delete(s.attachments.work, first.WorkId)
	} else {
		wait = nil
	}
	s.attachments.mu.Unlock()
	if wait == nil {
		return notFound("nobody waits for this work any more")
	}
	a := &attachment{write: stream.Send, in: make(chan *argosyv1.AttachRequest), over: make(chan struct{})}
	wait.arrived <- a
	defer func() {
		a.mu.Lock()
		a.ended = true // the stream must not be written to once this handler has returned
		a.mu.Unlock()
		close(a.in)
	}()
	for m := first; ; {
		if m.Data != nil {
			select {
			case a.in <- m:
			case <-a.over:
				return nil
			}
		}
		if m, err = stream.Receive(); err != nil {
			return nil
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// streamService answers argosy.v1.StreamService.
type streamService struct{ *Server }

// source is one container to read the log of, or to run something in.
type source struct {
	key     *argosyv1.ReplicaKey
	member  string
	machine string
	name    string // the machine's
}

// sources finds the containers of an app that a request means.
func (s *Server) sources(sel selector, member string) ([]source, error) {
	var out []source
	err := s.read(func(_ time.Time, v *leader.View) error {
		if v.App(sel.tenant, sel.r.App) == nil {
			return notFound("there is no app %s; see 'argosy apps'", clip(sel.r.App))
		}
		replicas, err := sel.list(v)
		if err != nil {
			return err
		}
		known := map[string]bool{}
		for _, r := range replicas {
			_, containers := v.StackOf(state.KeyOf(r.Key).StackKey(), r.Revision)
			for _, c := range containers {
				known[c.Name] = true
				if r.Machine != "" && (member == "" || c.Name == member) {
					out = append(out, source{r.Key, c.Name, r.Machine, v.MachineName(r.Machine)})
				}
			}
		}
		switch {
		case len(replicas) == 0:
			return notFound("app %s has no such replica; see 'argosy ps %s'", sel.r.App, sel.r.App)
		case member != "" && !known[member]:
			return notFound("there is no container %s here; see 'argosy ps --members %s'", clip(member), sel.r.App)
		case len(out) == 0:
			return refused("it is on no machine yet: 'argosy explain' says why")
		case len(out) > maxLogSources:
			return refused("%d containers are too many to read at once (%d are the most): name a stack, a replica or a container", len(out), maxLogSources)
		}
		return nil
	})
	return out, err
}

func (s streamService) Logs(ctx context.Context, r *connect.Request[argosyv1.LogsRequest], out *connect.ServerStream[argosyv1.LogsResponse]) error {
	q := r.Msg
	sel, err := s.selector(ctx, &argosyv1.ListReplicasRequest{Tenant: q.Tenant, App: q.App, Stack: q.Stack, Number: q.Number})
	if err != nil {
		return err
	}
	sources, err := s.sources(sel, q.Member)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := make(chan *argosyv1.LogsResponse)
	var wg sync.WaitGroup
	for _, src := range sources {
		wg.Add(1)
		go func() {
			defer wg.Done()
			work := &argosyv1.LogsWork{Key: src.key, Member: src.member, Follow: q.Follow, Tail: q.Tail, All: q.All, Since: q.Since, Timestamps: q.Timestamps}
			if err := s.readLog(ctx, src, work, lines); err != nil && ctx.Err() == nil {
				warning := fmt.Sprintf("%s/%s on %s cannot be read: %s", state.KeyOf(src.key), src.member, src.name, plainError(err))
				sendTo(ctx, lines, &argosyv1.LogsResponse{Warning: warning})
			}
		}()
	}
	go func() {
		wg.Wait()
		close(lines)
	}()
	for m := range lines {
		if err := out.Send(m); err != nil {
			cancel()
			for range lines { //nolint:revive // let the readers end
			}
			return err
		}
	}
	return nil
}

func sendTo[T any](ctx context.Context, c chan<- T, v T) {
	select {
	case c <- v:
	case <-ctx.Done():
	}
}

func plainError(err error) string {
	var ce *connect.Error
	if errors.As(err, &ce) {
		return ce.Message()
	}
	return err.Error()
}

// readLog passes on one container's log until it ends or ctx does.
func (s *Server) readLog(ctx context.Context, src source, w *argosyv1.LogsWork, lines chan<- *argosyv1.LogsResponse) error {
	a, err := s.ask(ctx, src.machine, &argosyv1.Work{Kind: &argosyv1.Work_Logs{Logs: w}})
	if err != nil {
		return err
	}
	defer a.done()
	for {
		m, err := a.receive(ctx)
		if err != nil {
			if errors.Is(err, io.EOF) {
				return errors.New("the machine's connection ended")
			}
			return err
		}
		switch d := m.Data.(type) {
		case *argosyv1.AttachRequest_Log:
			d.Log.Key, d.Log.Member = src.key, src.member
			sendTo(ctx, lines, &argosyv1.LogsResponse{Lines: []*argosyv1.LogLine{d.Log}})
		case *argosyv1.AttachRequest_End:
			if d.End.Error != "" {
				return errors.New(d.End.Error)
			}
			return nil
		}
	}
}

func (s streamService) Exec(ctx context.Context, stream *connect.BidiStream[argosyv1.ExecRequest, argosyv1.ExecResponse]) error {
	first, err := stream.Receive()
	if err != nil {
		return err
	}
	start := first.GetStart()
	if start == nil || len(start.Command) == 0 || start.GetKey().GetNumber() == 0 || start.Member == "" {
		return invalid("exec needs a replica, a container and a command")
	}
	k := start.Key
	sel, err := s.selector(ctx, &argosyv1.ListReplicasRequest{Tenant: k.Tenant, App: k.App, Stack: k.Stack, Number: k.Number})
	if err != nil {
		return err
	}
	sources, err := s.sources(sel, start.Member)
	if err != nil {
		return err
	}
	work := proto.CloneOf(start)
	work.Key = sources[0].key
	if err := s.audit(ctx, work); err != nil {
		return err
	}
	a, err := s.ask(ctx, sources[0].machine, &argosyv1.Work{Kind: &argosyv1.Work_Exec{Exec: work}})
	if err != nil {
		return err
	}
	defer a.done()
	go passInput(stream, a)
	return passOutput(ctx, a, stream)
}

// passInput sends what the caller types to the machine, until the caller ends.
func passInput(from *connect.BidiStream[argosyv1.ExecRequest, argosyv1.ExecResponse], to *attachment) {
	for {
		m, err := from.Receive()
		if err != nil {
			return
		}
		var out *argosyv1.AttachResponse
		switch d := m.Data.(type) {
		case *argosyv1.ExecRequest_Stdin:
			out = &argosyv1.AttachResponse{Data: &argosyv1.AttachResponse_Stdin{Stdin: d.Stdin}}
		case *argosyv1.ExecRequest_StdinClosed:
			out = &argosyv1.AttachResponse{Data: &argosyv1.AttachResponse_StdinClosed{StdinClosed: true}}
		case *argosyv1.ExecRequest_Resize:
			out = &argosyv1.AttachResponse{Data: &argosyv1.AttachResponse_Resize{Resize: d.Resize}}
		default:
			continue
		}
		if to.send(out) != nil {
			return
		}
	}
}

// passOutput sends what the command writes to the caller, until the command ends.
func passOutput(ctx context.Context, from *attachment, to *connect.BidiStream[argosyv1.ExecRequest, argosyv1.ExecResponse]) error {
	for {
		m, err := from.receive(ctx)
		if err != nil {
			return connect.NewError(connect.CodeUnavailable, errors.New("the machine's connection ended before the command did"))
		}
		var out *argosyv1.ExecResponse
		switch d := m.Data.(type) {
		case *argosyv1.AttachRequest_Stdout:
			out = &argosyv1.ExecResponse{Data: &argosyv1.ExecResponse_Stdout{Stdout: d.Stdout}}
		case *argosyv1.AttachRequest_Stderr:
			out = &argosyv1.ExecResponse{Data: &argosyv1.ExecResponse_Stderr{Stderr: d.Stderr}}
		case *argosyv1.AttachRequest_End:
			return to.Send(&argosyv1.ExecResponse{Data: &argosyv1.ExecResponse_End{End: d.End}})
		default:
			continue
		}
		if err := to.Send(out); err != nil {
			return err
		}
	}
}

// audit records who ran what in a container. What they type is not recorded.
func (s *Server) audit(ctx context.Context, w *argosyv1.ExecWork) error {
	return rpcError(s.leader.Propose(ctx, func(time.Time, *leader.View) (leader.Proposal, error) {
		return leader.Proposal{Transitions: []*argosyv1.Transition{{Kind: argosyv1.TransitionKind_TRANSITION_KIND_SECURITY,
			Replica: w.Key, Member: w.Member, To: "command run", Cause: clip(w.Command[0]), Actor: actorOf(ctx)}}}, nil
	}))
}
