package server

import (
	"context"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/history"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/state"
)

// clusterService answers argosy.v1.ClusterService; tokens are in tokens.go.
type clusterService struct{ *Server }

// GetCluster answers without a leader too, with what this server knows by itself: the leader is then empty. Who asks how
// the cluster is wants to hear that more than an error.
func (s clusterService) GetCluster(context.Context, *connect.Request[argosyv1.GetClusterRequest]) (*connect.Response[argosyv1.GetClusterResponse], error) {
	space := s.base.Space()
	res := &argosyv1.GetClusterResponse{Version: s.cfg.version, StoreSize: space.Size, StoreQuota: space.Quota, StoreFull: space.Full}
	if since, err := s.history.Since(); err == nil && !since.IsZero() {
		res.HistorySince = timestamppb.New(since)
	}
	if s.cfg.HistoryAge > 0 {
		res.HistoryAge = durationpb.New(s.cfg.HistoryAge)
	}
	if !s.leader.Leading() {
		res.Settings, res.Servers = s.cluster.Settings(), s.cfg.Advertise
		return connect.NewResponse(res), nil
	}
	err := s.read(func(now time.Time, v *leader.View) error {
		res.Settings, res.Generation = v.Settings(), v.Generation()
		res.Term, res.Leader = v.Term().GetNumber(), v.Term().GetServer()
		if sched, st := v.Backups(); sched != nil {
			res.BackupEvery, res.BackupAt, res.BackupError = sched.GetEvery(), st.GetSucceededAt(), st.GetError()
		}
		res.Machines, res.Paused = uint32(v.MachineCount()), v.Paused()
		res.Servers, res.Rotation = s.addresses(v), s.rotationText(v, now)
		for _, srv := range v.Servers() {
			if srv.Id == res.Leader {
				res.Leader = srv.Name
			}
		}
		for _, app := range v.Apps("") {
			if !app.Deleting {
				res.Apps++
			}
		}
		return nil
	})
	return respond(res, err)
}

func (s clusterService) ListUsage(ctx context.Context, r *connect.Request[argosyv1.ListUsageRequest]) (*connect.Response[argosyv1.ListUsageResponse], error) {
	tenant, err := s.tenant(ctx, r.Msg.Tenant)
	if err == nil && r.Msg.App != "" {
		err = checkNames(r.Msg.App, "")
	}
	if err != nil {
		return nil, err
	}
	var res *argosyv1.ListUsageResponse
	err = s.read(func(_ time.Time, v *leader.View) error {
		res = v.Usage(tenant, r.Msg.App)
		return nil
	})
	return respond(res, err)
}

const (
	defaultTail = 100
	maxTail     = 10_000
	eventBatch  = 500
)

func (s clusterService) ListEvents(ctx context.Context, r *connect.Request[argosyv1.ListEventsRequest], out *connect.ServerStream[argosyv1.ListEventsResponse]) error {
	q, err := s.eventQuery(ctx, r.Msg)
	if err != nil {
		return err
	}
	if err := s.catchUp(ctx); err != nil {
		return err
	}
	changed, stop := s.history.Subscribe()
	defer stop()
	for {
		events, err := s.history.Query(ctx, q)
		if err != nil {
			return rpcError(err)
		}
		for chunk := range slices.Chunk(events, eventBatch) {
			if err := out.Send(&argosyv1.ListEventsResponse{Events: chunk}); err != nil {
				return err
			}
			q.After = chunk[len(chunk)-1].Seq
		}
		// Everything after what was sent, however much happened meanwhile.
		more := q.Tail == 0 && len(events) == q.Limit
		q.Tail, q.Limit = 0, maxTail
		if more {
			continue
		}
		if !r.Msg.Follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

func (s *Server) eventQuery(ctx context.Context, r *argosyv1.ListEventsRequest) (history.Query, error) {
	tenant, err := s.tenant(ctx, r.Tenant)
	if err != nil {
		return history.Query{}, err
	}
	q := history.Query{Tenant: tenant, App: r.App, After: r.AfterSeq, Machine: r.Machine, Tail: int(min(r.Tail, maxTail))}
	if q.Tail == 0 && r.AfterSeq == 0 && r.Since == nil {
		q.Tail = defaultTail
	}
	if q.Tail == 0 {
		q.Limit = maxTail // at once; what there is more comes after
	}
	if r.App != "" {
		if err := checkNames(r.App, ""); err != nil {
			return q, err
		}
	}
	if r.Since != nil {
		if err := r.Since.CheckValid(); err != nil {
			return q, invalid("this is no time to begin at")
		}
		q.Since = r.Since.AsTime()
	}
	if r.Replica != nil {
		if err := wholeKey(r.Replica); err != nil {
			return q, err
		}
		k := state.KeyOf(r.Replica)
		k.Tenant = tenant
		q.Replica = &k
	}
	if r.Machine != "" {
		err = s.read(func(_ time.Time, v *leader.View) error {
			if m := v.FindMachine(r.Machine); m != nil {
				q.Machine = m.Id
			}
			return nil
		})
	}
	return q, err
}

// catchUp waits until the history has what was committed before the question.
func (s *Server) catchUp(ctx context.Context) error {
	var last uint64
	err := s.read(func(_ time.Time, v *leader.View) error {
		last = v.LastSeq()
		return nil
	})
	if err != nil {
		return err
	}
	return rpcError(s.history.CatchUp(ctx, last))
}

// happened is what the history says, with what was committed before the question.
func (s *Server) happened(ctx context.Context, q history.Query) ([]*argosyv1.Transition, error) {
	if err := s.catchUp(ctx); err != nil {
		return nil, err
	}
	list, err := s.history.Query(ctx, q)
	return list, rpcError(err)
}
