package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go.etcd.io/etcd/api/v3/version"
	"golang.org/x/sys/unix"
)

// layout is the version of what a data directory holds: stamp, lock, and etcd's own directory.
const (
	layout    = 1
	stampFile = "store.json"
	lockFile  = "lock"
	etcdDir   = "etcd"
)

// stamp says whose a data directory is.
type stamp struct {
	Layout int    `json:"layout"`
	Etcd   string `json:"etcd"` // version that wrote it last, `3.7.3`
	Member string `json:"member"`
}

// claimDir makes sure that the directory is this member's to use, marks it, and keeps others out until released.
func claimDir(dir, member string) (release func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the store's directory: %w", err)
	}
	if err := checkDir(dir, member); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the store's directory: %w", err)
	}
	release = func() { _ = lock.Close() } // closing unlocks
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		release()
		return nil, fmt.Errorf("the store in %s is in use by another process: is an argosy server running already?", dir)
	}
	if err := writeStamp(dir, stamp{Layout: layout, Etcd: version.Version, Member: member}); err != nil {
		release()
		return nil, err
	}
	return release, nil
}

func checkDir(dir, member string) error {
	path := filepath.Join(dir, stampFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return checkEmpty(dir)
	}
	if err != nil {
		return fmt.Errorf("reading whose the store's directory is: %w", err)
	}
	var s stamp
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("%s cannot be read (%w): restore the directory from a backup, or choose an empty one", path, err)
	}
	return s.check(dir, member, version.Version)
}

func (s stamp) check(dir, member, have string) error {
	if s.Layout != layout {
		return fmt.Errorf("the store in %s has layout %d and this release of argosy reads layout %d: run the release that wrote it, or choose an empty directory",
			dir, s.Layout, layout)
	}
	if s.Member != member {
		return fmt.Errorf("the store in %s belongs to server %s, and this is server %s: choose another directory", dir, s.Member, member)
	}
	oldMajor, oldMinor, okOld := release(s.Etcd)
	major, minor, ok := release(have)
	if !ok || !okOld || oldMajor != major || oldMinor > minor || oldMinor < minor-1 {
		return fmt.Errorf("the store in %s was written by etcd %s and this release of argosy has etcd %s, which can follow itself and the release before it only: run the argosy release that wrote it, or one between",
			dir, s.Etcd, have)
	}
	return nil
}

// release reads the first two numbers of a version.
func release(v string) (major, minor int, ok bool) {
	parts := strings.SplitN(v, ".", 3)
	if len(parts) < 2 {
		return 0, 0, false
	}
	major, errMajor := strconv.Atoi(parts[0])
	minor, errMinor := strconv.Atoi(parts[1])
	return major, minor, errMajor == nil && errMinor == nil
}

// checkEmpty lets pass what an earlier start left that was killed before it had written its stamp.
func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("reading the store's directory: %w", err)
	}
	for _, e := range entries {
		if e.Name() != lockFile && e.Name() != stampFile+".new" {
			return fmt.Errorf("%s holds %s, which no argosy server put there: choose an empty directory for the store", dir, e.Name())
		}
	}
	return nil
}

// writeStamp replaces the stamp as a whole or not at all.
func writeStamp(dir string, s stamp) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("marking the store's directory: %w", err)
	}
	path := filepath.Join(dir, stampFile)
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("marking the store's directory: %w", err)
	}
	_, err = f.Write(append(data, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("marking the store's directory: %w", err)
	}
	return nil
}
