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
	warnings := make([]string, len(spec.Containers))
	places := make(chan struct{}, pinsAtOnce)
	var wg sync.WaitGroup
	for i, c := range spec.Containers {
		c.ImageDigest, c.ImageOrigin = "", argosyv1.ImageOrigin_IMAGE_ORIGIN_UNSPECIFIED
		ref, err := image.ParseRef(c.Image)
		if err != nil {
			warnings[i] = fmt.Sprintf("container %s: %s", c.Name, err)
			continue
		}
		digest, ok, err := s.images.Resolve(tenant, ref)
		if err == nil && ok {
			c.ImageDigest, c.ImageOrigin = string(digest), argosyv1.ImageOrigin_IMAGE_ORIGIN_CLUSTER
			continue
		}
		c.ImageOrigin = argosyv1.ImageOrigin_IMAGE_ORIGIN_REGISTRY
		wg.Add(1)
		go func() {
			defer wg.Done()
			places <- struct{}{}
			defer func() { <-places }()
			digest, err := s.resolveRemote(ctx, tenant, ref)
			if err != nil {
				warnings[i] = fmt.Sprintf("container %s: image %s is not pinned: the cluster does not have it, and %s", c.Name, c.Image, err)
				return
			}
			c.ImageDigest = string(digest)
		}()
	}
	wg.Wait()
	var out []string
	for _, w := range warnings {
		if w != "" {
			out = append(out, w)
		}
	}
	return out
}
