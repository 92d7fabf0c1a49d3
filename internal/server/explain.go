package server

import (
	"context"
	"maps"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/history"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/state"
)

const (
	// explainHistory is how many past transitions an explanation shows.
	explainHistory = 20
	// explainBack is how many transitions of each kind are read to find the decision that held at some time.
	explainBack = 200
)

func (s appService) Explain(ctx context.Context, r *connect.Request[argosyv1.ExplainRequest]) (*connect.Response[argosyv1.ExplainResponse], error) {
	m := r.Msg
	var res *argosyv1.ExplainResponse
	var err error
	switch {
	case m.GetAt() != nil && (m.GetMachine() != "" || m.GetSpec() != nil || m.GetKey().GetNumber() == 0):
		err = invalid("what was decided at some time is known of single replicas: name one, and neither a machine nor a manifest")
	case m.GetMachine() != "":
		res, err = s.explainMachine(ctx, m)
	case m.GetSpec() != nil:
		res, err = s.explainPlanned(ctx, m)
	default:
		res, err = s.explainKey(ctx, m)
	}
	if err == nil {
		err = s.nameMachines(res)
	}
	return respond(res, err)
}

// nameMachines adds the names of machines that an explanation tells of by their ids, those that are still in the cluster.
func (s *Server) nameMachines(res *argosyv1.ExplainResponse) error {
	told := slices.Concat(res.History, res.GetThen().GetSeen())
	if d := res.GetThen().GetDecision(); d != nil {
		told = append(told, d)
	}
	names := map[string]string{}
	for _, t := range told {
		names[t.GetMachine()] = ""
	}
	for _, v := range res.Volumes {
		names[v.GetMachine()] = ""
	}
	res.MachineNames = names
	return s.read(func(_ time.Time, v *leader.View) error {
		maps.DeleteFunc(names, func(id string, _ string) bool { return v.Machine(id) == nil })
		for id := range names {
			names[id] = v.MachineName(id)
		}
		return nil
	})
}

func (s *Server) explainMachine(ctx context.Context, m *argosyv1.ExplainRequest) (res *argosyv1.ExplainResponse, err error) {
	tenant, err := s.tenant(ctx, m.GetKey().GetTenant())
	if err != nil {
		return nil, err
	}
	var id string
	err = s.read(func(_ time.Time, v *leader.View) error {
		machine, err := findMachine(v, m.GetMachine())
		if err == nil {
			id, res = machine.Id, v.ExplainMachine(machine, tenant)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	res.History, err = s.happened(ctx, history.Query{Tenant: tenant, Machine: id, Tail: explainHistory})
	return res, err
}

func (s *Server) explainPlanned(ctx context.Context, m *argosyv1.ExplainRequest) (res *argosyv1.ExplainResponse, err error) {
	tenant, spec, err := s.checked(ctx, m.GetKey().GetTenant(), m.GetSpec())
	if err == nil && m.GetKey().GetApp() != spec.Name {
		err = invalid("the manifest is of app %s, and %s is asked about", spec.Name, clip(m.GetKey().GetApp()))
	}
	if err == nil {
		err = checkNames(spec.Name, m.GetKey().GetStack())
	}
	if err != nil {
		return nil, err
	}
	s.pin(ctx, tenant, spec)
	key := state.KeyOf(m.GetKey())
	key.Tenant = tenant
	err = s.read(func(_ time.Time, v *leader.View) (err error) {
		keepPins(spec, v.AppRevision(tenant, spec.Name, v.App(tenant, spec.Name).GetRevision()).GetSpec())
		res, err = v.ExplainPlanned(spec, key, m.GetRules())
		return asNotFound(err)
	})
	return res, err
}

func (s *Server) explainKey(ctx context.Context, m *argosyv1.ExplainRequest) (res *argosyv1.ExplainResponse, err error) {
	key := state.KeyOf(m.GetKey())
	if key.Tenant, err = s.named(ctx, key.Tenant, key.App); err == nil {
		err = checkNames(key.App, key.Stack)
	}
	if err != nil {
		return nil, err
	}
	if key.Number != 0 && key.Stack == "" {
		return nil, invalid("number %d of which stack of %s? Name it", key.Number, key.App)
	}
	err = s.read(func(_ time.Time, v *leader.View) (err error) {
		res, err = v.Explain(key, m.GetRules())
		return asNotFound(err)
	})
	if at := m.GetAt(); at != nil && (err == nil || connect.CodeOf(err) == connect.CodeNotFound) {
		// What no longer exists may have existed then.
		then, thenErr := s.then(ctx, key, at)
		if thenErr != nil {
			return nil, rpcError(thenErr)
		}
		if err != nil && then.Decision == nil {
			return nil, err
		}
		if res == nil {
			res = &argosyv1.ExplainResponse{Summary: []string{err.Error()}}
		}
		res.Then = then
		res.History, err = s.happened(ctx, history.Query{Tenant: key.Tenant, Replica: &key, Until: at.AsTime(), Tail: explainHistory})
		return res, err
	}
	if err != nil || key.Number == 0 {
		return res, err
	}
	res.History, err = s.happened(ctx, history.Query{Tenant: key.Tenant, Replica: &key, Tail: explainHistory})
	return res, err
}

// then finds what held of a replica at some time.
func (s *Server) then(ctx context.Context, key state.Key, at *timestamppb.Timestamp) (*argosyv1.Then, error) {
	out := &argosyv1.Then{At: at}
	since, err := s.history.Since()
	if err != nil {
		return nil, err
	}
	if !since.IsZero() {
		out.KnownSince = timestamppb.New(since)
	}
	list, err := s.happened(ctx, history.Query{Tenant: key.Tenant, Replica: &key, Until: at.AsTime(), Tail: explainBack})
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, t := range slices.Backward(list) {
		switch {
		case t.Kind == argosyv1.TransitionKind_TRANSITION_KIND_ASSIGNMENT:
			if t.To == "assigned" || t.To == "pending" {
				out.Decision = t
				slices.Reverse(out.Seen)
				return out, nil
			}
		case !seen[t.Member]:
			seen[t.Member] = true
			out.Seen = append(out.Seen, t)
		}
	}
	slices.Reverse(out.Seen)
	return out, nil
}
