package dispatcher

import (
	"context"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// Host guards a core and lets sessions at it.
type Host interface {
	// Receive takes in a message; an error ends the session.
	Receive(s *Session, msg *argosyv1.SessionRequest) error
	// Next is the next message to send, nil when there is none now.
	Next(s *Session) *argosyv1.SessionResponse
	// Over reports whether the session has been ended or replaced.
	Over(s *Session) bool
}

// Serve moves messages between a stream and its session until one of them ends. wake receives when Next may have
// something; it should be buffered. Only the caller's goroutine sends. One other receives: it ends when Receive of the
// stream fails, which it does at the latest when the caller's handler has returned.
func Serve(ctx context.Context, h Host, s *Session, stream Stream, wake <-chan struct{}) error {
	failed := make(chan error, 1)
	go func() {
		for {
			msg, err := stream.Receive()
			if err == nil {
				err = h.Receive(s, msg)
			}
			if err != nil {
				failed <- err
				return
			}
		}
	}()
	for {
		for msg := h.Next(s); msg != nil; msg = h.Next(s) {
			if err := stream.Send(msg); err != nil {
				return err
			}
			if msg.GetRefusal() != nil {
				return ErrSessionOver
			}
		}
		if h.Over(s) {
			return ErrSessionOver
		}
		select {
		case <-wake:
		case err := <-failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
