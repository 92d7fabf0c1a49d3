package server

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/defaults"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/lease"
	"github.com/argosy-cluster/argosy/internal/leases"
	"github.com/argosy-cluster/argosy/internal/store"
)

// completeWitness fills in where this server and guards reach the witness beside it.
func (c Config) completeWitness() (Config, error) {
	if c.WitnessSocket == "" {
		c.WitnessSocket = filepath.Join(filepath.Dir(c.Socket), "witness.sock")
	}
	if c.WitnessAdvertise == "" {
		host, _, err := net.SplitHostPort(c.Advertise[0])
		if err != nil {
			return c, fmt.Errorf("%q is not host:port: %w", c.Advertise[0], err)
		}
		c.WitnessAdvertise = net.JoinHostPort(host, defaults.WitnessPort)
	}
	var err error
	if c.WitnessAdvertise, err = advertised(c.WitnessAdvertise, defaults.WitnessPort); err != nil {
		return c, fmt.Errorf("--witness-advertise: %w", err)
	}
	return c, nil
}

// newWitness makes what speaks with the witness beside this server. It only needs to run.
func (s *Server) newWitness() *leases.Keeper {
	return leases.New(leases.Config{Socket: s.cfg.WitnessSocket, Store: s.store, Server: s.id, Log: s.log,
		Leading: func() bool { return s.leader.Leading() }, Hurry: func() bool { return s.leader.Late() }, Looked: func(sights claims.Sights) {
			sights.Voting = s.voting()
			s.leader.Witnessed(sights)
		}})
}

// voting tells whether a majority of the witnesses that decide can give leases now, as far as this server has heard.
func (s *Server) voting() (yes bool) {
	_ = s.leader.Read(func(_ time.Time, v *leader.View) { yes = leases.Voting(v.Leases(), s.witnesses(v.Servers())) })
	return yes
}

// leasesEvery is how often it is looked whether the set of servers that decide about leases has to change.
const leasesEvery = time.Second

// keepLeases tells the cluster when another witness is beside this server, and, while this server leads, has the set of those that
// decide about leases follow the servers that there are.
func (s *Server) keepLeases(ctx context.Context) error {
	if err := lease.WriteBeside(s.cfg.DataDir, lease.Beside{Server: s.id, Timing: s.timing().Name}); err != nil {
		return err
	}
	tick := time.NewTicker(leasesEvery)
	defer tick.Stop()
	said := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		s.announceWitness(ctx)
		if !s.leader.Leading() {
			continue
		}
		why, err := s.changeLeases(ctx)
		if err != nil {
			s.log.Debug("the set of servers that decide about leases is not changed now", "error", err)
		}
		if why != "" && why != said {
			s.log.Info("the set of servers that decide about leases", "waits", why)
		}
		said = why
	}
}

// timing is the cluster's, which was chosen when it was made.
func (s *Server) timing() claims.Profile {
	p, err := claims.Named(s.cluster.Settings().GetLeaseProfile())
	if err != nil { // of a later release: whoever knows it says so when it starts
		s.log.Error("the cluster's timing of leases is not known to this release", "error", err)
		return claims.Default()
	}
	return p
}

