package robustness

import (
	"context"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
)

// Client asks for changes of apps, and notes what it asked for and what it was told.
type Client struct {
	Number int
	// Servers are asked one after another, the client's own first, until one answers.
	Servers []argosyv1connect.AppServiceClient
	// Spec is what an app with that many replicas is, and Stack the name of what is replicated.
	Spec  func(app string, count uint32) *argosyv1.AppSpec
	Stack string
	// Each is how long one server may take, and All how long all of them, after which nobody knows how it ended.
	Each, All time.Duration
}

// retryPause is the time between two tries.
const retryPause = 200 * time.Millisecond

// mayHaveHappened are the codes of answers that leave open whether a request was carried out.
var mayHaveHappened = []connect.Code{connect.CodeUnavailable, connect.CodeDeadlineExceeded, connect.CodeCanceled, connect.CodeUnknown}

// Do asks for one thing, under one idempotency key until it is known how that ended, and notes it in h. It fails when it is told
// what nobody should be.
func (c *Client) Do(ctx context.Context, h *History, app string, kind Kind, count uint32, key string) error {
	op := h.Begin(c.Number, app, kind, count)
	limit := time.Now().Add(c.All)
	for at := c.Number; ; at++ {
		one, cancel := context.WithTimeout(ctx, c.Each)
		res, err := c.request(one, c.Servers[at%len(c.Servers)], op, key)
		cancel()
		code := connect.CodeOf(err)
		switch {
		case err == nil:
			h.End(op, res)
			return nil
		case code == connect.CodeNotFound:
			h.End(op, Result{Outcome: NotFound})
			return nil
		case code == connect.CodeFailedPrecondition:
			h.End(op, Result{Outcome: Deleting})
			return nil
		case !slices.Contains(mayHaveHappened, code):
			return fmt.Errorf("%s of %s: %w", kind, app, err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryPause):
		}
		if time.Now().After(limit) {
			return nil
		}
	}
}

func (c *Client) request(ctx context.Context, s argosyv1connect.AppServiceClient, op *Operation, key string) (Result, error) {
	switch op.Kind {
	case Apply:
		res, err := s.Apply(ctx, connect.NewRequest(&argosyv1.ApplyRequest{Spec: c.Spec(op.App, op.Count), IdempotencyKey: key}))
		if err != nil {
			return Result{}, err
		}
		return Result{Outcome: Done, Revision: res.Msg.App.Revision, Count: op.Count, Changed: res.Msg.Changed}, nil
	case Scale:
		res, err := s.Scale(ctx, connect.NewRequest(&argosyv1.ScaleRequest{App: op.App, Counts: map[string]uint32{c.Stack: op.Count}, IdempotencyKey: key}))
		if err != nil {
			return Result{}, err
		}
		return Result{Outcome: Done, Revision: res.Msg.App.Revision, Count: op.Count, Changed: res.Msg.Changed}, nil
	case Delete:
		_, err := s.DeleteApp(ctx, connect.NewRequest(&argosyv1.DeleteAppRequest{App: op.App, Volumes: true, IdempotencyKey: key}))
		return Result{Outcome: Done}, err
	}
	res, err := s.GetApp(ctx, connect.NewRequest(&argosyv1.GetAppRequest{App: op.App}))
	if err != nil {
		return Result{}, err
	}
	out := Result{Outcome: Done, Revision: res.Msg.Status.App.Revision, Deleting: res.Msg.Status.App.Deleting}
	for _, rev := range res.Msg.Revisions {
		if rev.Number == out.Revision {
			out.Count = rev.Spec.Cluster[0].Count
		}
	}
	return out, nil
}
