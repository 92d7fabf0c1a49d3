package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"

	"github.com/argosy-cluster/argosy/internal/image"
)

// Export gives out everything that manifests of all tenants need and then the manifests, each after what it points at, so
// that [Store.Import] and [Store.PutManifest] can take them in the same order. What Collect removes meanwhile is left out.
func (s *Store) Export(ctx context.Context, blob func(tenant string, d image.Digest, size int64, r io.Reader) error, manifest func(tenant string, d image.Digest, raw []byte) error) error {
	tenants, err := list(filepath.Join(s.dir, "tenants"))
	if err != nil {
		return err
	}
	for _, t := range tenants {
		e := exporting{s: s, tenant: t, done: map[image.Digest]bool{}, blob: blob, manifest: manifest}
		if err := e.run(ctx); err != nil {
			return fmt.Errorf("giving out the images of tenant %s: %w", t, err)
		}
	}
	return nil
}

type exporting struct {
	s        *Store
	tenant   string
	held     held
	done     map[image.Digest]bool
	blob     func(string, image.Digest, int64, io.Reader) error
	manifest func(string, image.Digest, []byte) error
}

func (e *exporting) run(ctx context.Context) (err error) {
	e.s.mu.RLock()
	e.held, err = e.s.read(e.tenant)
	e.s.mu.RUnlock()
	if err != nil {
		return err
	}
	for _, d := range slices.Sorted(maps.Keys(e.held.manifests)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := e.give(d); err != nil && !errors.Is(err, ErrUnknown) {
			return err
		}
	}
	return nil
}

// give gives out one thing after what it needs. A manifest can need no other that needs it: digests are no circles.
func (e *exporting) give(d image.Digest) error {
	if e.done[d] {
		return nil
	}
	if _, ok := e.held.manifests[d]; !ok {
		return e.giveBlob(d)
	}
	for _, n := range e.held.needs[d] {
		if err := e.give(n); err != nil {
			return err
		}
	}
	raw, _, err := e.s.Manifest(e.tenant, d)
	if err != nil {
		return err
	}
	e.done[d] = true
	return e.manifest(e.tenant, d, raw)
}

func (e *exporting) giveBlob(d image.Digest) error {
	f, size, err := e.s.Blob(e.tenant, d)
	if err != nil {
		return err
	}
	e.done[d] = true
	return errors.Join(e.blob(e.tenant, d, size, f), f.Close())
}

// Import takes in a blob of a tenant in one go, if its content is what its digest says.
func (s *Store) Import(tenant string, d image.Digest, r io.Reader) error {
	id, _, err := s.Start(tenant, d)
	if err != nil {
		return err
	}
	if _, err := s.Append(tenant, id, -1, r); err != nil {
		return err
	}
	return s.Commit(tenant, id, d)
}
