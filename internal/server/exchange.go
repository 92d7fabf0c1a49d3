package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/history"
	"github.com/argosy-cluster/argosy/internal/image"
	"github.com/argosy-cluster/argosy/internal/image/registry"
)

// What servers give each other: history, and images.

// historyBatch is how many transitions go from server to server at once.
const historyBatch = 1000

func (s serverService) ReadHistory(ctx context.Context, r *connect.Request[argosyv1.ReadHistoryRequest]) (*connect.Response[argosyv1.ReadHistoryResponse], error) {
	list, err := s.history.Query(ctx, history.Query{After: r.Msg.After, Limit: int(min(max(r.Msg.Limit, 1), historyBatch))})
	if err != nil {
		return nil, rpcError(err)
	}
	oldest, err := s.history.First()
	return respond(&argosyv1.ReadHistoryResponse{Transitions: list, Oldest: oldest}, rpcError(err))
}

// fillHistory reads from other servers what is missing in this one's history before a number: what happened while it was
// not there and is no longer in the store.
func (s *Server) fillHistory(ctx context.Context, after, before uint64) error {
	var failures []error
	for _, srv := range s.book.All() {
		if srv.Id == s.id || len(srv.Addresses) == 0 {
			continue
		}
		err := s.fillFrom(ctx, srv.Addresses[0], after, before)
		if err == nil {
			return nil
		}
		failures = append(failures, fmt.Errorf("%s: %s", srv.Name, plainError(err)))
	}
	return errors.Join(failures...)
}

func (s *Server) fillFrom(ctx context.Context, addr string, after, before uint64) error {
	for after+1 < before {
		res, err := s.askServer(addr).ReadHistory(ctx, connect.NewRequest(&argosyv1.ReadHistoryRequest{After: after, Limit: historyBatch}))
		if err != nil {
			return err
		}
		list := res.Msg.Transitions
		if len(list) == 0 {
			return nil
		}
		if last := list[len(list)-1].GetSeq(); last <= after {
			return fmt.Errorf("it gave transition %d after %d", last, after)
		}
		after = list[len(list)-1].GetSeq()
		if err := s.history.Add(list...); err != nil {
			return err
		}
	}
	return nil
}

// holdTime bounds how long one image may take to get from one server to another.
const holdTime = 10 * time.Minute

func (s serverService) HoldImage(ctx context.Context, r *connect.Request[argosyv1.HoldImageRequest]) (*connect.Response[argosyv1.HoldImageResponse], error) {
	srv := s.book.Server(auth.IdentityFrom(ctx).ID)
	if len(srv.GetAddresses()) == 0 {
		return nil, notFound("nobody knows where the server is that has the image")
	}
	ctx, cancel := context.WithTimeout(ctx, holdTime)
	defer cancel()
	err := s.copyImage(ctx, srv.Addresses[0], registry.Repo{Tenant: r.Msg.Tenant, Name: r.Msg.Name}, "", image.Digest(r.Msg.Digest))
	return respond(&argosyv1.HoldImageResponse{}, rpcError(err))
}

// copyImage makes sure that this server has an image, from the server at an address.
func (s *Server) copyImage(ctx context.Context, addr string, repo registry.Repo, tag string, d image.Digest) error {
	peer := registry.NewClient("https://"+addr, &http.Client{Transport: s.transport})
	return registry.Copy(ctx, s.images, peer, repo, tag, d)
}
