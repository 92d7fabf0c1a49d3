package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/image"
	"github.com/argosy-cluster/argosy/internal/image/registry"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/store"
)

// Images of several servers. What names mean is in the store; the leader takes images, has others hold them, and names them
// when a majority does. Each server fetches what is named and it lacks.

// nameImage makes a name mean an image that this server has, once a majority of the servers has it.
func (s *Server) nameImage(ctx context.Context, tenant, name, tag string, d image.Digest) error {
	if err := s.spread(ctx, tenant, name, d); err != nil {
		return err
	}
	return s.leader.Propose(ctx, func(now time.Time, _ *leader.View) (leader.Proposal, error) {
		ops, err := puts(record{store.ImageKey(tenant, name, tag), &storev1.ImageName{Digest: string(d), ChangedAt: timestamppb.New(now)}})
		return leader.Proposal{Ops: ops}, err
	})
}

// unnameImage takes a name away.
func (s *Server) unnameImage(ctx context.Context, tenant, name, tag string) error {
	return s.leader.Propose(ctx, func(time.Time, *leader.View) (leader.Proposal, error) {
		return leader.Proposal{Ops: []store.Op{store.Delete(store.ImageKey(tenant, name, tag))}}, nil
	})
}

// spread has other servers hold an image, and returns when a majority of those with a vote does, this one included.
func (s *Server) spread(ctx context.Context, tenant, name string, d image.Digest) error {
	voters := 0
	var others []string // addresses
	for _, m := range s.members() {
		if m.Learner {
			continue
		}
		voters++
		if srv := s.book.Server(m.Name); m.Name != s.id && len(srv.GetAddresses()) > 0 {
			others = append(others, srv.Addresses[0])
		}
	}
	need := voters / 2 // beside this one
	if need == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, holdTime)
	results := make(chan error, len(others))
	req := &argosyv1.HoldImageRequest{Tenant: tenant, Name: name, Digest: string(d)}
	for _, addr := range others {
		go func() {
			_, err := s.askServer(addr).HoldImage(ctx, connect.NewRequest(req))
			results <- err
		}()
	}
	var failures []error
	for range others {
		err := <-results
		if err != nil {
			failures = append(failures, errors.New(plainError(err)))
		} else if need--; need == 0 {
			// The rest may go on for as long as it takes.
			go func(left int) {
				defer cancel()
				for range left {
					<-results
				}
			}(len(others) - len(failures) - voters/2)
			return nil
		}
	}
	cancel()
	return fmt.Errorf("%w: too few servers could fetch the image: %w", store.ErrUnavailable, errors.Join(failures...))
}

// lacks reports whether a request is for a part of an image that this server does not have and another may.
func (s *Server) lacks(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return true // the leader takes images and names
	}
	if strings.Contains(r.URL.Path, "/blobs/uploads/") {
		return true
	}
	return registry.Lacks(s.images, r.URL.Path)
}

const imagesRetry = 5 * time.Second

// keepImageNames keeps this server's names and images equal to the store's.
func (s *Server) keepImageNames(ctx context.Context) error {
	for {
		err := s.followImages(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			s.log.Info("images are not all here yet; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(imagesRetry):
		}
	}
}

// followImages takes over all names, then each that changes.
func (s *Server) followImages(ctx context.Context) error {
	snap, err := s.store.List(ctx, store.Images)
	if err != nil {
		return err
	}
	named := map[string]bool{}
	var errs []error
	for _, kv := range snap.KVs {
		named[kv.Key] = true
		errs = append(errs, s.takeImage(ctx, kv.Key, kv.Value))
	}
	if err := s.forgetNames(ctx, named); err != nil {
		return err
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for batch, err := range s.store.Watch(ctx, store.Images, snap.Revision+1) {
		if err != nil {
			return err
		}
		for _, e := range batch.Events {
			if err := s.takeImage(ctx, e.Key, e.Value); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// forgetNames takes away names that the store does not have. Where the store has none at all, this server is of a time
// when names were its own: they become the cluster's.
func (s *Server) forgetNames(ctx context.Context, named map[string]bool) error {
	tenants, err := s.images.Tenants()
	if err != nil {
		return err
	}
	for _, tenant := range tenants {
		list, err := s.images.List(tenant)
		if err != nil {
			return err
		}
		for _, n := range list {
			switch {
			case named[store.ImageKey(tenant, n.Name, n.Tag)]:
			case len(named) == 0:
				if err := s.nameImage(ctx, tenant, n.Name, n.Tag, n.Digest); err != nil {
					return err
				}
			default:
				if err := s.images.Untag(tenant, n.Name, n.Tag); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// takeImage makes a name mean here what it means in the store.
func (s *Server) takeImage(ctx context.Context, key string, value []byte) error {
	tenant, name, tag, ok := store.ParseImageKey(key)
	if !ok {
		return nil
	}
	if value == nil {
		_ = s.images.Untag(tenant, name, tag) // it may never have been here
		return nil
	}
	rec := &storev1.ImageName{}
	if err := store.Decode(store.KV{Key: key, Value: value}, rec); err != nil {
		s.log.Error("a name of an image cannot be read", "error", err)
		return nil
	}
	return s.fetchImage(ctx, registry.Repo{Tenant: tenant, Name: name}, tag, image.Digest(rec.Digest))
}

// fetchImage makes sure that this server has an image, from whichever server has it, the leader first.
func (s *Server) fetchImage(ctx context.Context, repo registry.Repo, tag string, d image.Digest) error {
	if have, ok, err := s.images.Resolve(repo.Tenant, image.Ref{Name: repo.Name, Tag: tag}); err == nil && ok && have == d && tag != "" {
		return nil
	}
	if s.images.Tag(repo.Tenant, repo.Name, tag, d) == nil {
		return nil
	}
	list := s.book.All()
	lead := s.base.Leader()
	slices.SortStableFunc(list, func(a, b *storev1.Server) int {
		switch {
		case a.Id == lead && b.Id != lead:
			return -1
		case b.Id == lead && a.Id != lead:
			return 1
		}
		return 0
	})
	var failures []error
	for _, srv := range list {
		if srv.Id == s.id || len(srv.Addresses) == 0 {
			continue
		}
		err := s.copyImage(ctx, srv.Addresses[0], repo, tag, d)
		if err == nil {
			s.log.Info("image fetched from another server", slog.Group("image", "tenant", repo.Tenant, "name", repo.Name, "tag", tag), "server", srv.Name)
			return nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", srv.Name, err))
	}
	if len(failures) == 0 {
		return fmt.Errorf("image %s/%s:%s is on no other server", repo.Tenant, repo.Name, tag)
	}
	return errors.Join(failures...)
}
