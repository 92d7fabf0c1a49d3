package server

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/rotation"
	"github.com/argosy-cluster/argosy/internal/store"
)

const (
	// rotationLook is how often the leader looks how far a rotation is.
	rotationLook = 500 * time.Millisecond
	// rotationTime is how long everybody has to follow, unless said otherwise; what has not is told then.
	rotationTime    = 30 * 24 * time.Hour
	maxRotationTime = 365 * 24 * time.Hour
	// lately is longer than a server needs to open its store anew.
	lately = 10 * time.Second
	// endsSoon is how long before an authority's end it is said that it ends.
	endsSoon = 365 * 24 * time.Hour
)

// keepAuthority carries on, on the server that leads, what a rotation needs, and has servers open their stores anew that trust what
// they should not.
func (s *Server) keepAuthority(ctx context.Context) error {
	tick := time.NewTicker(rotationLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if !s.leader.Leading() {
			continue
		}
		if err := s.carryRotation(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("the change to another authority does not go on yet", "error", err)
		}
	}
}

func (s *Server) carryRotation(ctx context.Context) error {
	var kept *storev1.Cluster
	if err := s.read(func(_ time.Time, v *leader.View) error { kept = v.Cluster(); return nil }); err != nil {
		return nil // another leads now
	}
	if kept == nil || kept.Other == nil && !s.staleStores() {
		return nil
	}
	servers := s.rotatingServers(ctx)
	var plan rotation.Plan
	if err := s.read(func(_ time.Time, v *leader.View) error {
		plan = rotation.Decide(s.rotating(v.Cluster()), servers, holders(v))
		return nil
	}); err != nil {
		return nil // likewise
	}
	switch plan.Step {
	case rotation.Reopen:
		return s.haveReopened(ctx, plan.Server)
	case rotation.Switch:
		return s.rewrite(ctx, kept, func(now time.Time) (*storev1.Cluster, string, string) {
			next := auth.SwitchAuthority(kept, now)
			return next, fmt.Sprintf("authority %d issues certificates", next.CaNumber), "all servers know it"
		})
	case rotation.Drop:
		return s.rewrite(ctx, kept, func(time.Time) (*storev1.Cluster, string, string) {
			return auth.DropAuthority(kept), fmt.Sprintf("authority %d is given up", kept.Other.Number), "nobody needs it any more"
		})
	}
	return s.tellOverdue(ctx, kept, plan)
}

// staleStores says whether some server's store trusts what the server itself does not, as far as is known.
func (s *Server) staleStores() bool {
	if !sameNumbers(s.trustsOfStore(), s.cluster.Trusts()) {
		return true
	}
	s.probes.mu.Lock()
	defer s.probes.mu.Unlock()
	for _, srv := range s.book.All() {
		if last := s.probes.seen[srv.Id].last; srv.Id != s.id && last != nil && !sameNumbers(last.StoreTrusts, last.Trusts) {
			return true
		}
	}
	return false
}

func sameNumbers(a, b []uint32) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

func (s *Server) rotating(kept *storev1.Cluster) rotation.Cluster {
	return rotation.Cluster{Issuing: max(1, kept.GetCaNumber()), Other: kept.GetOther().GetNumber(), Leader: s.id}
}

// rotatingServers asks every server how it is.
func (s *Server) rotatingServers(ctx context.Context) []rotation.Server {
	seen := s.probeAll(ctx)
	var out []rotation.Server
	for _, srv := range s.servers() {
		one := rotation.Server{ID: srv.Id, Name: srv.Name}
		if p := seen[srv.Id]; p.health == nil {
			one.Silent, one.Lately = p.why, !p.at.IsZero() && time.Since(p.at) < lately
		} else {
			one.Trusts, one.StoreTrusts = p.health.Trusts, p.health.StoreTrusts
		}
		out = append(out, one)
	}
	slices.SortFunc(out, func(a, b rotation.Server) int { return naturalCompare(a.Name, b.Name) })
	return out
}

func holders(v *leader.View) []rotation.Holder {
	var out []rotation.Holder
	for _, m := range v.Machines() {
		out = append(out, rotation.Holder{Kind: "machine", Name: m.Name, Authority: max(1, m.Authority), Connected: v.Connected(m.Id)})
	}
	for _, u := range v.Users() {
		out = append(out, rotation.Holder{Kind: "user", Name: u.Name, Authority: max(1, u.Authority)})
	}
	return out
}

