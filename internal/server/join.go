package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/network"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
)

// joinService answers argosy.v1.JoinService.
type joinService struct{ *Server }

// What a joining machine may say of itself. Sums over all machines must not overflow.
const (
	maxRoutes = 10_000
	maxBootID = 64
)

func (s joinService) Join(ctx context.Context, r *connect.Request[argosyv1.JoinRequest]) (*connect.Response[argosyv1.JoinResponse], error) {
	token, err := auth.ParseToken(r.Msg.Token, argosyv1.TokenPurpose_TOKEN_PURPOSE_UNSPECIFIED)
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	digest, err := auth.CSRKeyDigest(r.Msg.Csr)
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	if token.Purpose == argosyv1.TokenPurpose_TOKEN_PURPOSE_SERVER {
		if err := s.mayReplace(ctx, token, r.Msg.Replace); err != nil {
			return nil, rpcError(err)
		}
	}
	res := &argosyv1.JoinResponse{Settings: s.cluster.Settings()}
	err = s.leader.Propose(ctx, func(now time.Time, v *leader.View) (leader.Proposal, error) {
		res.Servers, res.Ca, res.AlsoTrusted = s.addresses(v), s.cluster.CA(), s.cluster.AlsoTrusted()
		kept := v.Token(token.ID())
		if err := s.cluster.VerifyToken(kept, token, now); err != nil {
			if again, issueErr := s.joinedAlready(v, err, r.Msg, digest, res, now); again {
				return leader.Proposal{}, issueErr
			}
			return leader.Proposal{}, connect.NewError(connect.CodePermissionDenied, err)
		}
		switch token.Purpose {
		case argosyv1.TokenPurpose_TOKEN_PURPOSE_USER:
			return s.joinUser(v, kept, r.Msg, digest, res, now)
		case argosyv1.TokenPurpose_TOKEN_PURPOSE_SERVER:
			return s.joinServer(v, kept, r.Msg, digest, res, now)
		}
		return s.joinMachine(v, kept, r.Msg, digest, res, now)
	})
	return respond(res, rpcError(err))
}

// joinedAlready answers a machine or user whose first answer was lost: the token is used, and by the very key that asks
// again. It gets its certificate anew and nothing else happens.
func (s *Server) joinedAlready(v *leader.View, refusal error, r *argosyv1.JoinRequest, digest []byte, res *argosyv1.JoinResponse, now time.Time) (again bool, err error) {
	var te *auth.TokenError
	if !errors.As(refusal, &te) || te.Problem != auth.TokenUsed {
		return false, nil
	}
	if srv := joinedBefore(v, digest); srv != nil {
		return true, s.handOver(res, srv.Id, r.SealingKey)
	}
	for _, m := range v.Machines() {
		if bytes.Equal(m.KeyDigest, digest) {
			res.MachineId, res.Subnet = m.Id, m.Subnet
			res.Certificate, err = s.cluster.IssueMachine(r.Csr, m.Id, now)
			return true, err
		}
	}
	for _, u := range v.Users() {
		if bytes.Equal(u.KeyDigest, digest) {
			res.User, res.Role = u.Name, u.Role
			res.Certificate, err = s.cluster.IssueUser(r.Csr, u.Name, now)
			return true, err
		}
	}
	return false, nil
}

func (s *Server) joinUser(v *leader.View, kept *storev1.Token, r *argosyv1.JoinRequest, digest []byte, res *argosyv1.JoinResponse, now time.Time) (leader.Proposal, error) {
	info := kept.Info
	cert, err := s.cluster.IssueUser(r.Csr, info.User, now)
	if err != nil {
		return leader.Proposal{}, connect.NewError(connect.CodeInvalidArgument, err)
	}
	res.Certificate, res.User, res.Role = cert, info.User, info.Role
	created := timestamppb.New(now)
	if old := v.User(info.User); old != nil {
		created = old.CreatedAt
	}
	ops, err := puts(
		record{store.UserKey(info.User), &storev1.User{Name: info.User, Tenant: info.Tenant, Role: info.Role, KeyDigest: digest, CreatedAt: created,
			Authority: s.cluster.Trusts()[0]}},
		record{store.TokenKey(info.Id), auth.SpendToken(kept, "user "+info.User, now)})
	return leader.Proposal{Ops: ops, Transitions: []*argosyv1.Transition{{Kind: argosyv1.TransitionKind_TRANSITION_KIND_SECURITY,
		Tenant: info.Tenant, To: "user " + info.User + " logged in", Cause: "token " + info.Id, Actor: info.User}}}, err
}

