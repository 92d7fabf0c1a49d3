package server

import (
	"context"
	"errors"
	"slices"
	"time"

	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/state"
)

// selector chooses replicas.
type selector struct {
	tenant string // empty is all tenants
	r      *argosyv1.ListReplicasRequest
	// machine is an id, once the request's name is resolved.
	machine string
}

func (s *Server) selector(ctx context.Context, r *argosyv1.ListReplicasRequest) (selector, error) {
	if r.App != "" || r.Stack != "" {
		if err := checkNames(r.App, r.Stack); err != nil {
			return selector{}, err
		}
	}
	if r.AllTenants {
		return selector{r: r}, mayAllTenants(ctx)
	}
	tenant, err := s.tenant(ctx, r.Tenant)
	return selector{tenant: tenant, r: r}, err
}

func (sel *selector) has(r *argosyv1.Replica) bool {
	k := r.GetKey()
	return (sel.tenant == "" || k.Tenant == sel.tenant) &&
		(sel.r.App == "" || k.App == sel.r.App) &&
		(sel.r.Stack == "" || k.Stack == sel.r.Stack) &&
		(sel.r.Number == 0 || k.Number == sel.r.Number) &&
		(sel.r.Machine == "" || r.Machine == sel.machine)
}

// list reads the narrowest index that holds all that is chosen.
func (sel *selector) list(v *leader.View) ([]*argosyv1.Replica, error) {
	if sel.r.Machine != "" {
		m, err := findMachine(v, sel.r.Machine)
		if err != nil {
			return nil, err
		}
		sel.machine = m.Id
	}
	var from []*argosyv1.Replica
	switch {
	case sel.machine != "":
		from = v.MachineReplicas(sel.machine)
	case sel.tenant != "" && sel.r.App != "" && sel.r.Stack != "":
		from = v.StackReplicas(state.StackKey{Tenant: sel.tenant, App: sel.r.App, Stack: sel.r.Stack})
	case sel.tenant != "" && sel.r.App != "":
		from = v.AppReplicas(state.AppKey{Tenant: sel.tenant, App: sel.r.App})
	default:
		from = v.Replicas(sel.tenant)
	}
	var out []*argosyv1.Replica
	for _, r := range from {
		if sel.has(r) {
			out = append(out, r)
		}
	}
	return out, nil
}

func (s appService) ListReplicas(ctx context.Context, r *connect.Request[argosyv1.ListReplicasRequest]) (*connect.Response[argosyv1.ListReplicasResponse], error) {
	sel, err := s.selector(ctx, r.Msg)
	if err != nil {
		return nil, err
	}
	res := &argosyv1.ListReplicasResponse{}
	err = s.read(func(_ time.Time, v *leader.View) error {
		replicas, err := sel.list(v)
		res.Replicas = make([]*argosyv1.ReplicaStatus, len(replicas))
		for i, rep := range replicas {
			res.Replicas[i] = v.Status(rep)
			if r.Msg.GetBrief() {
				brief(res.Replicas[i])
			}
		}
		return err
	})
	return respond(res, err)
}

// rowsAtOnce is how many replicas a part of a list has: enough that a message costs little beside them, and few enough that the
// first part is read while the second is looked up.
const rowsAtOnce = 1000

func (s appService) ListReplicaRows(ctx context.Context, r *connect.Request[argosyv1.ListReplicasRequest], out *connect.ServerStream[argosyv1.ListReplicaRowsResponse]) error {
	sel, err := s.selector(ctx, r.Msg)
	if err != nil {
		return err
	}
	var all []*argosyv1.Replica
	if err := s.read(func(_ time.Time, v *leader.View) (err error) {
		all, err = sel.list(v)
		return err
	}); err != nil {
		return err
	}
	for part := range slices.Chunk(all, rowsAtOnce) {
		res := &argosyv1.ListReplicaRowsResponse{}
		if err := s.read(func(_ time.Time, v *leader.View) error {
			res.Stacks = stackRows(v, part)
			return nil
		}); err != nil {
			return err
		}
		if err := out.Send(res); err != nil {
			return err
		}
	}
	return nil
}

// stackRows are the rows of those replicas of a list that still exist, as they stand now.
func stackRows(v *leader.View, replicas []*argosyv1.Replica) []*argosyv1.StackRows {
	var out []*argosyv1.StackRows
	rows := make([]argosyv1.ReplicaRow, len(replicas)) // in one piece: they live and die together
	for i, listed := range replicas {
		k := state.KeyOf(listed.GetKey())
		r := v.Replica(k)
		if r == nil {
			continue
		}
		if len(out) == 0 || k.StackKey() != (state.StackKey{Tenant: out[len(out)-1].Tenant, App: out[len(out)-1].App, Stack: out[len(out)-1].Stack}) {
			out = append(out, &argosyv1.StackRows{Tenant: k.Tenant, App: k.App, Stack: k.Stack})
		}
		st, row := v.Status(r), &rows[i]
		row.Number, row.Goal, row.Revision = k.Number, r.GetGoal(), r.GetRevision()
		row.MachineName, row.State, row.Message = st.GetMachineName(), st.GetState(), st.GetMessage()
		row.Seen, row.Age = st.GetAge() != nil, int64(st.GetAge().AsDuration())
		last := out[len(out)-1]
		last.Rows = append(last.Rows, row)
	}
	return out
}

