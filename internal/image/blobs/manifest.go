package blobs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/argosy-cluster/argosy/internal/image"
)

// PutManifest keeps a manifest or an index of the tenant, once everything that it points at is there (*MissingError
// otherwise), and if tag is not empty makes name:tag mean it. mediaType may be empty when the document says it itself.
func (s *Store) PutManifest(tenant, name, tag, mediaType string, raw []byte) (image.Digest, error) {
	if err := checkName(tenant, name, tag); err != nil {
		return "", err
	}
	m, err := image.ParseManifest(raw, mediaType)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.complete(tenant, m); err != nil {
		return "", err
	}
	if err := s.makeTenant(tenant); err != nil {
		return "", err
	}
	d := image.Sum(raw)
	if err := writeFile(s.tmp(), s.manifest(tenant, d), raw); err != nil {
		return "", fmt.Errorf("keep manifest %s: %w", d, err)
	}
	if tag == "" {
		return d, nil
	}
	return d, s.tag(tenant, name, tag, d)
}

func checkName(tenant, name, tag string) error {
	err := errors.Join(image.ValidTenant(tenant), image.ValidName(name))
	if tag != "" {
		err = errors.Join(err, image.ValidTag(tag))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

// complete fails unless the tenant has all that m points at, in the sizes that m gives.
func (s *Store) complete(tenant string, m image.Manifest) error {
	var missing []image.Digest
	look := func(d image.Descriptor, path string) error {
		info, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, d.Digest)
		case err != nil:
			return err
		case info.Size() != d.Size:
			return fmt.Errorf("%w: the manifest gives %s %d bytes, and it has %d", ErrInvalid, d.Digest, d.Size, info.Size())
		}
		return nil
	}
	for _, d := range m.Blobs() {
		if err := look(d, s.blob(tenant, d.Digest)); err != nil {
			return err
		}
	}
	for _, d := range m.Manifests {
		if err := look(d, s.manifest(tenant, d.Digest)); err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		return &MissingError{Digests: missing}
	}
	if m.IsIndex() {
		return nil
	}
	raw, err := readFile(s.blob(tenant, m.Config.Digest), image.MaxConfig)
	if err != nil {
		return err
	}
	cfg, err := image.ParseConfig(raw)
	if err == nil {
		err = cfg.Describes(m)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

// Manifest returns the text of a manifest of the tenant and its media type, or fails with ErrUnknown.
func (s *Store) Manifest(tenant string, d image.Digest) (raw []byte, mediaType string, err error) {
	if err := checkTenantDigest(tenant, d); err != nil {
		return nil, "", err
	}
	raw, err = readFile(s.manifest(tenant, d), image.MaxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("manifest %s of tenant %s: %w", d, tenant, ErrUnknown)
	}
	if err != nil {
		return nil, "", err
	}
	m, err := image.ParseManifest(raw, "")
	if err != nil {
		return nil, "", fmt.Errorf("manifest %s of tenant %s is damaged on disk: %w", d, tenant, err)
	}
	return raw, m.MediaType, nil
}

// Resolve returns what ref means among the tenant's images now, and false if it means nothing. A digest in ref wins over
// its tag. The image is kept from Collect as if it had just been sent, so that whoever pins it has time to.
func (s *Store) Resolve(tenant string, ref image.Ref) (image.Digest, bool, error) {
	if err := checkName(tenant, ref.Name, ref.Tag); err != nil {
		return "", false, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	d := ref.Digest
	if d == "" {
		var err error
		if d, err = s.meaning(tenant, ref.Name, ref.Tag); d == "" || err != nil {
			return "", false, err
		}
	}
	if err := checkTenantDigest(tenant, d); err != nil {
		return "", false, err
	}
	err := touch(s.manifest(tenant, d), s.opts.Now())
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	return d, err == nil, err
}

// meaning reads a tag's file; an empty digest means that there is none.
func (s *Store) meaning(tenant, name, tag string) (image.Digest, error) {
	text, err := readFile(filepath.Join(s.nameDir(tenant, name), tag), 256)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	d, err := image.ParseDigest(strings.TrimSpace(string(text)))
	if err != nil {
		return "", fmt.Errorf("name %s:%s of tenant %s is damaged on disk; load the image again: %w", name, tag, tenant, err)
	}
	return d, nil
}

// Tag makes name:tag of the tenant mean a manifest that the tenant has.
func (s *Store) Tag(tenant, name, tag string, d image.Digest) error {
	if err := errors.Join(checkName(tenant, name, ""), image.ValidTag(tag), checkTenantDigest(tenant, d)); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	there, err := exists(s.manifest(tenant, d))
	if err != nil {
		return err
	}
	if !there {
		return fmt.Errorf("manifest %s of tenant %s: %w", d, tenant, ErrUnknown)
	}
	return s.tag(tenant, name, tag, d)
}

func (s *Store) tag(tenant, name, tag string, d image.Digest) error {
	if err := makeDir(s.nameDir(tenant, name)); err != nil {
		return err
	}
	if err := writeFile(s.tmp(), filepath.Join(s.nameDir(tenant, name), tag), []byte(d+"\n")); err != nil {
		return fmt.Errorf("name %s as %s:%s: %w", d, name, tag, err)
	}
	return nil
}

// HasName says whether name:tag means anything, were it only a manifest that is no longer here.
func (s *Store) HasName(tenant, name, tag string) (bool, error) {
	if err := errors.Join(checkName(tenant, name, ""), image.ValidTag(tag)); err != nil {
		return false, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	d, err := s.meaning(tenant, name, tag)
	return d != "", err
}

// Untag makes name:tag mean nothing, or fails with ErrUnknown if it does not mean anything. What it meant stays until
// Collect finds that nothing else needs it.
func (s *Store) Untag(tenant, name, tag string) error {
	if err := errors.Join(checkName(tenant, name, ""), image.ValidTag(tag)); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	err := os.Remove(filepath.Join(s.nameDir(tenant, name), tag))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("image %s:%s of tenant %s: %w", name, tag, tenant, ErrUnknown)
	}
	if err != nil {
		return err
	}
	return syncDir(s.nameDir(tenant, name))
}

// Named is one name of one image.
type Named struct {
	Name, Tag string
	Digest    image.Digest
	Size      int64     // bytes of all that the image needs, layers shared with other images included
	Since     time.Time // when the name took this meaning
}

// Tenants lists the tenants that have, or had, images.
func (s *Store) Tenants() ([]string, error) { return list(filepath.Join(s.dir, "tenants")) }

// List returns the tenant's names in order. A name whose manifest cannot be read has size -1.
func (s *Store) List(tenant string) ([]Named, error) {
	if err := image.ValidTenant(tenant); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	var all []Named
	err := s.eachName(tenant, func(name, tag string) error {
		d, err := s.meaning(tenant, name, tag)
		if d == "" || err != nil {
			return err
		}
		n := Named{Name: name, Tag: tag, Digest: d, Size: -1}
		if info, err := os.Lstat(filepath.Join(s.nameDir(tenant, name), tag)); err == nil {
			n.Since = info.ModTime()
		}
		if raw, mediaType, err := s.Manifest(tenant, d); err == nil {
			n.Size = size(raw, mediaType)
		}
		all = append(all, n)
		return nil
	})
	return all, err
}

func size(raw []byte, mediaType string) int64 {
	m, err := image.ParseManifest(raw, mediaType)
	if err != nil {
		return -1
	}
	n := int64(len(raw))
	for _, d := range append(m.Blobs(), m.Manifests...) {
		n += d.Size
	}
	return n
}

func (s *Store) eachName(tenant string, do func(name, tag string) error) error {
	names, err := list(s.tenant(tenant, "names"))
	if err != nil {
		return err
	}
	for _, name := range names {
		tags, err := list(s.tenant(tenant, "names", name))
		if err != nil {
			return err
		}
		for _, tag := range tags {
			if err := do(strings.ReplaceAll(name, "+", "/"), tag); err != nil {
				return err
			}
		}
	}
	return nil
}
