package server

import (
	"context"
	"fmt"
	"sync"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/image"
)

const (
	// pinTime bounds how long all registries together may keep an apply waiting.
	pinTime = 5 * time.Second
	// pinsAtOnce is how many registries are asked at once.
	pinsAtOnce = 8
)

// pin finds the digest of every image of a spec: among the cluster's own images first, then at its registry. What cannot
// be found keeps its name and is warned of: the machine will try, and say what went wrong, and the other containers must
// not wait for it.
func (s *Server) pin(ctx context.Context, tenant string, spec *argosyv1.AppSpec) []string {
	ctx, cancel := context.WithTimeout(ctx, pinTime)
	defer cancel()
	images := map[string]*pinned{}
	places := make(chan struct{}, pinsAtOnce)
	var wg sync.WaitGroup
	for _, c := range spec.Containers {
		if images[c.Image] != nil {
			continue
		}
		p := &pinned{}
		images[c.Image] = p
		ref, err := image.ParseRef(c.Image)
		if err != nil {
			p.warning = err.Error()
			continue
		}
		digest, ok, err := s.images.Resolve(tenant, ref)
		if err == nil && ok {
			p.digest, p.origin = string(digest), argosyv1.ImageOrigin_IMAGE_ORIGIN_CLUSTER
			continue
		}
		p.origin = argosyv1.ImageOrigin_IMAGE_ORIGIN_REGISTRY
		wg.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			digest, err := s.resolveRemote(ctx, tenant, ref)
			if err != nil {
				p.warning = fmt.Sprintf("image %s is not pinned: the cluster does not have it, and %s", c.Image, err)
				return
			}
			p.digest = string(digest)
		})
	}
	wg.Wait()
	var out []string
	for _, c := range spec.Containers {
		p := images[c.Image]
		c.ImageDigest, c.ImageOrigin = p.digest, p.origin
		if p.warning != "" {
			out = append(out, fmt.Sprintf("container %s: %s", c.Name, p.warning))
		}
	}
	return out
}

// pinned is what is found out about an image, once for all containers that are made of it.
type pinned struct {
	digest  string
	origin  argosyv1.ImageOrigin
	warning string
}
