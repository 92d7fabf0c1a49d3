package server

import (
	"bytes"
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/store"
)

// joinServer lets a server in: from then on it may enter the cluster, and it gets the cluster's keys.
func (s *Server) joinServer(v *leader.View, kept *storev1.Token, r *argosyv1.JoinRequest, digest []byte, res *argosyv1.JoinResponse, now time.Time) (leader.Proposal, error) {
	if err := checkServerName(r.Name); err != nil {
		return leader.Proposal{}, err
	}
	var ops []store.Op
	var transitions []*argosyv1.Transition
	for _, srv := range v.Servers() {
		if r.Replace != "" && (srv.Name == r.Replace || srv.Id == r.Replace) {
			gone := removedServer(srv, "server "+r.Name)
			ops, transitions = append(ops, gone.Ops...), append(transitions, gone.Transitions...)
			continue
		}
		if srv.Name == r.Name {
			return leader.Proposal{}, exists("a server called %s is in the cluster already: give this one another name with --name, or take its place with --replace %s if it is gone for good", r.Name, r.Name)
		}
	}
	id := s.newID()
	if err := s.handOver(res, id, r.SealingKey); err != nil {
		return leader.Proposal{}, err
	}
	more, err := puts(
		record{store.ServerKey(id), &storev1.Server{Id: id, Name: r.Name, KeyDigest: digest, JoinedAt: timestamppb.New(now)}},
		record{store.TokenKey(kept.Info.Id), auth.SpendToken(kept, "server "+r.Name, now)})
	transitions = append(transitions, &argosyv1.Transition{Kind: argosyv1.TransitionKind_TRANSITION_KIND_SECURITY,
		To: "server " + r.Name + " may join", Cause: "token " + kept.Info.Id, Actor: "server " + r.Name})
	return leader.Proposal{Ops: append(ops, more...), Transitions: transitions}, err
}

// handOver gives a new server the cluster's keys, sealed to its own.
func (s *Server) handOver(res *argosyv1.JoinResponse, id string, sealingKey []byte) error {
	sealed, err := s.cluster.SealMaster(sealingKey, id)
	if err != nil {
		return connectInvalid(err)
	}
	res.ServerId, res.ClusterRecord, res.SealedKey = id, s.cluster.Record(), sealed
	return nil
}

// joinedBefore finds a server by the key that it joined with.
func joinedBefore(v *leader.View, digest []byte) *storev1.Server {
	for _, srv := range v.Servers() {
		if len(srv.KeyDigest) > 0 && bytes.Equal(srv.KeyDigest, digest) {
			return srv
		}
	}
	return nil
}

// mayReplace takes the server whose place a newcomer takes out of the store, before the newcomer is let in. One that still
// answers is not replaced, and none for a token that lets nobody in.
func (s *Server) mayReplace(ctx context.Context, token auth.Token, name string) error {
	if name == "" {
		return nil
	}
	gone, missing := s.findServer(name)
	used := false
	err := s.read(func(now time.Time, v *leader.View) error {
		err := s.cluster.VerifyToken(v.Token(token.ID()), token, now)
		var te *auth.TokenError
		used = errors.As(err, &te) && te.Problem == auth.TokenUsed
		if err != nil && !used {
			return connect.NewError(connect.CodePermissionDenied, err)
		}
		return nil
	})
	switch {
	case err != nil || used: // used: an answer that was lost, which the proposal sees to
		return err
	case missing != nil:
		return missing
	}
	return s.expel(ctx, gone, false)
}