func (s *Server) joinMachine(v *leader.View, kept *storev1.Token, r *argosyv1.JoinRequest, digest []byte, res *argosyv1.JoinResponse, now time.Time) (leader.Proposal, error) {
	if err := checkMachine(v, r); err != nil {
		return leader.Proposal{}, err
	}
	subnet, err := s.freeSubnet(v, r.Routes)
	if err != nil {
		return leader.Proposal{}, refused("%w", err)
	}
	id := s.newID()
	cert, err := s.cluster.IssueMachine(r.Csr, id, now)
	if err != nil {
		return leader.Proposal{}, connect.NewError(connect.CodeInvalidArgument, err)
	}
	m := &argosyv1.Machine{Id: id, Name: r.Name, Labels: r.Labels, Capacity: r.Capacity, Subnet: subnet.String(), Address: r.Address,
		JoinedAt: timestamppb.New(now), BootId: r.BootId, KeyDigest: digest, SealingKey: r.SealingKey, Authority: s.cluster.Trusts()[0],
		Condition: argosyv1.MachineCondition_MACHINE_CONDITION_UNREACHABLE}
	res.Certificate, res.MachineId, res.Subnet = cert, id, m.Subnet
	ops, err := puts(record{store.MachineKey(id), m}, record{store.TokenKey(kept.Info.Id), auth.SpendToken(kept, "machine "+r.Name, now)})
	return leader.Proposal{Ops: ops, Transitions: []*argosyv1.Transition{{Kind: argosyv1.TransitionKind_TRANSITION_KIND_MACHINE,
		Machine: id, To: "joined as " + r.Name, Cause: "token " + kept.Info.Id, Actor: "machine " + r.Name}}}, err
}

func checkMachine(v *leader.View, r *argosyv1.JoinRequest) error {
	if !dnsLabel.MatchString(r.Name) {
		return invalid("%q cannot name a machine: it is a DNS label that starts with a letter; give one with --name", clip(r.Name))
	}
	if other := v.FindMachine(r.Name); other != nil {
		return exists("a machine called %s is in the cluster already: give this one another name with --name, or remove the old one with 'argosy machines remove %s'", r.Name, r.Name)
	}
	addr, err := netip.ParseAddr(r.Address)
	if err != nil || addr.IsUnspecified() || addr.IsMulticast() || addr.Zone() != "" {
		return invalid("%q is not an address that other machines can reach: give one with --address", clip(r.Address))
	}
	addr = addr.Unmap()
	r.Address = addr.String() // as it is compared and handed on
	for _, other := range v.Machines() {
		if other.Address == addr.String() {
			return exists("machine %s has the address %s already: if it was this machine before, remove that one first with 'argosy machines remove %s'", other.Name, addr, other.Name)
		}
	}
	if err := state.CheckCapacity(r.GetCapacity()); err != nil {
		return connectInvalid(err)
	}
	if len(r.BootId) > maxBootID {
		return invalid("the boot id is longer than %d bytes", maxBootID)
	}
	if err := checkLabels(r.Labels); err != nil {
		return err
	}
	return connectInvalid(auth.CheckSealingKey(r.SealingKey))
}

func connectInvalid(err error) error {
	if err == nil {
		return nil
	}
	return connect.NewError(connect.CodeInvalidArgument, err)
}

// freeSubnet is the subnet of a new machine, after checking that the cluster's range hides none of its routes.
func (s *Server) freeSubnet(v *leader.View, routes []string) (netip.Prefix, error) {
	span, err := netip.ParsePrefix(v.Settings().GetNetworkRange())
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("the cluster's network range is damaged: %w", err)
	}
	if len(routes) > maxRoutes {
		return netip.Prefix{}, fmt.Errorf("the machine has %d routes, more than the %d that are looked at", len(routes), maxRoutes)
	}
	var own []network.Route
	for _, r := range routes {
		p, err := netip.ParsePrefix(r)
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("%q, reported as a route, is not a network", clip(r))
		}
		own = append(own, network.Route{Dst: p})
	}
	if err := network.Overlaps(span, own); err != nil {
		return netip.Prefix{}, err
	}
	var taken []netip.Prefix
	for _, m := range v.Machines() {
		if p, err := netip.ParsePrefix(m.Subnet); err == nil {
			taken = append(taken, p)
		}
	}
	return network.Allocate(span, taken)
}

func (s joinService) Renew(ctx context.Context, r *connect.Request[argosyv1.RenewRequest]) (*connect.Response[argosyv1.RenewResponse], error) {
	cert, err := s.cluster.Renew(ctx, r.Msg.Csr, time.Now())
	if err != nil {
		return nil, connect.NewError(connect.CodePermissionDenied, err)
	}
	return connect.NewResponse(&argosyv1.RenewResponse{Certificate: cert, Ca: s.cluster.CA(), AlsoTrusted: s.cluster.AlsoTrusted()}), nil
}
