package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/defaults"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/lease"
	"github.com/argosy-cluster/argosy/internal/leases"
	"github.com/argosy-cluster/argosy/internal/protocol"
	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/embedded"
)

// serverService answers argosy.v1.ServerService.
type serverService struct{ *Server }

// ask is the service of another server, by the address that it is reached at.
func (s *Server) askServer(addr string) argosyv1connect.ServerServiceClient {
	return argosyv1connect.NewServerServiceClient(&http.Client{Transport: s.transport}, "https://"+addr, protocol.Client(s.cfg.version))
}

// announce tells the leader where this server is.
func (s *Server) announce(ctx context.Context, r *argosyv1.EnterRequest) error {
	if s.leader.Leading() {
		_, err := s.enter(ctx, s.id, r)
		return err
	}
	lead := s.book.Server(s.base.Leader())
	if len(lead.GetAddresses()) == 0 || lead.GetId() == s.id {
		return leader.ErrNotLeading
	}
	_, err := s.askServer(lead.Addresses[0]).Enter(ctx, connect.NewRequest(r))
	return err
}

func (s serverService) Enter(ctx context.Context, r *connect.Request[argosyv1.EnterRequest]) (*connect.Response[argosyv1.EnterResponse], error) {
	res, err := s.enter(ctx, auth.IdentityFrom(ctx).ID, r.Msg)
	return respond(res, rpcError(err))
}

// enter takes note of where a server is and makes it a member of the store.
func (s *Server) enter(ctx context.Context, id string, r *argosyv1.EnterRequest) (*argosyv1.EnterResponse, error) {
	if err := checkServer(r); err != nil {
		return nil, err
	}
	if err := s.mayWork(ctx, r); err != nil {
		return nil, err
	}
	if r.PeerAddress != "" && id != s.id {
		if err := s.admit(ctx, id, r); err != nil {
			return nil, err
		}
	}
	err := s.leader.Propose(ctx, func(_ time.Time, v *leader.View) (leader.Proposal, error) {
		next := &storev1.Server{Id: id}
		var was *storev1.Server
		for _, srv := range v.Servers() {
			if srv.Id == id {
				was, next = srv, proto.CloneOf(srv)
			} else if srv.Name == r.Name && id != s.id {
				return leader.Proposal{}, exists("a server called %s is in the cluster already: start this one with another --name", r.Name)
			}
		}
		next.Name, next.Addresses, next.PeerAddress = r.Name, r.Addresses, r.PeerAddress
		next.Version = cmp.Or(r.Version, next.Version)
		if len(r.WitnessKey) > 0 {
			next.WitnessAddress, next.WitnessKey = r.WitnessAddress, r.WitnessKey
		}
		if was == nil && id != s.id {
			return leader.Proposal{}, connect.NewError(connect.CodePermissionDenied, errors.New("this server was removed from the cluster"))
		}
		if proto.Equal(was, next) {
			return leader.Proposal{}, nil
		}
		ops, err := puts(record{store.ServerKey(id), next})
		return leader.Proposal{Ops: ops}, err
	})
	if err != nil {
		return nil, err
	}
	res := &argosyv1.EnterResponse{Members: map[string]string{}}
	if s.member == nil {
		return res, nil
	}
	for _, m := range s.member.Members() {
		name := m.Name
		if name == "" && m.Peer == r.PeerAddress {
			name = id
		}
		if name == "" {
			name = fmt.Sprintf("member-%x", m.ID) // another newcomer; etcd wants a name
		}
		res.Members[name] = m.Peer
	}
	return res, nil
}

func checkServer(r *argosyv1.EnterRequest) error {
	if len(r.Addresses) == 0 || len(r.Addresses) > 8 || len(r.Version) > 128 {
		return invalid("a server has 1 to 8 addresses")
	}
	if err := checkServerName(r.Name); err != nil {
		return err
	}
	if len(r.WitnessKey) > 0 {
		if _, err := lease.PinOf(r.WitnessKey); err != nil || r.WitnessAddress == "" {
			return invalid("a witness has an address and a key of %d bytes", len(lease.Pin{}))
		}
	}
	for _, a := range append(slices.Clone(r.Addresses), r.PeerAddress, r.WitnessAddress) {
		if a == "" {
			continue
		}
		if _, err := advertised(a, defaults.ServerPort); err != nil {
			return connectInvalid(err)
		}
	}
	return nil
}

// checkServerName accepts what hosts are called.
func checkServerName(name string) error {
	if !hostName.MatchString(name) || len(name) > 63 {
		return invalid("%q cannot name a server: up to 63 letters, digits, dots and dashes; give one with --name", clip(name))
	}
	return nil
}

