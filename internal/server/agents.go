package server

import (
	"context"
	"errors"
	"io"

	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/auth"
)

// agentService answers argosy.v1.AgentService. The machine that calls is the one its certificate names.
type agentService struct{ *Server }

func (s agentService) Session(ctx context.Context, stream *connect.BidiStream[argosyv1.SessionRequest, argosyv1.SessionResponse]) error {
	err := s.leader.Session(ctx, auth.IdentityFrom(ctx).ID, stream)
	if errors.Is(err, io.EOF) {
		return nil // the machine has said all it wanted to
	}
	err = rpcError(err)
	if connect.CodeOf(err) == connect.CodeInternal {
		return invalid("%w", errors.Unwrap(err)) // what ends a session from inside is what the machine said
	}
	return err
}

func (s agentService) Attach(ctx context.Context, stream *connect.BidiStream[argosyv1.AttachRequest, argosyv1.AttachResponse]) error {
	return s.attach(ctx, auth.IdentityFrom(ctx).ID, stream)
}
