package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/migration"
	"github.com/argosy-cluster/argosy/internal/version"
)

// layoutLook is how often the leader of a store that is not of the newest layout looks whether it may be now.
const layoutLook = 2 * time.Second

// checkLayout refuses a store that this release cannot work with. Nothing else of it is read before.
func (s *Server) checkLayout(ctx context.Context) error {
	l, _, err := migration.Read(ctx, s.store)
	if err != nil {
		return err
	}
	return s.cfg.layouts.Check(l, s.cfg.version)
}

// prepare is called with each term, before this server reads what it decides on: nobody writes meanwhile.
func (s *Server) prepare(ctx context.Context, term int64) error {
	l, _, err := migration.Read(ctx, s.store)
	if err != nil {
		return err
	}
	if err := s.cfg.layouts.Check(l, s.cfg.version); err != nil {
		return err
	}
	plan, err := s.layoutPlan(ctx, l)
	if err != nil || plan.To == 0 {
		return err
	}
	s.log.Info("changing the store's layout", "from", l.Number, "to", plan.To)
	if err := s.cfg.layouts.Run(ctx, s.store, term, plan.To, s.cfg.version, time.Now()); err != nil {
		return err
	}
	s.log.Info("the store's layout has changed", "from", l.Number, "to", plan.To)
	s.migrated.Store(&layoutChange{from: l.Number, to: plan.To})
	return nil
}

// layoutChange is what is yet to be told of in history.
type layoutChange struct{ from, to uint32 }

// layoutPlan asks every server which layouts it knows, if that matters.
func (s *Server) layoutPlan(ctx context.Context, l *storev1.Layout) (migration.Plan, error) {
	if l.Number >= s.cfg.layouts.Newest() || l.To != 0 {
		return s.cfg.layouts.Decide(l, nil), nil
	}
	snap, err := s.store.List(ctx, store.Servers)
	if err != nil {
		return migration.Plan{}, fmt.Errorf("reading the list of servers: %w", err)
	}
	servers := []migration.Server{{Name: s.cfg.Name, Knows: s.cfg.layouts.Range()}}
	for _, kv := range snap.KVs {
		srv := &storev1.Server{}
		if err := store.Decode(kv, srv); err != nil {
			return migration.Plan{}, err
		}
		if srv.Id == s.id {
			continue
		}
		one := migration.Server{Name: srv.Name}
		if p := s.probe(ctx, srv); p.health == nil {
			one.Silent = p.why
		} else {
			one.Knows = migration.RangeOf(p.health.OldestLayout, p.health.NewestLayout)
		}
		servers = append(servers, one)
	}
	return s.cfg.layouts.Decide(l, servers), nil
}

// keepLayout ends this server when the store gets a layout that it does not know. On the leader it begins a new term once the
// layout may change, and tells what has changed.
func (s *Server) keepLayout(ctx context.Context) error {
	tick := time.NewTicker(layoutLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		l, _, err := migration.Read(ctx, s.store)
		if err != nil {
			continue // asked again
		}
		if err := s.cfg.layouts.Check(l, s.cfg.version); err != nil {
			return err
		}
		if !s.leader.Leading() {
			continue
		}
		s.tellMigrated(ctx)
		if plan, err := s.layoutPlan(ctx, l); err == nil && plan.To != 0 {
			s.leader.Renew()
		}
	}
}

func (s *Server) tellMigrated(ctx context.Context) {
	done := s.migrated.Load()
	if done == nil {
		return
	}
	err := s.leader.Propose(ctx, func(time.Time, *leader.View) (leader.Proposal, error) {
		return leader.Proposal{Transitions: []*argosyv1.Transition{{Kind: argosyv1.TransitionKind_TRANSITION_KIND_SECURITY,
			From: fmt.Sprintf("store of layout %d", done.from), To: fmt.Sprintf("store of layout %d", done.to), Cause: "all servers know it"}}}, nil
	})
	if err == nil {
		s.migrated.CompareAndSwap(done, nil)
	}
}

// layoutStatus is which layout the store has, and what its change waits for.
func (s *Server) layoutStatus(ctx context.Context) (number uint32, message string) {
	l, _, err := migration.Read(ctx, s.store)
	if err != nil {
		return 0, ""
	}
	plan, err := s.layoutPlan(ctx, l)
	if err != nil {
		return l.Number, ""
	}
	return l.Number, plan.Waits
}

// mayWork refuses a server that could not work with the store as it is.
func (s *Server) mayWork(ctx context.Context, r *argosyv1.EnterRequest) error {
	l, _, err := migration.Read(ctx, s.store)
	if err != nil {
		return err
	}
	err = migration.Fits(migration.RangeOf(r.OldestLayout, r.NewestLayout), l, versionOf(r.Version))
	var unknown *migration.UnknownError
	if errors.As(err, &unknown) {
		return connectInvalid(err)
	}
	return err
}

// versionOf is what a server calls itself; one that has just joined says nothing.
func versionOf(v string) string {
	if v == "" {
		return "of an earlier release"
	}
	return v
}

// completeLayouts fills in what tests have otherwise.
func (c *Config) completeLayouts() {
	if c.layouts.Oldest == 0 {
		c.layouts = migration.Own()
	}
	if c.version == "" {
		c.version = version.Version
	}
}
