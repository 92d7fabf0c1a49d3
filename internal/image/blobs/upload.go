package blobs

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/argosy-cluster/argosy/internal/image"
	"github.com/argosy-cluster/argosy/internal/pattern"
)

// upload is what is known in memory of one file in uploads/. Whoever touches the file holds mu and finds closed false;
// a sender whose connection hangs holds nothing, so the next one just goes on where the file stands.
type upload struct {
	mu     sync.Mutex
	closed bool // committed or cancelled: the file is no upload any more and must not be written to
	// The hash is of the file's first hashed bytes. After a restart it is computed again from the file.
	hash   hash.Hash
	hashed int64
}

var uploadForm = pattern.New(`^[rd]-[0-9a-f]{32,64}$`)

// roomEvery is how many bytes may be written between two looks at the free space.
const roomEvery = 64 << 20

// Start begins an upload and returns its id and how many bytes of it are there already. If d is not empty, it is the
// digest that the content will have, and an unfinished upload of the same content is taken up again. Two senders may do
// so at once: each byte is taken from whoever brings it first. With an empty d the upload starts at 0.
func (s *Store) Start(tenant string, d image.Digest) (id string, offset int64, err error) {
	if err := image.ValidTenant(tenant); err != nil {
		return "", 0, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if d != "" {
		if err := checkTenantDigest(tenant, d); err != nil {
			return "", 0, err
		}
		id = "d-" + d.Hex()
	} else {
		var random [16]byte
		if _, err := rand.Read(random[:]); err != nil {
			return "", 0, err
		}
		id = fmt.Sprintf("r-%x", random)
	}
	offset, err = s.begin(tenant, id)
	return id, offset, err
}

// begin makes the upload's file if it is not there, and returns its size.
func (s *Store) begin(tenant, id string) (int64, error) {
	if err := s.room(0); err != nil {
		return 0, err
	}
	path := s.uploadFile(tenant + "." + id)
	if info, err := os.Lstat(path); err == nil {
		return info.Size(), nil
	}
	open, err := list(s.uploadFile(""))
	if err != nil {
		return 0, err
	}
	n := 0
	for _, name := range open {
		if strings.HasPrefix(name, tenant+".") {
			n++
		}
	}
	if n >= s.opts.MaxUploads {
		return 0, fmt.Errorf("tenant %s has %d unfinished uploads: %w: finish some or wait until they are swept away", tenant, n, ErrBusy)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	return 0, f.Close()
}

func (s *Store) session(tenant, id string) *upload {
	s.uploadsMu.Lock()
	defer s.uploadsMu.Unlock()
	key := tenant + "." + id
	u := s.uploads[key]
	if u == nil {
		u = &upload{hash: sha256.New()}
		s.uploads[key] = u
	}
	return u
}

func (s *Store) forget(tenant, id string) {
	s.uploadsMu.Lock()
	defer s.uploadsMu.Unlock()
	delete(s.uploads, tenant+"."+id)
}

// take opens an upload and locks it for the caller, who calls u.mu.Unlock and f.Close.
func (s *Store) take(tenant, id string) (u *upload, f *os.File, err error) {
	if err := image.ValidTenant(tenant); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	unknown := fmt.Errorf("upload %s of tenant %s: %w: begin again", clip(id), tenant, ErrUnknown)
	if !uploadForm.MatchString(id) {
		return nil, nil, unknown
	}
	path := s.uploadFile(tenant + "." + id)
	if there, err := exists(path); err != nil || !there {
		return nil, nil, errors.Join(unknown, err)
	}
	u = s.session(tenant, id)
	u.mu.Lock()
	if u.closed {
		u.mu.Unlock()
		return nil, nil, unknown
	}
	f, err = os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		return u, f, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		s.close(u, tenant, id)
		err = unknown
	}
	u.mu.Unlock()
	return nil, nil, err
}

// close ends u, whose lock the caller holds and whose file is no upload any more.
func (s *Store) close(u *upload, tenant, id string) {
	u.closed = true
	s.forget(tenant, id)
}

// Offset returns how many bytes of the upload are there.
func (s *Store) Offset(tenant, id string) (int64, error) {
	u, f, err := s.take(tenant, id)
	if err != nil {
		return 0, err
	}
	defer u.mu.Unlock()
	info, err := f.Stat()
	if err := errors.Join(err, f.Close()); err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Append adds what r gives to the upload and returns where it then stands, also with an error: what came before the
// error is kept, and the upload may go on from there. A negative offset means "wherever it stands"; another offset than
// where it stands is an *OffsetError.
func (s *Store) Append(tenant, id string, offset int64, r io.Reader) (at int64, err error) {
	u, f, err := s.take(tenant, id)
	if err != nil {
		return 0, err
	}
	at, err = u.prepare(f, offset)
	u.mu.Unlock()
	if err == nil {
		at, err = s.copyIn(u, f, at, r)
	}
	return at, errors.Join(err, f.Close())
}

// prepare returns where the upload stands, with its hash ready, if it stands at offset.
func (u *upload) prepare(f *os.File, offset int64) (int64, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	if offset >= 0 && offset != size {
		return size, &OffsetError{Have: size, Want: offset}
	}
	return size, u.catchUp(f, size)
}

// catchUp makes the hash that of the file's first size bytes.
func (u *upload) catchUp(f *os.File, size int64) error {
	if u.hashed == size {
		return nil
	}
	u.hash, u.hashed = sha256.New(), 0
	n, err := io.Copy(u.hash, io.NewSectionReader(f, 0, size))
	u.hashed = n
	if err != nil {
		return fmt.Errorf("read an upload back: %w", err)
	}
	return nil
}

// copyIn adds what r gives from at on, piece by piece, the upload being locked only while a piece is added.
func (s *Store) copyIn(u *upload, f *os.File, at int64, r io.Reader) (int64, error) {
	buf := make([]byte, 256<<10)
	look := at
	for {
		n, readErr := r.Read(buf)
		if at+int64(n) > s.opts.MaxBlob {
			return at, fmt.Errorf("a blob of more than %d bytes is %w for this server", s.opts.MaxBlob, ErrTooLarge)
		}
		if at >= look {
			if err := s.room(int64(n)); err != nil {
				return at, err
			}
			look = at + roomEvery
		}
		if err := u.add(f, at, buf[:n]); err != nil {
			return at, err
		}
		at += int64(n)
		if errors.Is(readErr, io.EOF) {
			return at, nil
		}
		if readErr != nil {
			return at, fmt.Errorf("the sender stopped at byte %d: %w", at, readErr)
		}
	}
}

// add writes b at the end of f, which is to be at, and hashes it. Hash and file never disagree: what was not written in
// full is cut off again.
func (u *upload) add(f *os.File, at int64, b []byte) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return fmt.Errorf("the upload has ended meanwhile: %w: begin again", ErrUnknown)
	}
	if u.hashed != at {
		return &OffsetError{Have: u.hashed, Want: at}
	}
	if _, err := f.WriteAt(b, at); err != nil {
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			err = fmt.Errorf("%w: %w", ErrFull, err)
		}
		return errors.Join(fmt.Errorf("write an upload: %w", err), f.Truncate(at))
	}
	u.hash.Write(b)
	u.hashed += int64(len(b))
	return nil
}