// admit makes a server a member of the store, without a vote at first.
func (s *Server) admit(ctx context.Context, id string, r *argosyv1.EnterRequest) error {
	if !s.leader.Leading() {
		return leader.ErrNotLeading
	}
	if s.member == nil {
		return refused("%w: start the new server with --store-endpoints and what goes with them, as the others", errExternal)
	}
	known := false
	if err := s.read(func(_ time.Time, v *leader.View) error {
		for _, srv := range v.Servers() {
			known = known || srv.Id == id
		}
		return nil
	}); err != nil {
		return err
	}
	if !known {
		return connect.NewError(connect.CodePermissionDenied, errors.New("this server was removed from the cluster"))
	}
	if err := s.openToOthers(ctx); err != nil {
		return err
	}
	for _, m := range s.member.Members() {
		switch {
		case m.Name == id && r.Fresh:
			// It was a member and has lost what it had: under the same identity it could break promises that it made.
			s.log.Warn("a server has lost its store and begins anew", "server", r.Name)
			if err := s.member.Remove(ctx, m.ID); err != nil {
				return storeTrouble(err)
			}
		case m.Name == id && m.Peer != r.PeerAddress:
			return storeTrouble(s.member.Move(ctx, m.ID, r.PeerAddress))
		case m.Name == id, m.Name == "" && m.Peer == r.PeerAddress:
			return nil
		case m.Peer == r.PeerAddress:
			return exists("another server's store has the address %s: if that server is gone for good, remove it first with 'argosy servers remove'", r.PeerAddress)
		}
	}
	return storeTrouble(s.member.Add(ctx, r.PeerAddress))
}

// storeTrouble says that asking again may help: the store changes its members one at a time, and only when it is well.
func storeTrouble(err error) error {
	if err == nil {
		return nil
	}
	return connect.NewError(connect.CodeUnavailable, fmt.Errorf("the store cannot change its members now (%w): it is tried again", err))
}

func (s serverService) ListServers(ctx context.Context, _ *connect.Request[argosyv1.ListServersRequest]) (*connect.Response[argosyv1.ListServersResponse], error) {
	res := &argosyv1.ListServersResponse{}
	health := s.probeAll(ctx)
	members := map[string]embedded.Info{}
	voters, well := 0, 0
	var applied uint64
	for _, m := range s.members() {
		members[m.Name] = m
		if !m.Learner {
			voters++
			if health[m.Name].health != nil {
				well++
			}
		}
		if m.Name == s.base.Leader() && s.member != nil {
			applied = health[m.Name].health.GetApplied()
		}
	}
	for _, srv := range s.servers() {
		res.Servers = append(res.Servers, s.serverStatus(srv, members, health[srv.Id], applied))
	}
	slices.SortFunc(res.Servers, func(a, b *argosyv1.ServerStatus) int { return naturalCompare(a.Name, b.Name) })
	res.Layout, res.LayoutMessage = s.layoutStatus(ctx)
	res.LeaseMembers, res.LeaseNext, res.LeaseMessage = s.leaseStatus(health)
	if need := voters/2 + 1; s.member != nil {
		res.Spare = uint32(max(0, well-need))
	} else {
		res.Spare = uint32(max(0, well-1)) // any of them works alone
	}
	return connect.NewResponse(res), nil
}

// servers are all servers' records, this one's among them even before it is written.
func (s *Server) servers() []*storev1.Server {
	list := s.book.All()
	for _, srv := range list {
		if srv.Id == s.id {
			return list
		}
	}
	return append(list, &storev1.Server{Id: s.id, Name: s.cfg.Name, Addresses: s.cfg.Advertise, Version: s.cfg.version})
}

func (s *Server) serverStatus(srv *storev1.Server, members map[string]embedded.Info, p probe, leaderApplied uint64) *argosyv1.ServerStatus {
	st := &argosyv1.ServerStatus{Id: srv.Id, Name: srv.Name, Addresses: srv.Addresses, PeerAddress: srv.PeerAddress,
		Leader: srv.Id == s.base.Leader(), Healthy: p.health != nil, Health: p.health, Role: argosyv1.ServerRole_SERVER_ROLE_EXPECTED}
	m, in := members[srv.Id]
	switch {
	case in && m.Learner:
		st.Role = argosyv1.ServerRole_SERVER_ROLE_LEARNER
		st.Message = "catching up; it gets its vote by itself"
	case in && s.member == nil:
		st.Role = argosyv1.ServerRole_SERVER_ROLE_CLIENT
	case in:
		st.Role = argosyv1.ServerRole_SERVER_ROLE_VOTER
	default:
		st.Message = "not started yet: run 'argosy server' there"
	}
	if p.health != nil {
		if leaderApplied > p.health.Applied {
			st.Lag = leaderApplied - p.health.Applied
		}
		if p.health.Leader == "" && in {
			st.Message = "it knows no leader"
		}
		return st
	}
	if in {
		st.Message = "it does not answer: " + p.why
	}
	st.Silent = p.silent(time.Now())
	return st
}

