package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

const (
	// attachTime is how long a machine may take to answer work that it was sent, and a caller to say what it wants.
	attachTime = 10 * time.Second
	// endTime is how long a machine may take to read that its work is over.
	endTime = 5 * time.Second
)

// attachment is a stream that an agent opened to answer work. The handler of the agent's RPC alone writes to the stream;
// the one who asked for the work uses it through here, until done is called. Nobody waits for the other for ever: a peer
// that reads nothing holds up its own stream only.
type attachment struct {
	out  chan *argosyv1.AttachResponse
	in   chan *argosyv1.AttachRequest // closed when the agent has ended
	gone chan struct{}                // closed when the handler has returned
	over chan struct{}                // closed by done
}

func newAttachment() *attachment {
	return &attachment{out: make(chan *argosyv1.AttachResponse), in: make(chan *argosyv1.AttachRequest),
		gone: make(chan struct{}), over: make(chan struct{})}
}

// send fails once the stream is over.
func (a *attachment) send(m *argosyv1.AttachResponse) error {
	select {
	case a.out <- m:
		return nil
	case <-a.gone:
		return io.EOF
	case <-a.over:
		return io.EOF
	}
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
func (a *attachment) done() { close(a.over) }

// waiting is work that was sent to a machine whose agent has not attached yet.
type waiting struct {
	machine string
	arrived chan *attachment
}

// attachments pairs agents' streams with those who asked for them.
type attachments struct {
	// patience is how long a machine may take to attach.
	patience time.Duration

	mu   sync.Mutex
	work map[string]*waiting // by the work's id
}

func (as *attachments) expect(id, machine string) *waiting {
	as.mu.Lock()
	defer as.mu.Unlock()
	w := &waiting{machine: machine, arrived: make(chan *attachment, 1)}
	if as.work == nil {
		as.work = map[string]*waiting{}
	}
	as.work[id] = w
	return w
}

// take hands out work to the machine it was sent to, once.
func (as *attachments) take(id, machine string) *waiting {
	as.mu.Lock()
	defer as.mu.Unlock()
	w := as.work[id]
	if w == nil || w.machine != machine {
		return nil
	}
	delete(as.work, id)
	return w
}

func (as *attachments) forget(id string, w *waiting) {
	as.mu.Lock()
	delete(as.work, id)
	as.mu.Unlock()
	// An agent that attached in the instant in which nobody waited any more must not wait for ever.
	select {
	case a := <-w.arrived:
		a.done()
	default:
	}
}

// ask sends work to a machine and waits for its agent to attach. The caller must call done.
func (s *Server) ask(ctx context.Context, machine string, w *argosyv1.Work) (*attachment, error) {
	w.Id = s.newID()
	wait := s.attachments.expect(w.Id, machine)
	defer s.attachments.forget(w.Id, wait)
	if err := s.leader.SendWork(machine, w); err != nil {
		return nil, connect.NewError(connect.CodeUnavailable, err)
	}
	timer := time.NewTimer(s.attachments.patience)
	defer timer.Stop()
	select {
	case a := <-wait.arrived:
		return a, nil
	case <-ctx.Done():
		return nil, rpcError(ctx.Err())
	case <-timer.C:
		return nil, connect.NewError(connect.CodeUnavailable, fmt.Errorf("the machine did not answer within %s", s.attachments.patience))
	}
}

// attach serves an agent's stream: it hands it to whoever asked for the work, and returns when they are done.
func (s *Server) attach(ctx context.Context, machine string, stream *connect.BidiStream[argosyv1.AttachRequest, argosyv1.AttachResponse]) error {
	first, err := firstMessage(ctx, stream)
	if err != nil {
		return err
	}
	wait := s.attachments.take(first.WorkId, machine)
	if wait == nil {
		return notFound("nobody waits for this work any more")
	}
	a := newAttachment()
	defer close(a.gone)
	wait.arrived <- a
	go a.listen(first, stream)
	defer a.boundWrites(ctx)()
	for {
		select {
		case m := <-a.out:
			if stream.Send(m) != nil {
				return nil
			}
		case <-a.over:
			_ = stream.Send(&argosyv1.AttachResponse{Data: &argosyv1.AttachResponse_Cancel{Cancel: true}})
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// listen passes on what the agent sends, until it or the asker ends. It ends with the handler, whose stream then fails.
func (a *attachment) listen(m *argosyv1.AttachRequest, stream *connect.BidiStream[argosyv1.AttachRequest, argosyv1.AttachResponse]) {
	defer close(a.in)
	var err error
	for err == nil {
		if m.Data != nil {
			select {
			case a.in <- m:
			case <-a.over:
				return
			}
		}
		m, err = stream.Receive()
	}
}

// boundWrites ends a write that an agent holds up by not reading, once nobody needs the stream any more. What it returns
// must be called before the handler returns.
func (a *attachment) boundWrites(ctx context.Context) (stop func()) {
	ended, watching := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watching)
		select {
		case <-a.over:
			deadlines(ctx, func(c *http.ResponseController) error { return c.SetWriteDeadline(time.Now().Add(endTime)) })
		case <-ended:
		}
	}()
	return func() {
		close(ended)
		<-watching
	}
}

// firstMessage waits for what a caller wants, for a while: who opens streams and says nothing shall not keep them.
func firstMessage[Req, Res any](ctx context.Context, stream *connect.BidiStream[Req, Res]) (*Req, error) {
	deadlines(ctx, func(c *http.ResponseController) error { return c.SetReadDeadline(time.Now().Add(attachTime)) })
	m, err := stream.Receive()
	if errors.Is(err, io.EOF) {
		return nil, invalid("the stream ended before it said what it is for")
	}
	deadlines(ctx, func(c *http.ResponseController) error { return c.SetReadDeadline(time.Time{}) })
	return m, err
}

type controllerKey struct{}

// withDeadlines lets handlers of streams set deadlines for a request, which has none of its own.
func withDeadlines(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), controllerKey{}, http.NewResponseController(w))))
	})
}

// deadlines sets one. A connection that knows none (there is none such here) goes without.
func deadlines(ctx context.Context, set func(*http.ResponseController) error) {
	if c, ok := ctx.Value(controllerKey{}).(*http.ResponseController); ok {
		_ = set(c)
	}
}
