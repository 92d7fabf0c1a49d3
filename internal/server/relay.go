package server

import (
	"context"
	"errors"
	"io"

	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/flow"
)

// maxRelays is how many streams of bytes the server passes on at once. Each may cost it a flow.Window in each direction.
const maxRelays = 1000

// takeRelay counts a stream of bytes; the caller calls what it returns when that is over.
func (s *Server) takeRelay() (leave func(), err error) {
	if n := s.relays.Add(1); n > maxRelays {
		s.relays.Add(-1)
		return nil, connect.NewError(connect.CodeResourceExhausted, errors.New("the server passes on 1000 connections and copies already; try again later"))
	}
	return func() { s.relays.Add(-1) }, nil
}

// flowing is a request that may carry a word of a stream of bytes.
type flowing[T any] interface {
	*T
	GetFlow() *argosyv1.Flow
}

// relay passes a stream of bytes on between a caller and a machine, and what else the machine says, until pass has passed
// on the end of the work or fails. It reads from both as fast as they send, within the bounds of the protocol, so that
// neither's pauses hold up others' streams on the same connection.
func relay[Req any, P flowing[Req], Res any](ctx context.Context, a *attachment, caller *connect.BidiStream[Req, Res], pass func(*argosyv1.AttachRequest) (done bool, err error)) error {
	down, up := flow.NewQueue[*argosyv1.Flow](), flow.NewQueue[*argosyv1.AttachRequest]()
	over := errors.New("it is over")
	defer down.Fail(over)
	defer up.Fail(over)
	go fillDown[Req, P](caller, down, up)
	go emptyDown(down, a)
	go fillUp(ctx, a, up)
	for {
		m, err := up.Next()
		switch {
		case ctx.Err() != nil:
			return rpcError(ctx.Err())
		case errors.Is(err, flow.ErrOverrun):
			return invalid("%w", err)
		case err != nil:
			return connect.NewError(connect.CodeUnavailable, errors.New("the machine's connection ended before the work did"))
		}
		if done, err := pass(m); done || err != nil {
			return err
		}
	}
}

// fillDown takes what the caller sends. One that ends what it sends, or breaks the protocol, ends the whole.
func fillDown[Req any, P flowing[Req], Res any](caller *connect.BidiStream[Req, Res], down *flow.Queue[*argosyv1.Flow], up *flow.Queue[*argosyv1.AttachRequest]) {
	for {
		m, err := caller.Receive()
		if err == nil {
			f := P(m).GetFlow()
			if f == nil {
				continue
			}
			err = down.Put(f, f)
		}
		if err != nil {
			down.Fail(err)
			if !errors.Is(err, io.EOF) {
				up.Fail(err)
			}
			return
		}
	}
}

// emptyDown sends to the machine what the caller sent.
func emptyDown(down *flow.Queue[*argosyv1.Flow], a *attachment) {
	for {
		f, err := down.Next()
		if err != nil || a.send(&argosyv1.AttachResponse{Data: &argosyv1.AttachResponse_Flow{Flow: f}}) != nil {
			return
		}
	}
}

// fillUp takes what the machine sends.
func fillUp(ctx context.Context, a *attachment, up *flow.Queue[*argosyv1.AttachRequest]) {
	for {
		m, err := a.receive(ctx)
		if err == nil {
			err = up.Put(m, m.GetFlow())
		}
		if err != nil {
			up.Fail(err)
			return
		}
	}
}