// Commit verifies that the upload's content has digest d and makes it a blob of the tenant. Content that has another
// digest is removed and refused with *DigestError.
func (s *Store) Commit(tenant, id string, d image.Digest) (err error) {
	if err := checkTenantDigest(tenant, d); err != nil {
		return err
	}
	u, f, err := s.take(tenant, id)
	if err != nil {
		return err
	}
	defer u.mu.Unlock()
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := u.prepare(f, -1); err != nil {
		return err
	}
	path := s.uploadFile(tenant + "." + id)
	if got := image.DigestOf([sha256.Size]byte(u.hash.Sum(nil))); got != d {
		s.close(u, tenant, id)
		return errors.Join(&DigestError{Want: d, Got: got}, remove(path))
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("flush blob %s: %w", d, err)
	}
	// From here on the file may be in the pool, whatever happens, so nothing may write to it again.
	s.close(u, tenant, id)
	if err := s.adopt(tenant, path, d); err != nil {
		return errors.Join(fmt.Errorf("keep blob %s: %w", d, err), remove(path))
	}
	return nil
}

// adopt moves the verified and flushed file at path into the pool and links it to the tenant.
func (s *Store) adopt(tenant, path string, d image.Digest) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.makeTenant(tenant); err != nil {
		return err
	}
	there, err := exists(s.pool(d.Hex()))
	if err != nil {
		return err
	}
	// Two who get here at once with the same content rename one over the other; each tenant's link stays good.
	if there {
		err = remove(path)
	} else {
		err = os.Rename(path, s.pool(d.Hex()))
	}
	if err != nil {
		return err
	}
	if err := os.Link(s.pool(d.Hex()), s.blob(tenant, d)); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := touch(s.blob(tenant, d), s.opts.Now()); err != nil {
		return err
	}
	for _, dir := range []string{s.pool(""), filepath.Dir(s.blob(tenant, d))} {
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// Cancel throws an upload away.
func (s *Store) Cancel(tenant, id string) error {
	u, f, err := s.take(tenant, id)
	if err != nil {
		return err
	}
	defer u.mu.Unlock()
	s.close(u, tenant, id)
	return errors.Join(remove(s.uploadFile(tenant+"."+id)), f.Close())
}

func clip(s string) string { return fmt.Sprintf("%.80q", s) }
