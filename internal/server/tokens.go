package server

import (
	"context"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/store"
)

// CreateToken ignores its idempotency key: remembering the outcome would mean keeping the token, and a token too many
// expires by itself.
func (s clusterService) CreateToken(ctx context.Context, r *connect.Request[argosyv1.CreateTokenRequest]) (*connect.Response[argosyv1.CreateTokenResponse], error) {
	res := &argosyv1.CreateTokenResponse{}
	// A machine or a server belongs to no tenant; the caller's own, which fills what a request leaves out, means nothing here.
	tenant := r.Msg.Tenant
	if r.Msg.Purpose != argosyv1.TokenPurpose_TOKEN_PURPOSE_USER {
		tenant = ""
	}
	err := s.leader.Propose(ctx, func(now time.Time, v *leader.View) (leader.Proposal, error) {
		token, kept, err := s.cluster.NewToken(auth.TokenRequest{
			Purpose: r.Msg.Purpose, Life: r.Msg.ExpiresIn.AsDuration(), Servers: s.addresses(v),
			User: r.Msg.User, Role: r.Msg.Role, Tenant: tenant,
		}, now)
		if err != nil {
			return leader.Proposal{}, connect.NewError(connect.CodeInvalidArgument, err)
		}
		if res.Token, err = token.Encode(); err != nil {
			return leader.Proposal{}, err
		}
		res.Info = kept.Info
		ops, err := puts(record{store.TokenKey(token.ID()), kept})
		what := "token " + token.ID() + " made for a machine"
		if r.Msg.Purpose == argosyv1.TokenPurpose_TOKEN_PURPOSE_SERVER {
			what = "token " + token.ID() + " made for a server"
		}
		if r.Msg.User != "" {
			what = "token " + token.ID() + " made for user " + r.Msg.User + " (" + r.Msg.Role + ")"
		}
		return leader.Proposal{Ops: append(ops, staleTokens(now, v)...), Transitions: []*argosyv1.Transition{
			{Kind: argosyv1.TransitionKind_TRANSITION_KIND_SECURITY, To: what, Actor: actorOf(ctx)}}}, err
	})
	return respond(res, rpcError(err))
}

// addresses are those of all servers. This one's are among them even in the instant in which it leads and has not written
// its own record yet.
func (s *Server) addresses(v *leader.View) []string {
	out := slices.Clone(s.cfg.Advertise)
	for _, srv := range v.Servers() {
		if srv.Id != s.id {
			out = append(out, srv.Addresses...)
		}
	}
	return out
}

// staleBatch is how many tokens are forgotten when one is made: two for one would do.
const staleBatch = 64

// staleTokens forgets tokens that ended more than a week ago; until then `argosy token list` shows who used them.
func staleTokens(now time.Time, v *leader.View) []store.Op {
	var ops []store.Op
	for _, t := range v.Tokens() {
		if len(ops) < staleBatch && now.Sub(t.GetInfo().GetExpiresAt().AsTime()) > 7*24*time.Hour {
			ops = append(ops, store.Delete(store.TokenKey(t.GetInfo().GetId())))
		}
	}
	return ops
}

func (s clusterService) ListTokens(context.Context, *connect.Request[argosyv1.ListTokensRequest]) (*connect.Response[argosyv1.ListTokensResponse], error) {
	res := &argosyv1.ListTokensResponse{}
	err := s.read(func(_ time.Time, v *leader.View) error {
		for _, t := range v.Tokens() {
			res.Tokens = append(res.Tokens, t.Info)
		}
		return nil
	})
	return respond(res, err)
}

func (s clusterService) RevokeToken(ctx context.Context, r *connect.Request[argosyv1.RevokeTokenRequest]) (*connect.Response[argosyv1.RevokeTokenResponse], error) {
	res := &argosyv1.RevokeTokenResponse{}
	err := s.change(ctx, change{
		rpc: "RevokeToken", key: r.Msg.IdempotencyKey, request: r.Msg, response: res,
		decide: func(_ time.Time, v *leader.View) (leader.Proposal, error) {
			id := strings.TrimSpace(r.Msg.Id)
			if v.Token(id) == nil {
				return leader.Proposal{}, notFound("there is no token %s; see 'argosy token list'", clip(id))
			}
			return leader.Proposal{Ops: []store.Op{store.Delete(store.TokenKey(id))}, Transitions: []*argosyv1.Transition{
				{Kind: argosyv1.TransitionKind_TRANSITION_KIND_SECURITY, To: "token " + id + " revoked", Actor: actorOf(ctx)}}}, nil
		},
	})
	return respond(res, err)
}
