package mounted

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/argosy-cluster/argosy/internal/agent/volume"
	"github.com/argosy-cluster/argosy/internal/agent/volume/mountinfo"
)

// Sighting is a mount, as a process sees it.
type Sighting struct {
	PID   int
	Mount mountinfo.Mount
}

// Everywhere finds the mounts that match in every mount namespace in which there is a thread. A namespace that is kept by
// a file alone is not seen; what is mounted in it still keeps its device from being opened exclusively.
func Everywhere(match func(mountinfo.Mount) bool) ([]Sighting, error) {
	seen := map[string]bool{}
	var found []Sighting
	err := eachNumber("/proc", func(pid int) error {
		tasks := filepath.Join("/proc", strconv.Itoa(pid), "task")
		return eachNumber(tasks, func(tid int) error {
			of := filepath.Join(tasks, strconv.Itoa(tid))
			namespace, err := os.Readlink(filepath.Join(of, "ns", "mnt"))
			if gone(err) || err == nil && seen[namespace] {
				return nil
			}
			if err != nil && !errors.Is(err, fs.ErrPermission) {
				return err
			}
			// Of a process that has more rights than this one the namespace's name is not told, but its mounts are.
			unnamed := err != nil
			text, err := readBounded(filepath.Join(of, "mountinfo"))
			if gone(err) {
				return nil
			}
			if err != nil {
				return err
			}
			list, err := mountinfo.Parse(text)
			if err != nil {
				return fmt.Errorf("process %d: %w", pid, err)
			}
			seen[namespace] = !unnamed
			for _, m := range list {
				if match(m) {
					found = append(found, Sighting{pid, m})
				}
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("look for mounts in all namespaces: %w", err)
	}
	return found, nil
}

// gone tells that a process ended while it was looked at.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL)
}

func eachNumber(dir string, do func(int) error) error {
	d, err := os.Open(dir)
	if gone(err) && dir != "/proc" {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil && !gone(err) {
		return err
	}
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil {
			if err := do(n); err != nil {
				return err
			}
		}
	}
	return nil
}

// OfDevice matches mounts of a block device.
func OfDevice(dev uint64) func(mountinfo.Mount) bool {
	return func(m mountinfo.Mount) bool { return unix.Mkdev(m.Major, m.Minor) == dev }
}

// Unmounted is nil when no mount matches in any namespace.
func Unmounted(what string, match func(mountinfo.Mount) bool) error {
	found, err := Everywhere(match)
	if err != nil {
		return err
	}
	if len(found) > 0 {
		s := found[0]
		return volume.Refuse(volume.Busy, "%s is still mounted at %s, as process %d sees it", what, s.Mount.Point, s.PID)
	}
	return nil
}

// maxGroups bounds how many groups below one are looked at.
const maxGroups = 100_000

// NoProcess is nil when no process is in a cgroup and those below it. A cgroup that does not exist has none. dir is its directory
// below /sys/fs/cgroup.
func NoProcess(dir string) error {
	groups := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was removed, and with it whatever could be in it
		}
		if err != nil || !d.IsDir() {
			return err
		}
		if groups++; groups > maxGroups {
			return fmt.Errorf("there are more than %d groups in it", maxGroups)
		}
		text, err := readBounded(filepath.Join(path, "cgroup.procs"))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			if _, gone := os.Lstat(path); errors.Is(gone, fs.ErrNotExist) {
				return nil
			}
			return fmt.Errorf("%s is no cgroup", path)
		}
		if err != nil {
			return err
		}
		if pid, _, _ := strings.Cut(string(text), "\n"); pid != "" {
			return volume.Refuse(volume.Busy, "process %s is still in %s", pid, path)
		}
		return nil
	})
	if err != nil && volume.ReasonOf(err) == 0 {
		return fmt.Errorf("look for processes in %s: %w", dir, err)
	}
	return err
}