func (s serverService) RemoveServer(ctx context.Context, r *connect.Request[argosyv1.RemoveServerRequest]) (*connect.Response[argosyv1.RemoveServerResponse], error) {
	res := &argosyv1.RemoveServerResponse{}
	gone, err := s.findServer(r.Msg.Server)
	if err != nil {
		// A second request with the same key finds it removed.
		err = s.change(ctx, change{rpc: "RemoveServer", key: r.Msg.IdempotencyKey, request: r.Msg, response: res,
			decide: func(time.Time, *leader.View) (leader.Proposal, error) { return leader.Proposal{}, err }})
		return respond(res, err)
	}
	if err := s.expel(ctx, gone, r.Msg.Force); err != nil {
		return nil, rpcError(err)
	}
	err = s.change(ctx, change{rpc: "RemoveServer", key: r.Msg.IdempotencyKey, request: r.Msg, response: res,
		decide: func(_ time.Time, v *leader.View) (leader.Proposal, error) {
			if !leases.Without(v.Leases(), v.Servers(), gone.Id) { // somebody removed another one meanwhile
				return leader.Proposal{}, refused("another server was removed at the same time: run it again")
			}
			return removedServer(gone, actorOf(ctx)), nil
		}})
	return respond(res, err)
}

func (s *Server) findServer(idOrName string) (*storev1.Server, error) {
	for _, srv := range s.servers() {
		if srv.Id == idOrName || srv.Name == idOrName {
			return srv, nil
		}
	}
	return nil, notFound("no server is called %q; see 'argosy servers'", clip(idOrName))
}

func removedServer(srv *storev1.Server, actor string) leader.Proposal {
	return leader.Proposal{Ops: []store.Op{store.Delete(store.ServerKey(srv.Id))}, Transitions: []*argosyv1.Transition{{
		Kind: argosyv1.TransitionKind_TRANSITION_KIND_SECURITY, To: "server " + srv.Name + " removed", Cause: "it is gone for good", Actor: actor}}}
}

// expel takes a server's member out of the store. Its record is the caller's to remove.
func (s *Server) expel(ctx context.Context, srv *storev1.Server, force bool) error {
	members := s.members()
	i := slices.IndexFunc(members, func(m embedded.Info) bool {
		return m.Name == srv.Id || m.Name == "" && m.Peer != "" && m.Peer == srv.PeerAddress
	})
	if i >= 0 {
		if len(members) == 1 {
			return refused("server %s is the only one: without it there is no cluster", srv.Name)
		}
		if !force && s.probe(ctx, srv).health != nil {
			return refused("server %s still answers: stop it first, or use --force", srv.Name)
		}
		if srv.Id == s.id {
			return s.stepDown(ctx, members)
		}
	}
	if err := s.letGo(ctx, srv); err != nil {
		return err
	}
	if i < 0 || s.member == nil {
		return nil // it ends once its record is gone
	}
	if err := s.member.Remove(ctx, members[i].ID); err != nil {
		if strings.Contains(err.Error(), "unhealthy cluster") || strings.Contains(err.Error(), "started members") {
			return refused("without server %s the others would be no majority of those that are left (%w): bring another server back first, or see 'argosy server recover --help'", srv.Name, err)
		}
		return storeTrouble(err)
	}
	return nil
}

// stepDown has another server lead, which then removes this one.
func (s *Server) stepDown(ctx context.Context, members []embedded.Info) error {
	for _, m := range members {
		if m.Name == "" || m.Learner || m.Name == s.id || s.probe(ctx, s.book.Server(m.Name)).health == nil {
			continue
		}
		if err := s.yieldTo(ctx, m); err != nil {
			return storeTrouble(err)
		}
		return resigned()
	}
	return refused("this server leads and no other with a vote answers: it cannot be removed now")
}

func (s serverService) Probe(_ context.Context, r *connect.Request[argosyv1.ProbeRequest]) (*connect.Response[argosyv1.ServerHealth], error) {
	if r.Msg.ReopenStore {
		s.reopenStore()
	}
	return connect.NewResponse(s.health()), nil
}

// health is how this server is.
func (s *Server) health() *argosyv1.ServerHealth {
	last, _ := s.history.Last() // one that cannot be read has none
	space := s.base.Space()
	witness, why := s.witnessHealth()
	return &argosyv1.ServerHealth{Witness: witness, WitnessMessage: why, StoreInUse: space.InUse, StoreQuota: space.Quota, StoreFull: space.Full,
		Id: s.id, Version: s.cfg.version, OldestLayout: s.cfg.layouts.Oldest, NewestLayout: s.cfg.layouts.Newest(), Applied: s.base.Applied(), StoreSize: space.Size,
		Leader: s.base.Leader(), Fencing: uint32(s.fenceRuns.Load()), History: last, Machines: uint32(s.leader.Machines()),
		Trusts: s.cluster.Trusts(), StoreTrusts: s.trustsOfStore()}
}
