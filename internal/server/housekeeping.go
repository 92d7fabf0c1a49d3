package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/image"
	"github.com/argosy-cluster/argosy/internal/image/remote"
	"github.com/argosy-cluster/argosy/internal/leader"
)

const (
	housekeepingEvery = 10 * time.Minute
	// keepImages is how long an image stays that nothing refers to.
	keepImages = 24 * time.Hour
	// scrubEvery is how often all images are read to see whether the disk still has them as they were.
	scrubEvery = 7 * 24 * time.Hour
)

// housekeeping forgets what is no longer needed: history, outcomes and images.
func (s *Server) housekeeping(ctx context.Context) error {
	tick := time.NewTicker(housekeepingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := s.scrubImages(ctx, time.Now()); err != nil && ctx.Err() == nil {
			s.log.Warn("the images are not read through yet", "error", err)
		}
		if err := s.pruneHistory(ctx, time.Now()); err != nil && ctx.Err() == nil {
			s.log.Warn("old history is not dropped yet", "error", err)
		}
		if !s.leader.Leading() {
			continue
		}
		if err := s.pruneOutcomes(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("old outcomes are not forgotten yet", "error", err)
		}
		if err := s.collectImages(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("images that nothing needs are not removed yet", "error", err)
		}
	}
}

// pruneHistory drops what happened longer ago than this server keeps.
func (s *Server) pruneHistory(ctx context.Context, now time.Time) error {
	if s.cfg.HistoryAge <= 0 {
		return nil
	}
	return s.history.Prune(ctx, now, s.cfg.HistoryAge)
}

// scrubImages throws away what the disk has changed, once in scrubEvery. When it was done last is the time of a file, so
// that restarts neither forget nor hasten it.
func (s *Server) scrubImages(ctx context.Context, now time.Time) error {
	stamp := filepath.Join(s.cfg.DataDir, "images-scrubbed")
	switch st, err := os.Stat(stamp); {
	case err == nil && now.Sub(st.ModTime()) < scrubEvery:
		return nil
	case errors.Is(err, os.ErrNotExist): // a new server: nothing has had time to rot
		return os.WriteFile(stamp, nil, 0o600)
	case err != nil:
		return err
	}
	rotten, err := s.images.Scrub(ctx)
	if err != nil {
		return err
	}
	for _, r := range rotten {
		s.log.Error("the disk has changed a part of an image, which is thrown away: send the image again", "digest", r.Digest, "tenants", r.Tenants)
	}
	return os.Chtimes(stamp, now, now)
}

type tenantDigest struct {
	tenant string
	digest image.Digest
}

// collectImages removes images that no revision, no name and no recent sender needs.
func (s *Server) collectImages(ctx context.Context) error {
	used := map[tenantDigest]bool{}
	err := s.read(func(_ time.Time, v *leader.View) error {
		for _, app := range v.Apps("") {
			for _, rev := range v.Revisions(app.Tenant, app.Name) {
				for _, c := range rev.GetSpec().GetContainers() {
					used[tenantDigest{app.Tenant, image.Digest(c.ImageDigest)}] = true
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, err = s.images.Collect(ctx, func(tenant string, d image.Digest) bool { return used[tenantDigest{tenant, d}] }, time.Now().Add(-keepImages))
	return err
}

// resolveRemote asks an image's registry for its digest, with the tenant's credential for it if there is one.
func (s *Server) resolveRemote(ctx context.Context, tenant string, ref image.Ref) (image.Digest, error) {
	var cred remote.Credentials
	err := s.read(func(_ time.Time, v *leader.View) error {
		kept := v.Credential(tenant, ref.Host())
		if kept == nil {
			return nil
		}
		password, err := s.cluster.Keyring().Decrypt(kept.Encrypted, auth.SecretContext(auth.KindRegistry, tenant, kept.Name, kept.Version))
		cred = remote.Credentials{Username: kept.Username, Password: string(password.Reveal())}
		return err
	})
	if err != nil {
		return "", err
	}
	digest, err := s.resolver.Resolve(ctx, ref, cred)
	if errors.Is(err, context.DeadlineExceeded) {
		return "", fmt.Errorf("its registry did not answer within %s", pinTime)
	}
	return digest, err
}
