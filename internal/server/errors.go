package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"connectrpc.com/connect"

	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/peers"
	"github.com/argosy-cluster/argosy/internal/store"
)

func invalid(format string, args ...any) error {
	return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf(format, args...))
}

func notFound(format string, args ...any) error {
	return connect.NewError(connect.CodeNotFound, fmt.Errorf(format, args...))
}

func exists(format string, args ...any) error {
	return connect.NewError(connect.CodeAlreadyExists, fmt.Errorf(format, args...))
}

func aborted(format string, args ...any) error {
	return connect.NewError(connect.CodeAborted, fmt.Errorf(format, args...))
}

func refused(format string, args ...any) error {
	return connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf(format, args...))
}

// rpcError gives an error of the inner rooms the code that callers act on.
func rpcError(err error) error {
	var ce *connect.Error
	var conflict *store.ConflictError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ce):
		return ce
	case errors.As(err, &conflict):
		return connect.NewError(connect.CodeAborted, fmt.Errorf("%w: try again", err))
	case errors.Is(err, leader.ErrNotLeading), errors.Is(err, store.ErrDeposed):
		ce = connect.NewError(connect.CodeUnavailable, err)
		ce.Meta().Set(peers.LedUntil, "now")
		return ce
	case errors.Is(err, store.ErrUnavailable):
		return connect.NewError(connect.CodeUnavailable, err)
	case errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeCanceled, errors.New("the caller went away"))
	case errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, errors.New("it was not done in the time that the caller gave"))
	}
	return connect.NewError(connect.CodeInternal, err)
}

// clip makes what a caller sent fit to stand in a sentence: short, printable and on one line.
func clip(s string) string {
	const most = 80
	cut := ""
	if len(s) > most {
		s, cut = strings.ToValidUTF8(s[:most], ""), "…" // without the half of a character at its end
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '·'
	}, strings.ToValidUTF8(s, "·")) + cut
}