// haveReopened has a server open its store anew. This one hands over first what it leads, so that nobody waits for an election.
func (s *Server) haveReopened(ctx context.Context, id string) error {
	if id != s.id {
		srv := s.book.Server(id)
		if len(srv.GetAddresses()) == 0 {
			return nil
		}
		_, err := s.askServer(srv.Addresses[0]).Probe(ctx, connect.NewRequest(&argosyv1.ProbeRequest{ReopenStore: true}))
		return err
	}
	if err := s.stepDown(ctx, s.members()); errors.Is(err, leader.ErrNotLeading) {
		return nil // the next one asks this one
	}
	s.reopenStore()
	return nil
}

// rewrite replaces the cluster's record, if it still is what was decided on.
func (s *Server) rewrite(ctx context.Context, kept *storev1.Cluster, f func(now time.Time) (next *storev1.Cluster, to, cause string)) error {
	return s.leader.Propose(ctx, func(now time.Time, v *leader.View) (leader.Proposal, error) {
		if !proto.Equal(kept, v.Cluster()) {
			return leader.Proposal{}, nil
		}
		next, to, cause := f(now)
		return rewritten(next, to, cause, "")
	})
}

func rewritten(next *storev1.Cluster, to, cause, actor string) (leader.Proposal, error) {
	ops, err := puts(record{store.ClusterKey, next})
	return leader.Proposal{Ops: ops, Transitions: []*argosyv1.Transition{{Kind: argosyv1.TransitionKind_TRANSITION_KIND_SECURITY,
		To: to, Cause: cause, Actor: actor}}}, err
}

// tellOverdue says once that the deadline has passed.
func (s *Server) tellOverdue(ctx context.Context, kept *storev1.Cluster, plan rotation.Plan) error {
	rot := kept.GetRotation()
	if rot == nil || rot.Overdue || rot.Deadline == nil || time.Now().Before(rot.Deadline.AsTime()) || len(plan.Waiting()) == 0 {
		return nil
	}
	return s.rewrite(ctx, kept, func(time.Time) (*storev1.Cluster, string, string) {
		next := proto.CloneOf(kept)
		next.Rotation.Overdue = true
		return next, "the change to another authority is overdue", "it waits for " + rotation.Names(plan.Waiting())
	})
}

// authorityStatus is how far everything is.
func (s *Server) authorityStatus(v *leader.View, servers []rotation.Server) *argosyv1.AuthorityStatus {
	kept := v.Cluster()
	c, all := s.rotating(kept), holders(v)
	rot := kept.GetRotation()
	st := &argosyv1.AuthorityStatus{
		Current: authorityInfo(c.Issuing, kept.GetCaCertificate()), Phase: c.Phase(), Waiting: rotation.Decide(c, servers, all).Waiting(),
		Since: rot.GetSince(), By: rot.GetBy(), Deadline: rot.GetDeadline(), Overdue: rot.GetOverdue(), Holders: uint32(len(all)),
	}
	if o := kept.GetOther(); o != nil {
		st.Other = authorityInfo(o.Number, o.Certificate)
	}
	for _, h := range all {
		if h.Authority >= max(c.Issuing, c.Other) {
			st.Followed++
		}
	}
	return st
}

func authorityInfo(number uint32, der []byte) *argosyv1.AuthorityInfo {
	sum := sha256.Sum256(der)
	info := &argosyv1.AuthorityInfo{Number: number, Digest: sum[:]}
	if cert, err := x509.ParseCertificate(der); err == nil {
		info.Ends = timestamppb.New(cert.NotAfter)
	}
	return info
}

// rotationText is what `status` says of it, empty when there is nothing to say.
func (s *Server) rotationText(v *leader.View, now time.Time) string {
	kept := v.Cluster()
	c := s.rotating(kept)
	switch {
	case c.Other == 0:
		if ends := authorityInfo(c.Issuing, kept.GetCaCertificate()).Ends.AsTime(); ends.Sub(now) < endsSoon {
			return fmt.Sprintf("the cluster's authority ends on %s: 'argosy ca rotate' makes the next one", ends.UTC().Format("2006-01-02"))
		}
		return ""
	case c.Other > c.Issuing:
		return fmt.Sprintf("the servers learn authority %d; see 'argosy ca'", c.Other)
	}
	left := 0
	for _, h := range holders(v) {
		if h.Authority < c.Issuing {
			left++
		}
	}
	late := ""
	if kept.Rotation.GetOverdue() {
		late = ", which is overdue"
	}
	return fmt.Sprintf("authority %d takes over from %d, which %d machines and users still use%s; see 'argosy ca'", c.Issuing, c.Other, left, late)
}

