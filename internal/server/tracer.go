package server

import (
	"context"
	"strings"

	"connectrpc.com/connect"

	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/tracing"
)

// tracer makes a span of each RPC that changes an app. Those that only look would bury them.
type tracer struct{ t *tracing.Tracer }

func (i tracer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		switch r.Spec().Procedure {
		case argosyv1connect.AppServiceApplyProcedure, argosyv1connect.AppServiceScaleProcedure, argosyv1connect.AppServiceRollbackProcedure,
			argosyv1connect.AppServiceRestartProcedure, argosyv1connect.AppServiceDeleteAppProcedure:
		default:
			return next(ctx, r)
		}
		_, rpc, _ := strings.Cut(strings.TrimPrefix(r.Spec().Procedure, "/"), "/")
		ctx, end := i.t.Start(ctx, r.Header().Get(tracing.Header), rpc, tracing.String("argosy.actor", auth.IdentityFrom(ctx).Actor()))
		res, err := next(ctx, r)
		end(err)
		return res, err
	}
}

func (tracer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (tracer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}
