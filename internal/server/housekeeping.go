package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/image"
	"github.com/argosy-cluster/argosy/internal/image/remote"
	"github.com/argosy-cluster/argosy/internal/leader"
)

const (
	housekeepingEvery = 10 * time.Minute
	// keepImages is how long an image stays that nothing refers to.
	keepImages = 24 * time.Hour
)

// housekeeping forgets what is no longer needed: outcomes, images, and its own certificate before it expires.
func (s *Server) housekeeping(ctx context.Context) error {
	tick := time.NewTicker(housekeepingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if auth.ShouldRenew(time.Now(), s.source.Current().Certificate) {
			fresh, err := s.ownCertificate()
			if err != nil {
				s.log.Error("the server's certificate cannot be renewed", "error", err)
			} else {
				s.source.Set(fresh.Current())
			}
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

// checked reads the tenant and the spec of a request. A spec from outside is as hostile as any input: it is checked here
// again, whoever parsed it.
func (s *Server) checked(ctx context.Context, asked string, spec *argosyv1.AppSpec) (string, *argosyv1.AppSpec, error) {
	tenant, err := s.tenant(ctx, asked)
	if err != nil {
		return "", nil, err
	}
	if err := checkSpec(spec); err != nil {
		return "", nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	return tenant, spec, nil
}
