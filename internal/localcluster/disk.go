package localcluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// diskDir is where disks of machines are kept and mounted on the host: each as diskDir/<name>/m1-docker.img, on a
// directory m1-docker beside it.
const diskDir = "/var/lib/argosy-local"

// diskVolumes are the machine's volumes that are disks of their own, where Options.Disk asks for them. containerd's holds
// next to nothing.
var diskVolumes = []string{"argosy", "docker"}

// disk is the path of a machine's disk without the end of its image's name, which is where it is mounted.
func (l *Local) disk(machine, volume string) string {
	return filepath.Join(diskDir, l.opts.Name, machine+"-"+volume)
}

// volumeSource is what is mounted on a machine as the volume: a disk of the machine's own, or a volume of the Engine's.
func (l *Local) volumeSource(machine, volume string) string {
	if l.opts.Disk > 0 && slices.Contains(diskVolumes, volume) {
		return l.disk(machine, volume)
	}
	return l.containerName(machine) + "-" + volume
}

// ensureDisks makes and mounts a machine's disks, those that are not there yet.
func (l *Local) ensureDisks(ctx context.Context, machine string) error {
	if l.opts.Disk <= 0 {
		return nil
	}
	for _, volume := range diskVolumes {
		if err := l.ensureDisk(ctx, l.disk(machine, volume)); err != nil {
			return err
		}
	}
	return nil
}

func (l *Local) ensureDisk(ctx context.Context, at string) error {
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	if mounted, err := isMounted(at); mounted || err != nil {
		return err
	}
	image := at + ".img"
	if _, err := os.Stat(image); errors.Is(err, fs.ErrNotExist) {
		if err := makeDisk(ctx, image, l.opts.Disk); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	return command(ctx, "mount", "-o", "loop,discard", image, at)
}

// makeDisk makes a file system in a file that takes only the space that is used. It has its name once it is whole.
func makeDisk(ctx context.Context, image string, size int64) error {
	half := image + ".new"
	f, err := os.Create(half)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		return err
	}
	// Nothing is reserved for root: what fills it is root's.
	if err := command(ctx, "mkfs.ext4", "-q", "-m", "0", half); err != nil {
		return err
	}
	return os.Rename(half, image)
}

// removeDisks unmounts and removes the disks of all machines of the cluster.
func (l *Local) removeDisks() error {
	dir := filepath.Join(diskDir, l.opts.Name)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		at := filepath.Join(dir, e.Name())
		if !e.IsDir() {
			continue
		}
		if mounted, err := isMounted(at); err != nil {
			return err
		} else if !mounted {
			continue
		}
		if err := unix.Unmount(at, 0); err != nil {
			return fmt.Errorf("unmount the disk at %s: %w", at, err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Remove(diskDir); err != nil && !errors.Is(err, unix.ENOTEMPTY) { // another cluster's are in it
		return err
	}
	return nil
}

// isMounted says whether a file system is mounted on a directory: it is then on another device than its parent.
func isMounted(dir string) (bool, error) {
	var own, parent unix.Stat_t
	if err := errors.Join(unix.Stat(dir, &own), unix.Stat(filepath.Dir(dir), &parent)); err != nil {
		return false, fmt.Errorf("look whether a disk is mounted on %s: %w", dir, err)
	}
	return own.Dev != parent.Dev, nil
}

func command(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
