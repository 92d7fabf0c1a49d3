package leader

import (
	"context"
	"errors"
	"fmt"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/dispatcher"
)

// Session serves a machine's stream until it ends. The machine id is the one that its certificate proved. It returns nil
// when the machine hung up or was refused, and an error when the stream should be retried elsewhere or at once.
func (l *Leader) Session(ctx context.Context, machineID string, stream dispatcher.Stream) error {
	first, err := stream.Receive()
	if err != nil {
		return fmt.Errorf("waiting for the machine's hello: %w", err)
	}
	hello := first.GetHello()
	if hello == nil {
		return errors.New("the first message of a session must be a hello")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	heard := l.cfg.Now()
	host, s, wake, refusal := l.open(heard, machineID, hello)
	if host == nil && l.cfg.Greet != nil {
		if stream, heard, err = l.stand(ctx, machineID, stream); err != nil {
			return err
		}
		host, s, wake, refusal = l.open(heard, machineID, hello)
	}
	switch {
	case host == nil:
		return ErrNotLeading
	case refusal != nil:
		return stream.Send(&argosyv1.SessionResponse{Message: &argosyv1.SessionResponse_Refusal{Refusal: refusal}})
	}
	defer host.close(s)
	go func() {
		select {
		case <-host.reign.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	return dispatcher.Serve(ctx, host, s, stream, wake)
}

// host lets the sessions of one term at its core.
type host struct {
	l     *Leader
	reign *reign
}

// open begins a machine's session, which gave its last sign of life at heard.
func (l *Leader) open(heard time.Time, machineID string, hello *argosyv1.Hello) (*host, *dispatcher.Session, <-chan struct{}, *argosyv1.Refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.reign
	if r == nil {
		return nil, nil, nil, nil
	}
	wake := make(chan struct{}, 1)
	s, refusal := r.core.Open(heard, machineID, hello)
	if s != nil {
		r.wakes[s] = wake
	}
	l.flush()
	return &host{l, r}, s, wake, refusal
}

// Receive takes in a message of a session.
func (h *host) Receive(s *dispatcher.Session, msg *argosyv1.SessionRequest) error {
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	if h.l.reign != h.reign {
		return ErrNotLeading
	}
	// What a process that stood still finds in its sockets may have waited there as long.
	now := h.l.cfg.Now()
	if !h.reign.core.Awake(now) {
		h.l.nudge()
		return ErrNotLeading
	}
	err := h.reign.core.Receive(now, s, msg)
	h.l.flush()
	return err
}

// Next is the next message for a session.
func (h *host) Next(s *dispatcher.Session) *argosyv1.SessionResponse {
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	if h.l.reign != h.reign {
		return nil
	}
	return h.reign.core.Next(s)
}

// Over reports whether a session has been ended or replaced.
func (h *host) Over(s *dispatcher.Session) bool {
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	return h.l.reign != h.reign || s.Closed()
}

func (h *host) close(s *dispatcher.Session) {
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	if h.l.reign != h.reign {
		return
	}
	delete(h.reign.wakes, s)
	h.reign.core.Close(h.l.cfg.Now(), s)
	h.l.flush()
}
