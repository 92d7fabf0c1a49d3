package blobs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/argosy-cluster/argosy/internal/image"
)

// Options bound what a Store takes. Zero values mean the defaults that Open fills in.
type Options struct {
	MaxBlob    int64            // bytes of one blob; default 16 GiB, at most image.MaxBlob
	MinFree    int64            // bytes of the disk that are left alone; default 512 MiB
	MaxUploads int              // unfinished uploads per tenant; default 256
	Now        func() time.Time // default time.Now
}

// Store keeps blobs, manifests and names in one directory. Its methods may be called from anywhere at once. Tenants,
// names and tags given to it must be valid (image.ValidTenant and so on); others are refused with ErrInvalid.
type Store struct {
	dir  string
	opts Options
	lock *os.File

	// mu orders changes of what is there against Collect: writers of links, manifests and names hold it for reading,
	// Collect for writing while it removes.
	mu sync.RWMutex

	uploadsMu sync.Mutex
	uploads   map[string]*upload // by file name in uploads/; guarded by uploadsMu
}

// Open opens the store in dir, making it if it is not there. One process at a time may have it open.
func Open(dir string, opts Options) (*Store, error) {
	if opts.MaxBlob == 0 {
		opts.MaxBlob = 16 << 30
	}
	opts.MaxBlob = min(opts.MaxBlob, image.MaxBlob)
	if opts.MinFree == 0 {
		opts.MinFree = 512 << 20
	}
	if opts.MaxUploads == 0 {
		opts.MaxUploads = 256
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	s := &Store{dir: dir, opts: opts, uploads: map[string]*upload{}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the image store: %w", err)
	}
	if err := s.takeLock(); err != nil {
		return nil, err
	}
	if err := s.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the image store: %w", err), s.Close())
	}
	return s, nil
}

func (s *Store) takeLock() error {
	path := filepath.Join(s.dir, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("open the image store: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		err = fmt.Errorf("the image store in %s is in use by another process; stop that one first: %w", s.dir, err)
		return errors.Join(err, f.Close())
	}
	s.lock = f
	return nil
}

func (s *Store) prepare() error {
	if err := os.RemoveAll(s.tmp()); err != nil {
		return err
	}
	for _, d := range []string{s.tmp(), s.pool(""), s.uploadFile(""), filepath.Join(s.dir, "tenants")} {
		if err := makeDir(d); err != nil {
			return err
		}
	}
	return nil
}

// Close lets another process open the store. Uploads may go on after the next Open.
func (s *Store) Close() error { return s.lock.Close() }

func (s *Store) tmp() string                   { return filepath.Join(s.dir, "tmp") }
func (s *Store) pool(hexa string) string       { return filepath.Join(s.dir, "pool", hexa) }
func (s *Store) uploadFile(name string) string { return filepath.Join(s.dir, "uploads", name) }
func (s *Store) tenant(t string, parts ...string) string {
	return filepath.Join(append([]string{s.dir, "tenants", t}, parts...)...)
}
func (s *Store) blob(t string, d image.Digest) string     { return s.tenant(t, "blobs", d.Hex()) }
func (s *Store) manifest(t string, d image.Digest) string { return s.tenant(t, "manifests", d.Hex()) }
func (s *Store) nameDir(t, name string) string {
	return s.tenant(t, "names", strings.ReplaceAll(name, "/", "+"))
}

// makeTenant makes the directories of t.
func (s *Store) makeTenant(t string) error {
	for _, d := range []string{s.tenant(t), s.tenant(t, "blobs"), s.tenant(t, "manifests"), s.tenant(t, "names")} {
		if err := makeDir(d); err != nil {
			return err
		}
	}
	return nil
}

func checkTenantDigest(tenant string, d image.Digest) error {
	if err := image.ValidTenant(tenant); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if _, err := image.ParseDigest(string(d)); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

// Blob opens a blob of the tenant, or fails with ErrUnknown. The file stays readable until it is closed, whatever
// Collect does.
func (s *Store) Blob(tenant string, d image.Digest) (*os.File, int64, error) {
	if err := checkTenantDigest(tenant, d); err != nil {
		return nil, 0, err
	}
	f, err := os.Open(s.blob(tenant, d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("blob %s of tenant %s: %w", d, tenant, ErrUnknown)
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// Claim says whether the tenant has the blob, and if so keeps it from Collect as if it had just been sent. Whoever is
// about to put a manifest claims what the manifest needs and sends the rest.
func (s *Store) Claim(tenant string, d image.Digest) (bool, error) {
	if err := checkTenantDigest(tenant, d); err != nil {
		return false, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	err := touch(s.blob(tenant, d), s.opts.Now())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// room fails with ErrFull when less than MinFree would be left on the disk after want more bytes.
func (s *Store) room(want int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir, &st); err != nil {
		return fmt.Errorf("ask for the free space of %s: %w", s.dir, err)
	}
	free := int64(st.Bavail) * st.Bsize
	if free-want < s.opts.MinFree {
		return fmt.Errorf("%w: %d MiB are free on the disk of %s, and %d MiB must stay free; remove images or enlarge the disk",
			ErrFull, free>>20, s.dir, s.opts.MinFree>>20)
	}
	return nil
}
