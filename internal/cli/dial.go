package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"

	"connectrpc.com/connect"

	"github.com/argosy-cluster/argosy/internal/turns"
)

// firstOf dials several addresses behind which is a server of the cluster, in turn, and takes the first that answers; each may take as
// long as patience.
// Which of them answers does not matter: all know the same, and a server is known by its certificate and not by its address.
func firstOf(servers []string, config *tls.Config, patience time.Duration) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		failed := &unreachedError{make([]attempt, len(servers))}
		ask := func(ctx context.Context, i int) (net.Conn, error) {
			return dial(ctx, network, servers[i], config, patience)
		}
		for said := range turns.Ask(ctx, turns.Delay, len(servers), ask, func(c net.Conn) { _ = c.Close() }) {
			if said.Err == nil {
				return said.Value, nil
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			failed.attempts[said.Index] = attempt{servers[said.Index], said.Err}
		}
		return nil, failed
	}
}

func dial(ctx context.Context, network, server string, config *tls.Config, patience time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	d := net.Dialer{KeepAlive: 15 * time.Second}
	raw, err := d.DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return conn, nil
}

// midwayError is a stream that broke after something of it had come.
type midwayError struct{ err error }

func (e *midwayError) Error() string { return "the connection broke midway: " + message(e.err) }

func (e *midwayError) Unwrap() error { return e.err }

// midway marks errors of streams that break midway.
type midway struct{}

// WrapUnary implements [connect.Interceptor].
func (midway) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc { return next }

// WrapStreamingHandler implements [connect.Interceptor].
func (midway) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// WrapStreamingClient implements [connect.Interceptor].
func (midway) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		return &marked{StreamingClientConn: next(ctx, spec), ctx: ctx}
	}
}

type marked struct {
	connect.StreamingClientConn
	ctx   context.Context
	began bool
}

// Receive implements [connect.StreamingClientConn].
func (m *marked) Receive(msg any) error {
	err := m.StreamingClientConn.Receive(msg)
	switch {
	case err == nil:
		m.began = true
	case m.began && isBreak(err) && m.ctx.Err() == nil:
		return &midwayError{err}
	}
	return err
}

// isBreak says whether an error is neither the end of a stream nor what the server said.
func isBreak(err error) bool { return !errors.Is(err, io.EOF) && !connect.IsWireError(err) }