// brief leaves out what a list does not show; for ten thousand replicas that is nearly all there is to send. The record itself
// is the state's and stays as it is.
func brief(st *argosyv1.ReplicaStatus) {
	r := st.GetReplica()
	st.Observation = nil
	st.Replica = &argosyv1.Replica{Key: r.GetKey(), Incarnation: r.GetIncarnation(), Revision: r.GetRevision(), Restart: r.GetRestart(), Goal: r.GetGoal()}
}

// read is leader.Read for readers that can fail.
func (s *Server) read(f func(now time.Time, v *leader.View) error) error {
	var inner error
	if err := s.leader.Read(func(now time.Time, v *leader.View) { inner = f(now, v) }); err != nil {
		return rpcError(err)
	}
	return rpcError(inner)
}

// watchPause is the least time between two messages of a watch: what changes meanwhile goes into one.
const watchPause = 50 * time.Millisecond

// A server that does not know yet that another leads would tell those who watch of what it remembers, as if it were seen. So what is
// told is sure to have been so within confirmAge, and while there is nothing to tell it is made sure of every confirmEvery: then a
// watch ends, and whoever watches asks again.
const (
	confirmAge   = time.Second
	confirmEvery = 3 * time.Second
)

// stillLeads is nil when this server led a moment ago.
func (s *Server) stillLeads(ctx context.Context) error {
	return rpcError(s.leader.Confirmed(ctx, confirmAge))
}

func (s appService) WatchReplicas(ctx context.Context, r *connect.Request[argosyv1.ListReplicasRequest], out *connect.ServerStream[argosyv1.WatchReplicasResponse]) error {
	sel, err := s.selector(ctx, r.Msg)
	if err != nil {
		return err
	}
	sub := s.leader.Subscribe()
	defer sub.Close()
	sent := map[state.Key]bool{}
	quiet := time.NewTicker(confirmEvery)
	defer quiet.Stop()
	for {
		res, err := s.replicaChanges(&sel, sub.Take(), sent)
		if err == nil {
			err = s.stillLeads(ctx)
		}
		if err != nil {
			return err
		}
		if res != nil {
			if err := out.Send(res); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-quiet.C:
			continue
		case <-sub.C:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchPause):
		}
	}
}

// replicaChanges is what to tell a watcher of a change, or nil. sent is what it knows, kept up to date here.
func (s *Server) replicaChanges(sel *selector, c leader.Change, sent map[state.Key]bool) (*argosyv1.WatchReplicasResponse, error) {
	res := &argosyv1.WatchReplicasResponse{Full: c.All}
	err := s.read(func(_ time.Time, v *leader.View) error {
		if c.All {
			clear(sent)
			replicas, err := sel.list(v)
			for _, r := range replicas {
				res.Replicas = append(res.Replicas, v.Status(r))
				sent[state.KeyOf(r.Key)] = true
			}
			return err
		}
		for k := range c.Replicas {
			r := v.Replica(k)
			switch {
			case r != nil && sel.has(r):
				res.Replicas = append(res.Replicas, v.Status(r))
				sent[k] = true
			case sent[k]:
				delete(sent, k)
				res.Removed = append(res.Removed, k.Proto())
			}
		}
		return nil
	})
	if err != nil || (!res.Full && len(res.Replicas) == 0 && len(res.Removed) == 0) {
		return nil, err
	}
	return res, nil
}

// wholeKey refuses a key that does not name one replica.
func wholeKey(k *argosyv1.ReplicaKey) error {
	if k.GetStack() == "" || k.GetNumber() == 0 {
		return invalid("this is not one replica: name app, stack and number, for example %s/web.1", clip(k.GetApp()))
	}
	return checkNames(k.GetApp(), k.GetStack())
}

// noReplica says which part of a key names nothing.
func noReplica(v *leader.View, k state.Key) error {
	if err := asNotFound(v.Lacks(k)); err != nil {
		return err
	}
	return notFound("there is no replica %s; see 'argosy ps'", k)
}

// asNotFound gives what the core says is not there its code.
func asNotFound(err error) error {
	var missing *leader.NotFoundError
	if errors.As(err, &missing) {
		return notFound("%w; see 'argosy ps'", err)
	}
	return err
}
