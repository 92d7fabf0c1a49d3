package blobs

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/argosy-cluster/argosy/internal/image"
)

// Rotten is content that the disk has changed, and what went with it.
type Rotten struct {
	Digest    image.Digest
	Tenants   []string       // that had it
	Manifests []image.Digest // that needed it; they are gone too, so that loading the image again brings all back
}

// Scrub reads all content and throws away what is no longer what its name says, since nobody could use it and nobody
// would send it again while it seems to be there. It reads the whole store, so call it seldom.
func (s *Store) Scrub(ctx context.Context) ([]Rotten, error) {
	all, err := items(s.pool(""))
	if err != nil {
		return nil, err
	}
	var found []Rotten
	for d, it := range all {
		good, err := sound(ctx, it.path, d)
		if err != nil {
			return found, err
		}
		if good {
			continue
		}
		r, err := s.discard(d)
		if err != nil {
			return found, err
		}
		found = append(found, r)
	}
	return found, nil
}

// sound says whether the file at path has digest d. A file that has gone meanwhile is sound.
func sound(ctx context.Context, path string, d image.Digest) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	sum := sha256.New()
	buf := make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n, err := f.Read(buf)
		sum.Write(buf[:n])
		if errors.Is(err, io.EOF) {
			return image.DigestOf([sha256.Size]byte(sum.Sum(nil))) == d, nil
		}
		if err != nil {
			return false, nil // a disk that cannot read it has lost it
		}
	}
}

// discard removes d from all tenants, manifests that need it first.
func (s *Store) discard(d image.Digest) (Rotten, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := Rotten{Digest: d}
	tenants, err := list(filepath.Join(s.dir, "tenants"))
	if err != nil {
		return r, err
	}
	for _, t := range tenants {
		if there, err := exists(s.blob(t, d)); err != nil || !there {
			continue
		}
		r.Tenants = append(r.Tenants, t)
		gone, err := s.dropManifests(t, d)
		r.Manifests = append(r.Manifests, gone...)
		if err != nil {
			return r, fmt.Errorf("discard rotten content %s of tenant %s: %w", d, t, err)
		}
		if err := remove(s.blob(t, d)); err != nil {
			return r, err
		}
	}
	return r, remove(s.pool(d.Hex()))
}

// dropManifests removes the tenant's manifests that need d, directly or by way of an index.
func (s *Store) dropManifests(t string, d image.Digest) ([]image.Digest, error) {
	h, err := s.read(t)
	if err != nil {
		return nil, err
	}
	var gone []image.Digest
	lost := map[image.Digest]bool{d: true}
	for again := true; again; {
		again = false
		for m, needs := range h.needs {
			if lost[m] {
				continue
			}
			for _, n := range needs {
				if !lost[n] {
					continue
				}
				lost[m], again = true, true
				gone = append(gone, m)
				if err := remove(s.manifest(t, m)); err != nil {
					return gone, err
				}
				break
			}
		}
	}
	return gone, syncDir(s.tenant(t, "manifests"))
}
