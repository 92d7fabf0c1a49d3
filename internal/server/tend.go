package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/upkeep"
)

const (
	// tendEvery is how often the store is looked at, and tendTime how long one step may take: a file of gigabytes is copied.
	tendEvery = 10 * time.Second
	tendTime  = 5 * time.Minute
	// behind is by how many changes a member may be behind and still count as well.
	behind = 1000
)

// tending is what the server whose member leads the store remembers of tending it.
type tending struct {
	compacted time.Time
	tended    map[string]time.Time // by server
	level     string               // that was last noted in history
}

// tendStore keeps the store within its quota, as long as this server's member leads it. A store that is full has no leader
// of the cluster, which is why nothing here needs one.
func (s *Server) tendStore(ctx context.Context) error {
	if s.member == nil {
		return nil // whoever runs etcd sees to it
	}
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	t := tending{tended: map[string]time.Time{}}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := s.tend(ctx, time.Now(), &t); err != nil && ctx.Err() == nil {
			s.log.Warn("the store could not be tended to", "error", err)
		}
	}
}

// tend carries out one step.
func (s *Server) tend(ctx context.Context, now time.Time, t *tending) error {
	if !s.member.Leading() {
		*t = tending{tended: map[string]time.Time{}}
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, tendTime)
	defer cancel()
	st := upkeep.Store{Full: s.member.Space().Full, Compacted: t.compacted, Members: s.storeMembers(ctx, t.tended)}
	s.noteRoom(ctx, t, st)
	step := upkeep.Next(now, st)
	if step.Kind == upkeep.Nothing {
		return nil
	}
	s.log.Info("tending to the store", "step", step.Kind.String(), "server", s.serverName(step.Member), "why", step.Why)
	switch step.Kind {
	case upkeep.Compact:
		t.compacted = now
		return s.member.Compact(ctx)
	case upkeep.HandOver:
		for _, m := range s.member.Members() {
			if m.Name == step.Member {
				return s.member.HandOver(ctx, m.ID)
			}
		}
	case upkeep.Defragment:
		t.tended[step.Member] = now
		return s.defragment(ctx, step.Member)
	case upkeep.Reopen:
		return s.member.Disarm(ctx)
	}
	return nil
}

// storeMembers are the members with a vote, as they say that they are.
func (s *Server) storeMembers(ctx context.Context, tended map[string]time.Time) []upkeep.Member {
	health := s.probeAll(ctx)
	applied := s.member.Applied()
	var out []upkeep.Member
	for _, m := range s.member.Members() {
		if m.Learner || m.Name == "" {
			continue
		}
		u := upkeep.Member{Name: m.Name, Leads: m.Name == s.id, Tended: tended[m.Name]}
		if h := health[m.Name].health; h != nil {
			u.Well = h.Applied+behind >= applied
			u.Size, u.InUse, u.Quota = h.StoreSize, h.StoreInUse, h.StoreQuota
		}
		out = append(out, u)
	}
	return out
}

func (s *Server) serverName(id string) string {
	if srv := s.book.Server(id); srv.GetName() != "" {
		return srv.Name
	}
	return id
}

func (s *Server) defragment(ctx context.Context, id string) error {
	if id == s.id {
		return s.member.Defragment()
	}
	srv := s.book.Server(id)
	if len(srv.GetAddresses()) == 0 {
		return errors.New("nobody knows where the server is")
	}
	_, err := s.askServer(srv.Addresses[0]).DefragmentStore(ctx, connect.NewRequest(&argosyv1.DefragmentStoreRequest{}))
	return err
}

func (s serverService) DefragmentStore(context.Context, *connect.Request[argosyv1.DefragmentStoreRequest]) (*connect.Response[argosyv1.DefragmentStoreResponse], error) {
	if s.member == nil {
		return nil, refused("%w, which is whose it is to defragment", errExternal)
	}
	if s.member.Leading() && len(s.member.Members()) > 1 {
		return nil, refused("this server leads the store, and the others need it")
	}
	return respond(&argosyv1.DefragmentStoreResponse{}, rpcError(s.member.Defragment()))
}

// roomLevel says how the store stands, in words that stand in history.
func roomLevel(st upkeep.Store) (level, cause string) {
	worst := slices.MaxFunc(append([]upkeep.Member{{}}, st.Members...), func(a, b upkeep.Member) int { return a.Percent() - b.Percent() })
	switch {
	case st.Full:
		return "the store is full", "its file takes its quota"
	case worst.Short():
		return "the store is nearly full", fmt.Sprintf("its file takes %d %% of its quota of %d MiB", worst.Percent(), worst.Quota>>20)
	}
	return "the store has room", fmt.Sprintf("its file takes %d %% of its quota", worst.Percent())
}

// noteRoom puts into history that the store becomes full, or has room again. While it is full nothing can be noted.
func (s *Server) noteRoom(ctx context.Context, t *tending, st upkeep.Store) {
	level, cause := roomLevel(st)
	was := t.level
	if level == was {
		return
	}
	t.level = level
	if st.Full {
		s.log.Error("the store is full: nothing can be changed until it has room again, and machines keep what they run")
		return
	}
	if was == "" && level == "the store has room" {
		return
	}
	s.log.Warn(level, "because", cause)
	err := s.leader.Propose(ctx, func(time.Time, *leader.View) (leader.Proposal, error) {
		return leader.Proposal{Transitions: []*argosyv1.Transition{{Kind: argosyv1.TransitionKind_TRANSITION_KIND_SECURITY,
			From: was, To: level, Cause: cause}}}, nil
	})
	if err != nil {
		t.level = was // noted later
	}
}

// whyNobodyLeads is what may be said to who asks for something that takes a leader.
func (s *Server) whyNobodyLeads() string {
	space := s.base.Space()
	if s.member == nil && space.Full {
		return "etcd is full: what runs goes on, and nothing can be changed until whoever runs it has made room ('etcdctl defrag', or a larger --quota-backend-bytes) and taken back the alarm ('etcdctl alarm disarm')"
	}
	return fullText(space)
}

func fullText(sp store.Space) string {
	switch {
	case !sp.Full:
		return ""
	case sp.InUse*10 >= sp.Quota*9:
		return fmt.Sprintf("the store is full: what is kept in it takes %d of %d MiB. What runs goes on, and nothing can be changed until each server was started with a larger --store-quota", sp.InUse>>20, sp.Quota>>20)
	}
	return "the store is full: what runs goes on, and nothing can be changed. The servers make room by themselves, which takes a minute or so"
}