// announceWitness has this server's record say where its witness is, once that has answered.
func (s *Server) announceWitness(ctx context.Context) {
	own := s.whereabouts()
	have := s.book.Server(s.id)
	if len(own.WitnessKey) == 0 || have == nil || string(have.GetWitnessKey()) == string(own.WitnessKey) && have.GetWitnessAddress() == own.WitnessAddress {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := s.announce(ctx, own); err != nil {
		s.log.Debug("the cluster cannot be told of this server's witness now", "error", err)
	}
}

// changeLeases makes the next step on the way to the servers that there are, or says what it waits for.
func (s *Server) changeLeases(ctx context.Context) (why string, err error) {
	err = s.leader.Propose(ctx, func(now time.Time, v *leader.View) (leader.Proposal, error) {
		var next *storev1.Leases
		servers := s.staying(v)
		if next, why = leases.Next(v.Leases(), v.Generation(), v.Revision(), servers, s.witnesses(servers)); next == nil {
			return leader.Proposal{}, nil
		}
		next.At = timestamppb.New(now)
		ops, err := puts(record{store.LeasesKey, next})
		return leader.Proposal{Ops: ops, Transitions: []*argosyv1.Transition{{Kind: argosyv1.TransitionKind_TRANSITION_KIND_SECURITY,
			To: "leases are decided by " + serverNames(v, next), Cause: next.Cause}}}, err
	})
	return why, err
}

// serverNames lists the servers of a set by their names.
func serverNames(v *leader.View, r *storev1.Leases) string {
	name := func(ids []string) string {
		list := make([]string, len(ids))
		for i, id := range ids {
			list[i] = cmp.Or(v.Server(id).GetName(), leases.Removed)
		}
		return strings.Join(list, ", ")
	}
	if len(r.Next) == 0 {
		return name(r.Members)
	}
	return "majorities of both " + name(r.Members) + " and " + name(r.Next)
}

// witnesses are what was last heard of the witnesses of all servers.
func (s *Server) witnesses(servers []*storev1.Server) []claims.Status {
	var out []claims.Status
	for _, srv := range servers {
		if srv.Id == s.id {
			h, _ := s.witnessHealth()
			out = append(out, leases.StatusOf(s.id, h))
			continue
		}
		s.probes.mu.Lock()
		h := s.probes.seen[srv.Id].health
		s.probes.mu.Unlock()
		out = append(out, leases.StatusOf(srv.Id, h.GetWitness()))
	}
	return out
}

// witnessHealth is how the witness beside this server is, or why it does not say.
func (s *Server) witnessHealth() (*argosyv1.WitnessHealth, string) {
	st := s.witness.Status()
	r := st.Report
	if r == nil {
		return nil, st.Why
	}
	h := &argosyv1.WitnessHealth{Address: s.cfg.WitnessAdvertise, Key: r.GetKey(), Settled: r.GetSettled(), Silent: r.GetSilent(), Trouble: r.GetTrouble()}
	if r.GetSilent() {
		h.Left = durationpb.New(time.Duration(r.GetLeft()))
	}
	if e := r.GetConfig().GetEpoch(); e.GetGeneration() > 0 {
		h.Epoch = &argosyv1.FencingToken{Generation: e.GetGeneration(), Revision: e.GetRevision()}
	}
	return h, ""
}

// leaseStatus says which servers decide about leases, and what a change of that waits for.
func (s *Server) leaseStatus(health map[string]probe) (members, next []string, why string) {
	_ = s.leader.Read(func(_ time.Time, v *leader.View) {
		r := v.Leases()
		members, next = r.GetMembers(), r.GetNext()
		seen := make([]claims.Status, 0, len(health))
		servers := s.staying(v)
		for _, srv := range servers {
			seen = append(seen, leases.StatusOf(srv.Id, health[srv.Id].health.GetWitness()))
		}
		if change, waits := leases.Next(r, v.Generation(), v.Revision(), servers, seen); change == nil {
			why = waits
		}
	})
	return members, next, why
}

// FenceSession has the witness beside this server let go of a session that it has not heard of for as long as the lease may last, or of a claim
// whose storage refuses the machine.
func (s serverService) FenceSession(ctx context.Context, r *connect.Request[argosyv1.FenceSessionRequest]) (*connect.Response[argosyv1.FenceSessionResponse], error) {
	if r.Msg.Confirmed {
		t := r.Msg.GetToken()
		err := s.fenceClaim(ctx, claims.ID(r.Msg.Claim), claims.Machine(r.Msg.Machine), claims.Token{Generation: t.GetGeneration(), Revision: t.GetRevision()})
		return respond(&argosyv1.FenceSessionResponse{}, rpcError(err))
	}
	why, err := s.fence(ctx, claims.Session(r.Msg.Session))
	if err == nil && why == "" { // the session goes with all that it has; for the sake of which claim is kept here
		s.log.Info("the witness beside this server lets go of a session", "for", clip(r.Msg.Claim), "session", clip(r.Msg.Session))
	}
	return respond(&argosyv1.FenceSessionResponse{Refused: why}, rpcError(err))
}

// fence lets go of a session, if nothing was heard of it for the whole waiting time. The witness would give up its claims by itself
// then; one that hears of it has them.
func (s *Server) fence(ctx context.Context, session claims.Session) (refused string, err error) {
	look, err := s.witness.Order(ctx, &leasev1.Order{Order: &leasev1.Order_Look{Look: &leasev1.Look{}}})
	if err != nil {
		return "", connect.NewError(connect.CodeUnavailable, err)
	}
	wait := s.timing().Wait
	for id, seen := range leases.SightsOf(s.id, leases.Status{Report: look}).Seen {
		if seen.Session == session && seen.Gone == "" && seen.Age < wait {
			return fmt.Sprintf("server %s heard of %s's claim %s %s ago: it is given up only after %s of silence", s.cfg.Name, seen.Machine, id, claims.Tenths(seen.Age), claims.Tenths(wait)), nil
		}
	}
	_, err = s.witness.Order(ctx, &leasev1.Order{Order: &leasev1.Order_Fence{Fence: &leasev1.Fence{Session: string(session)}}})
	return "", err
}
