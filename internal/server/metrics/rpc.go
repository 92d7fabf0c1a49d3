package metrics

import (
	"context"
	"time"

	"connectrpc.com/connect"
)

// Interceptor counts RPCs. Those that authentication turns away are counted when it stands inside.
func (s *Set) Interceptor() connect.Interceptor { return interceptor{s} }

type interceptor struct{ s *Set }

func (i interceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		begin := time.Now()
		res, err := next(ctx, r)
		i.s.requestTime.WithLabelValues(r.Spec().Procedure).Observe(time.Since(begin).Seconds())
		i.s.requests.WithLabelValues(r.Spec().Procedure, code(err)).Inc()
		return res, err
	}
}

func (interceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (i interceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		procedure := conn.Spec().Procedure
		open := i.s.streams.WithLabelValues(procedure)
		open.Inc()
		defer open.Dec()
		err := next(ctx, conn)
		i.s.requests.WithLabelValues(procedure, code(err)).Inc()
		return err
	}
}

func code(err error) string {
	if err == nil {
		return "ok"
	}
	return connect.CodeOf(err).String()
}
