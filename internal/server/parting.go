package server

import (
	"cmp"
	"context"
	"sync"
	"time"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/leases"
)

// parting are the servers that are about to be removed, and still have a part in deciding about leases. It is kept in memory: where the
// leader dies meanwhile, they stay.
type parting struct {
	mu  sync.Mutex
	ids map[string]int
}

func (p *parting) has(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ids[id] > 0
}

func (p *parting) add(id string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ids == nil {
		p.ids = map[string]int{}
	}
	if p.ids[id] += n; p.ids[id] == 0 {
		delete(p.ids, id)
	}
}

// staying are the servers that the set of those that decide about leases follows.
func (s *Server) staying(v *leader.View) []*storev1.Server {
	return leases.Parting(v.Servers(), s.parting.has)
}

// partEvery is how often it is looked whether a server may go.
const partEvery = 200 * time.Millisecond

// letGo has the others decide about leases without a server, where they could not once it is gone: leases would end everywhere then, and
// nobody could change that. Each step takes the waiting time and a little more, in which the server and its witness have to run. Until its
// record is gone it may be taken in again, which the others take back at once.
func (s *Server) letGo(ctx context.Context, srv *storev1.Server) error {
	s.parting.add(srv.Id, 1)
	defer s.parting.add(srv.Id, -1)
	step := 2*s.timing().Wait + 10*time.Second
	patience := time.NewTimer(step)
	defer patience.Stop()
	tick := time.NewTicker(partEvery)
	defer tick.Stop()
	var at claims.Epoch
	for {
		var free bool
		if err := s.read(func(_ time.Time, v *leader.View) error {
			free = leases.Without(v.Leases(), v.Servers(), srv.Id)
			if now := leases.ConfigOf(v.Leases()).Epoch; now != at { // an earlier change may have to come to its end first
				at = now
				patience.Reset(step)
			}
			return nil
		}); err != nil || free {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-patience.C:
			_, _, why := s.leaseStatus(s.probeAll(ctx))
			return refused("without server %s the others are no majority of those that decide about leases, so that what has shared volumes could never run again; "+
				"have it and its witness run, and use --force, or bring others back first: %s", srv.Name, cmp.Or(why, "see 'argosy servers'"))
		case <-tick.C:
		}
	}
}
