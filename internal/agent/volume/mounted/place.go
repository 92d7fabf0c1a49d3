package mounted

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/argosy-cluster/argosy/internal/agent/volume"
	"github.com/argosy-cluster/argosy/internal/claims"
)

// Place is the directory of one claim. It carries the token, so that a later claim never meets what an earlier one left.
type Place struct {
	base, dir string
}

// PlaceOf is where a claim's volume is mounted, below base.
func PlaceOf(base string, c volume.Claim) (Place, error) {
	if err := errors.Join(volume.CheckName(c.Volume.Name), claims.CheckToken(c.Token)); err != nil {
		return Place{}, volume.Refuse(volume.Misdescribed, "%w", err)
	}
	if !filepath.IsAbs(base) || filepath.Clean(base) != base {
		return Place{}, fmt.Errorf("%q is no directory to mount volumes in: it must be an absolute path", base)
	}
	return Place{base, filepath.Join(base, filepath.FromSlash(c.Volume.Name), c.Token.String())}, nil
}

// Dir is the place itself; Staged and Published are in it.
func (p Place) Dir() string { return p.dir }

// Staged is where the whole file system is, for nobody but the driver.
func (p Place) Staged() string { return filepath.Join(p.dir, "fs") }

// Published is where the data is, for containers.
func (p Place) Published() string { return filepath.Join(p.dir, volume.DataName) }

// Make makes the directory that is mounted over.
func (p Place) Make() error {
	if err := os.MkdirAll(p.Staged(), 0o700); err != nil {
		return fmt.Errorf("make a place for the volume: %w", err)
	}
	return nil
}

// Unpublish takes the visible path away.
func (p Place) Unpublish() error { return unmount(p.Published()) }

// Unstage unmounts the file system, and removes the place where nothing else is in it. What is published is another mount
// of it, and has to go first.
func (p Place) Unstage() error {
	if shown, err := isMountRoot(p.Published()); err == nil && shown {
		return volume.Refuse(volume.Busy, "the volume is still visible at %s", p.Published())
	}
	if err := unmount(p.Staged()); err != nil {
		return err
	}
	// Other claims may be below the same directories: those that are not empty stay.
	for dir := p.dir; strings.HasPrefix(dir, p.base+"/"); dir = filepath.Dir(dir) {
		if err := unix.Rmdir(dir); errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
			break
		} else if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove the volume's place: %w", &os.PathError{Op: "rmdir", Path: dir, Err: err})
		}
	}
	return nil
}

// maxLayers bounds how many mounts lie over each other at one path.
const maxLayers = 64

// unmount unmounts everything at a path, and removes the directory. Never lazily: what is only detached can still be written.
func unmount(path string) error {
	for range maxLayers {
		root, err := isMountRoot(path)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
		if !root {
			if err := unix.Rmdir(path); err != nil && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("remove the volume's place: %w", &os.PathError{Op: "rmdir", Path: path, Err: err})
			}
			return nil
		}
		switch err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW); {
		case errors.Is(err, unix.EBUSY):
			return volume.Refuse(volume.Busy, "%s is in use and cannot be unmounted; fuser -vm %s shows by what: %w", path, path, err)
		case err != nil:
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
	return fmt.Errorf("unmount %s: more than %d mounts lie over each other there", path, maxLayers)
}

// isMountRoot asks without following a link, and without asking the file system itself, which may not answer.
func isMountRoot(path string) (bool, error) {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, unix.STATX_TYPE, &st)
	if err != nil {
		// A mount whose storage is gone answers nothing else. It is one all the same, and to be unmounted.
		if errors.Is(err, unix.ESTALE) || errors.Is(err, unix.EIO) || errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.EHOSTDOWN) {
			return true, nil
		}
		return false, err
	}
	return st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}
