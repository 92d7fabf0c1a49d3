package sim

import (
	"context"
	"slices"
	"time"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/leader/core"
	"github.com/argosy-cluster/argosy/internal/leases"
	"github.com/argosy-cluster/argosy/internal/store"
)

// spares are servers that people may add to the cluster.
var spares = []string{"s4", "s5"}

// fewest is how many servers people leave the cluster.
const fewest = 1

// changeServers has people add a server, or remove one.
func (s *Scenario) changeServers() {
	x := s.servers[s.rng.IntN(len(s.servers))]
	switch v := s.View(); {
	case v == nil:
	case x.absent:
		x.add(slices.Contains(leases.ConfigOf(v.Leases()).Everybody(), claims.Witness(x.name)))
	case len(s.present()) > fewest:
		x.remove()
	}
}

// add has a server become one of the cluster's: one that was there before, or, where its witness decides about nothing any more, another
// machine.
func (s *server) add(decides bool) {
	w := s.w
	if !decides && w.chance(0.5) {
		s.killWitness()
		s.beside.slots, s.beside.guards = [2][]byte{}, map[string]bool{}
		s.startWitness()
	}
	w.trace("server %s is added", s.name)
	w.Propose(func(time.Time, *core.View) (core.Proposal, error) { return put(store.ServerKey(s.name), s.recorded()) }, w.said("add a server"))
}

// remove has a server be one of the cluster's no more, whatever it is doing, once the others decide about leases without it. Its witness goes
// on until somebody ends it.
func (s *server) remove() {
	patience := 2*s.w.profile.Wait + 10*time.Second
	s.parting++
	s.w.after(patience, func() { s.parting-- }) // whatever becomes of the request: the answer may be lost
	s.w.trace("server %s is to be removed", s.name)
	s.tryRemove(s.w.now.Add(patience))
}

func (s *server) tryRemove(until time.Time) {
	waits := false
	s.w.Propose(func(_ time.Time, v *core.View) (core.Proposal, error) {
		waits = !leases.Without(v.Leases(), v.Servers(), s.name)
		if waits || len(v.Servers()) <= fewest {
			return core.Proposal{}, nil
		}
		return core.Proposal{Ops: []store.Op{store.Delete(store.ServerKey(s.name))}}, nil
	}, func(err error) {
		if (waits || err != nil) && s.w.now.Before(until) {
			s.w.after(200*time.Millisecond, func() { s.tryRemove(until) })
		}
	})
}

// known are the servers that the set of those that decide follows.
func (w *World) known(v *core.View) []*storev1.Server {
	return leases.Parting(v.Servers(), func(id string) bool {
		return slices.ContainsFunc(w.servers, func(s *server) bool { return s.name == id && s.parting > 0 })
	})
}

// members has servers come and go as the store says, also where nobody was told what became of a change.
func (w *World) members() {
	snap, err := w.store.List(context.Background(), store.Servers)
	if err != nil {
		return
	}
	for _, s := range w.servers {
		absent := !slices.ContainsFunc(snap.KVs, func(kv store.KV) bool { return kv.Key == store.ServerKey(s.name) })
		if absent == s.absent || len(snap.KVs) == 0 {
			continue
		}
		w.trace("server %s is one of the cluster's: %t", s.name, !absent)
		s.absent, s.heard = absent, w.now
		for _, l := range slices.Clone(w.reigns) {
			if absent && l.server == s {
				l.end()
			}
		}
		w.election()
	}
}

// checkServers: the servers that there are decide about leases, and nobody else.
func (w *World) checkServers(v *core.View) {
	if !w.guarded {
		return
	}
	next, why := leases.Next(v.Leases(), v.Generation(), v.Revision(), v.Servers(), w.statuses())
	if next != nil || why != "" || len(v.Leases().GetNext()) > 0 || len(v.Servers()) != len(w.present()) {
		w.violate("agreement: of %d servers, and %d as the store says, %v decide about leases, and %v next: %s", len(w.present()), len(v.Servers()), v.Leases().GetMembers(), v.Leases().GetNext(), why)
	}
}
