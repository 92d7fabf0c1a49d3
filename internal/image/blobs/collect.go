package blobs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/argosy-cluster/argosy/internal/image"
)

// Collected says what Collect removed.
type Collected struct {
	Manifests, Blobs, Uploads int
	Bytes                     int64 // given back to the disk
}

// item is one file that may be removed, and when it was last sent or asked for.
type item struct {
	path string
	used time.Time
	size int64
}

// held is what a tenant has.
type held struct {
	named     map[image.Digest]bool
	manifests map[image.Digest]item
	needs     map[image.Digest][]image.Digest // what a manifest points at, blobs and manifests
	blobs     map[image.Digest]item
}

// decide says which manifests and blobs of a tenant nothing needs: neither a name, nor referenced, nor a manifest that
// stays, nor somebody who sent or asked for it at or after olderThan.
func decide(h held, referenced func(image.Digest) bool, olderThan time.Time) (manifests, blobs []item) {
	keep := map[image.Digest]bool{}
	var hold func(d image.Digest)
	hold = func(d image.Digest) {
		if keep[d] {
			return
		}
		keep[d] = true
		for _, n := range h.needs[d] {
			hold(n)
		}
	}
	for d, m := range h.manifests {
		if h.named[d] || referenced(d) || !m.used.Before(olderThan) {
			hold(d)
		}
	}
	for d, m := range h.manifests {
		if !keep[d] {
			manifests = append(manifests, m)
		}
	}
	for d, b := range h.blobs {
		if !keep[d] && b.used.Before(olderThan) {
			blobs = append(blobs, b)
		}
	}
	return manifests, blobs
}

// Collect removes what nothing needs: manifests without a name that referenced denies and nobody has sent or resolved
// since olderThan, then blobs that no remaining manifest needs, then unfinished uploads that nobody has written to since
// olderThan. referenced is asked for every tenant and manifest and must be quick; it may answer from a state that is
// older than now, as long as it is younger than olderThan.
func (s *Store) Collect(ctx context.Context, referenced func(tenant string, d image.Digest) bool, olderThan time.Time) (Collected, error) {
	var c Collected
	tenants, err := list(filepath.Join(s.dir, "tenants"))
	if err != nil {
		return c, err
	}
	var errs []error // one tenant's trouble is not the others'
	for _, t := range tenants {
		if err := ctx.Err(); err != nil {
			return c, err
		}
		err := s.collectTenant(t, func(d image.Digest) bool { return referenced(t, d) }, olderThan, &c)
		if err != nil {
			errs = append(errs, fmt.Errorf("collect images of tenant %s: %w", t, err))
		}
	}
	errs = append(errs, s.collectPool(olderThan, &c), s.collectUploads(olderThan, &c))
	return c, errors.Join(errs...)
}

func (s *Store) collectTenant(t string, referenced func(image.Digest) bool, olderThan time.Time, c *Collected) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, err := s.read(t)
	if err != nil {
		return err
	}
	manifests, blobs := decide(h, referenced, olderThan)
	for _, m := range manifests {
		if err := remove(m.path); err != nil {
			return err
		}
		c.Manifests++
		c.Bytes += m.size
	}
	// Only when it is certain that no crash brings a manifest back may its blobs go.
	if len(manifests) > 0 {
		if err := syncDir(s.tenant(t, "manifests")); err != nil {
			return err
		}
	}
	for _, b := range blobs {
		if err := remove(b.path); err != nil {
			return err
		}
		c.Blobs++
	}
	return nil
}

// read takes stock of a tenant.
func (s *Store) read(t string) (held, error) {
	h := held{named: map[image.Digest]bool{}, needs: map[image.Digest][]image.Digest{}}
	err := s.eachName(t, func(name, tag string) error {
		d, err := s.meaning(t, name, tag)
		if d != "" {
			h.named[d] = true
		}
		return err
	})
	if err != nil {
		return h, err
	}
	if h.manifests, err = items(s.tenant(t, "manifests")); err != nil {
		return h, err
	}
	if h.blobs, err = items(s.tenant(t, "blobs")); err != nil {
		return h, err
	}
	for d := range h.manifests {
		raw, mediaType, err := s.Manifest(t, d)
		if err != nil {
			return h, err
		}
		m, err := image.ParseManifest(raw, mediaType)
		if err != nil {
			return h, err
		}
		for _, n := range append(m.Blobs(), m.Manifests...) {
			h.needs[d] = append(h.needs[d], n.Digest)
		}
	}
	return h, nil
}

// items lists the content-addressed files in dir. Files with other names are nobody's and stay.
func items(dir string) (map[image.Digest]item, error) {
	names, err := list(dir)
	if err != nil {
		return nil, err
	}
	all := make(map[image.Digest]item, len(names))
	for _, name := range names {
		d, err := image.ParseDigest("sha256:" + name)
		if err != nil {
			continue
		}
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		all[d] = item{path: filepath.Join(dir, name), used: info.ModTime(), size: info.Size()}
	}
	return all, nil
}

// collectPool removes content that no tenant has a link to. Content that a crash kept from getting its first link is
// older than olderThan some day.
func (s *Store) collectPool(olderThan time.Time, c *Collected) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, err := items(s.pool(""))
	if err != nil {
		return err
	}
	for _, it := range all {
		info, err := os.Lstat(it.path)
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || st.Nlink > 1 || !it.used.Before(olderThan) {
			continue
		}
		if err := remove(it.path); err != nil {
			return err
		}
		c.Bytes += it.size
	}
	return nil
}

func (s *Store) collectUploads(olderThan time.Time, c *Collected) error {
	names, err := list(s.uploadFile(""))
	if err != nil {
		return err
	}
	for _, name := range names {
		info, err := os.Lstat(s.uploadFile(name))
		if err != nil || !info.ModTime().Before(olderThan) {
			continue // gone, or in use
		}
		tenant, id, _ := strings.Cut(name, ".")
		switch err := s.Cancel(tenant, id); {
		case errors.Is(err, ErrBusy), errors.Is(err, ErrUnknown):
		case err != nil:
			return err
		default:
			c.Uploads++
			c.Bytes += info.Size()
		}
	}
	return nil
}