func (s clusterService) GetAuthority(ctx context.Context, _ *connect.Request[argosyv1.GetAuthorityRequest]) (*connect.Response[argosyv1.AuthorityStatus], error) {
	var res *argosyv1.AuthorityStatus
	servers := s.rotatingServers(ctx)
	err := s.read(func(_ time.Time, v *leader.View) error { res = s.authorityStatus(v, servers); return nil })
	return respond(res, err)
}

func (s clusterService) RotateAuthority(ctx context.Context, r *connect.Request[argosyv1.RotateAuthorityRequest]) (*connect.Response[argosyv1.AuthorityStatus], error) {
	life := rotationTime
	if r.Msg.Deadline != nil {
		life = r.Msg.Deadline.AsDuration()
		if r.Msg.Deadline.CheckValid() != nil || life <= 0 || life > maxRotationTime {
			return nil, invalid("a deadline of %s makes no sense: it is more than nothing and at most %d days", life, maxRotationTime/(24*time.Hour))
		}
	}
	res := &argosyv1.AuthorityStatus{}
	servers := s.rotatingServers(ctx)
	err := s.change(ctx, change{rpc: "RotateAuthority", key: r.Msg.IdempotencyKey, request: r.Msg, response: res,
		decide: func(now time.Time, v *leader.View) (leader.Proposal, error) {
			kept := v.Cluster()
			proto.Merge(res, s.authorityStatus(v, servers))
			deadline := now.Add(life)
			if kept.GetOther() != nil {
				next := proto.CloneOf(kept)
				next.Rotation.Deadline, next.Rotation.Overdue = timestamppb.New(deadline), false
				res.Deadline, res.Overdue = next.Rotation.Deadline, false
				return rewritten(next, "the change to another authority has another deadline", deadline.UTC().Format(time.RFC3339), actorOf(ctx))
			}
			next, err := s.cluster.StartRotation(kept, actorOf(ctx), deadline, now)
			if err != nil {
				return leader.Proposal{}, err
			}
			res.Phase, res.Other = argosyv1.RotationPhase_ROTATION_PHASE_SPREADING, authorityInfo(next.Other.Number, next.Other.Certificate)
			res.Since, res.By, res.Deadline, res.Followed = next.Rotation.Since, next.Rotation.By, next.Rotation.Deadline, 0
			return rewritten(next, fmt.Sprintf("authority %d is made", next.Other.Number), fmt.Sprintf("to take over from authority %d", max(1, kept.CaNumber)), actorOf(ctx))
		}})
	return respond(res, err)
}

func (s clusterService) FinishRotation(ctx context.Context, r *connect.Request[argosyv1.FinishRotationRequest]) (*connect.Response[argosyv1.AuthorityStatus], error) {
	res := &argosyv1.AuthorityStatus{}
	servers := s.rotatingServers(ctx)
	err := s.change(ctx, change{rpc: "FinishRotation", key: r.Msg.IdempotencyKey, request: r.Msg, response: res,
		decide: func(_ time.Time, v *leader.View) (leader.Proposal, error) {
			kept := v.Cluster()
			proto.Merge(res, s.authorityStatus(v, servers))
			if kept.GetOther() == nil {
				return leader.Proposal{}, refused("no change to another authority is under way; 'argosy ca rotate' begins one")
			}
			c := s.rotating(kept)
			plan := rotation.Decide(c, servers, holders(v))
			switch {
			case c.Other > c.Issuing:
				return leader.Proposal{}, refused("the new authority issues nothing yet: the servers learn it first (waiting for %s)", orNobody(plan.Waiting()))
			case len(plan.Servers) > 0:
				return leader.Proposal{}, refused("%s would be left behind, and no server ever is: %s", rotation.Names(plan.Servers), plan.Servers[0].Message)
			case len(plan.Holders) > 0 && !r.Msg.Force:
				return leader.Proposal{}, refused("%s would be left behind and have to join, or log in, again: wait for them, or use --force", rotation.Names(plan.Holders))
			}
			cause := "nobody needs it any more"
			if len(plan.Holders) > 0 {
				cause = "by force; left behind: " + rotation.Names(plan.Holders)
			}
			res.Phase, res.Other, res.Since, res.By, res.Deadline, res.Overdue = argosyv1.RotationPhase_ROTATION_PHASE_NONE, nil, nil, "", nil, false
			return rewritten(auth.DropAuthority(kept), fmt.Sprintf("authority %d is given up", kept.Other.Number), cause, actorOf(ctx))
		}})
	return respond(res, err)
}

func orNobody(list []*argosyv1.Follower) string {
	if len(list) == 0 {
		return "a moment"
	}
	return rotation.Names(list)
}
