package server

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/history"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/state"
)

func (s appService) ListReplicasAt(ctx context.Context, r *connect.Request[argosyv1.ListReplicasAtRequest]) (*connect.Response[argosyv1.ListReplicasAtResponse], error) {
	m := r.Msg
	if m.At.CheckValid() != nil {
		return nil, invalid("this is no time to look back at")
	}
	sel, err := s.selector(ctx, &argosyv1.ListReplicasRequest{Tenant: m.Tenant, AllTenants: m.AllTenants, App: m.App, Stack: m.Stack, Number: m.Number, Machine: m.Machine})
	if err != nil {
		return nil, err
	}
	q := history.Query{Tenant: sel.tenant, App: m.App, Until: m.At.AsTime()}
	if sel.tenant != "" && m.Stack != "" && m.Number != 0 {
		q.Replica = &state.Key{Tenant: sel.tenant, App: m.App, Stack: m.Stack, Number: m.Number}
	}
	if err := s.catchUp(ctx); err != nil {
		return nil, err
	}
	past, err := s.history.At(ctx, q)
	if err != nil {
		return nil, rpcError(err)
	}
	res := &argosyv1.ListReplicasAtResponse{}
	if since, err := s.history.Since(); err == nil && !since.IsZero() {
		res.KnownSince = timestamppb.New(since)
	}
	err = s.read(func(_ time.Time, v *leader.View) error {
		sel.machine = m.Machine // one that was removed is known by its id
		if known := v.FindMachine(m.Machine); known != nil {
			sel.machine = known.Id
		}
		for _, p := range past {
			if sel.has(&argosyv1.Replica{Key: p.Key.Proto(), Machine: p.Machine}) {
				res.Replicas = append(res.Replicas, pastReplica(v, p))
			}
		}
		return nil
	})
	return respond(res, err)
}

func pastReplica(v *leader.View, p history.Past) *argosyv1.PastReplica {
	out := &argosyv1.PastReplica{
		Key: p.Key.Proto(), Incarnation: p.Incarnation, Machine: p.Machine, State: p.State, LastState: p.Last,
		Since: timestamppb.New(p.Since), Cause: p.Cause, Removing: p.Removing, DecidedAt: timestamppb.New(p.DecidedAt), Reason: p.Reason,
	}
	if p.Machine != "" {
		out.MachineName = v.MachineName(p.Machine)
	}
	return out
}
