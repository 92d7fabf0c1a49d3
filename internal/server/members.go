package server

import (
	"context"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/leader"
)

const (
	membersEvery = 500 * time.Millisecond
	// learnerPatience is how long a member that was added may take to start before its place is given up.
	learnerPatience = 10 * time.Minute
	probeEvery      = 5 * time.Second
	probeTime       = time.Second
	// absence is how long a server may be away before history is no longer kept in the store for it.
	absence = time.Hour
)

// keepMembers gives newcomers their vote once they have caught up, gives up those that never came, and keeps in mind how
// the other servers are.
func (s *Server) keepMembers(ctx context.Context) error {
	tick := time.NewTicker(membersEvery)
	defer tick.Stop()
	added := map[uint64]time.Time{}
	var probed time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if s.external == nil && !s.shared() {
			continue
		}
		if err := s.keepAddresses(); err != nil {
			s.log.Warn("where the other servers are could not be kept", "error", err)
		}
		if !s.leader.Leading() {
			clear(added)
			continue
		}
		s.tendLearners(ctx, added)
		if now := time.Now(); now.Sub(probed) >= probeEvery {
			probed = now
			s.probeAll(ctx)
		}
	}
}

func (s *Server) tendLearners(ctx context.Context, added map[uint64]time.Time) {
	if s.member == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 10*membersEvery)
	defer cancel()
	for _, m := range s.member.Members() {
		if !m.Learner {
			delete(added, m.ID)
			continue
		}
		if added[m.ID].IsZero() {
			added[m.ID] = time.Now()
		}
		if m.Name == "" {
			if time.Since(added[m.ID]) > learnerPatience {
				s.log.Warn("a server that was to join did not come: its place is given up", "peer", m.Peer)
				if err := s.member.Remove(ctx, m.ID); err != nil {
					s.log.Warn("its place could not be given up", "error", err)
				}
			}
			continue
		}
		ok, err := s.member.Promote(ctx, m.ID)
		if err != nil {
			s.log.Debug("a server has no vote yet", "server", m.Name, "error", err)
		}
		if ok {
			s.noteVote(ctx, m.Name)
		}
	}
}

func (s *Server) noteVote(ctx context.Context, id string) {
	name := s.book.Server(id).GetName()
	s.log.Info("a server has caught up and votes from now on", "server", name)
	err := s.leader.Propose(ctx, func(time.Time, *leader.View) (leader.Proposal, error) {
		return leader.Proposal{Transitions: []*argosyv1.Transition{{Kind: argosyv1.TransitionKind_TRANSITION_KIND_SECURITY,
			From: "learner", To: "server " + name + " votes", Cause: "it has caught up"}}}, nil
	})
	if err != nil {
		s.log.Warn("it is not in the history that a server votes", "server", name, "error", err)
	}
}

// probe is what was last heard of another server.
type probe struct {
	health *argosyv1.ServerHealth // nil when it did not answer
	why    string
	// last is what it answered last, and when; nil and zero for never.
	last *argosyv1.ServerHealth
	at   time.Time
}

func (p probe) silent(now time.Time) *durationpb.Duration {
	if p.at.IsZero() {
		return nil
	}
	return durationpb.New(now.Sub(p.at))
}

type probes struct {
	mu   sync.Mutex
	seen map[string]probe // by server
}

// probeAll asks all servers how they are, all at once.
func (s *Server) probeAll(ctx context.Context) map[string]probe {
	out := map[string]probe{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, srv := range s.servers() {
		wg.Go(func() {
			p := s.probe(ctx, srv)
			mu.Lock()
			defer mu.Unlock()
			out[srv.Id] = p
		})
	}
	wg.Wait()
	return out
}

func (s *Server) probe(ctx context.Context, srv *storev1.Server) probe {
	p := probe{why: "nobody knows where it is"}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	switch {
	case srv.GetId() == s.id:
		p.health = s.health()
	case len(srv.GetAddresses()) > 0:
		res, err := s.askServer(srv.Addresses[0]).Probe(ctx, connect.NewRequest(&argosyv1.ProbeRequest{}))
		if err != nil {
			p.why = plainError(err)
		} else {
			p.health = res.Msg
		}
	}
	s.probes.mu.Lock()
	defer s.probes.mu.Unlock()
	if s.probes.seen == nil {
		s.probes.seen = map[string]probe{}
	}
	old := s.probes.seen[srv.GetId()]
	p.last, p.at = old.last, old.at
	if p.health != nil {
		p.last, p.at = p.health, time.Now()
	}
	s.probes.seen[srv.GetId()] = p
	return p
}

// stored is the number up to which history is in the database of every server that was there lately. What the store holds
// beyond need is then trimmed; a server that was away for longer reads what it lacks from another.
func (s *Server) stored() uint64 {
	own, err := s.history.Last()
	if err != nil {
		return 0
	}
	upTo := own
	now := time.Now()
	s.probes.mu.Lock()
	defer s.probes.mu.Unlock()
	for _, srv := range s.book.All() {
		if srv.Id == s.id {
			continue
		}
		p, known := s.probes.seen[srv.Id]
		if !known || p.at.IsZero() && s.started(srv.Id) {
			return 0 // this server has just begun to ask
		}
		if !p.at.IsZero() && now.Sub(p.at) < absence {
			upTo = min(upTo, p.last.GetHistory())
		}
	}
	return upTo
}

// started reports whether a server is a member of the store that has been seen.
func (s *Server) started(id string) bool {
	for _, m := range s.members() {
		if m.Name == id {
			return true
		}
	}
	return false
}
