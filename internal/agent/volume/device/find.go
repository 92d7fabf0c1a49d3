package device

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/argosy-cluster/argosy/internal/agent/volume"
	"github.com/argosy-cluster/argosy/internal/agent/volume/superblock"
	"github.com/argosy-cluster/argosy/internal/volumesource"
)

// maxDevices bounds how many block devices are looked at.
const maxDevices = 8192

// block is a block device of this machine.
type block struct {
	node string // /dev/sdb
	dev  uint64
	// within: another device is built on it (a multipath, a RAID, a logical volume), and shows its contents.
	within bool
}

// blocks lists the block devices that this machine has nodes for. In a container the kernel shows those of the host, too;
// what has no node, or another one, is not reachable.
func (d *Driver) blocks() ([]block, error) {
	names, err := os.ReadDir(d.cfg.Sys)
	if err != nil {
		return nil, fmt.Errorf("look for block devices: %w", err)
	}
	if len(names) > maxDevices {
		return nil, fmt.Errorf("look for block devices: there are more than %d", maxDevices)
	}
	var list []block
	for _, n := range names {
		dir := filepath.Join(d.cfg.Sys, n.Name())
		text, err := os.ReadFile(filepath.Join(dir, "dev"))
		if err != nil {
			continue // it was taken away meanwhile
		}
		major, minor, _ := strings.Cut(strings.TrimSpace(string(text)), ":")
		a, errA := strconv.ParseUint(major, 10, 32)
		b, errB := strconv.ParseUint(minor, 10, 32)
		if errA != nil || errB != nil {
			continue
		}
		dev := unix.Mkdev(uint32(a), uint32(b))
		node := filepath.Join("/dev", strings.ReplaceAll(n.Name(), "!", "/"))
		if is, err := deviceOf(node); err != nil || is != dev {
			continue
		}
		holders, _ := os.ReadDir(filepath.Join(dir, "holders"))
		list = append(list, block{node, dev, len(holders) > 0})
	}
	return list, nil
}

// deviceOf is the number of the block device that a node stands for.
func deviceOf(node string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Lstat(node, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: node, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return 0, fmt.Errorf("%s is no block device", node)
	}
	return st.Rdev, nil
}

// readSuper reads the superblock of a device.
func readSuper(node string) (superblock.Superblock, error) {
	f, err := os.OpenFile(node, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return superblock.Superblock{}, err
	}
	defer f.Close()
	b := make([]byte, superblock.Size)
	if _, err := f.ReadAt(b, superblock.Offset); err != nil {
		if errors.Is(err, io.EOF) {
			err = superblock.ErrOther // too small for one
		}
		return superblock.Superblock{}, err
	}
	return superblock.Parse(b)
}

// find is the one device that is meant. Of two with the same file system, neither is: one may be a copy, and nobody but a
// person knows which.
func (d *Driver) find(v volume.Volume) (block, error) {
	want, err := volumesource.ParseDevice(v.Device.Source)
	if err != nil {
		return block{}, volume.Refuse(volume.Misdescribed, "volume %s: %w", v.Name, err)
	}
	all, err := d.blocks()
	if err != nil {
		return block{}, err
	}
	if want.By == volumesource.ByPath {
		return byPath(all, want.Value, v.Name)
	}
	var found []block
	for _, b := range all {
		if b.within {
			continue
		}
		sb, err := readSuper(b.node)
		if err == nil && (want.By == volumesource.ByUUID && sb.UUID == want.Value || want.By == volumesource.ByLabel && sb.Label == want.Value) {
			found = append(found, b)
		}
	}
	switch len(found) {
	case 0:
		return block{}, volume.Refuse(volume.Absent, "no device of this machine has an ext4 file system with %s; connect it, or look with: blkid", want)
	case 1:
		return found[0], d.alone(all, found[0])
	}
	return block{}, twice(want.String(), found)
}

func byPath(all []block, path, name string) (block, error) {
	node, err := filepath.EvalSymlinks(path)
	if errors.Is(err, os.ErrNotExist) {
		return block{}, volume.Refuse(volume.Absent, "there is no device %s on this machine; connect it, or correct the manifest", path)
	}
	if err != nil {
		return block{}, fmt.Errorf("look at %s: %w", path, err)
	}
	dev, err := deviceOf(node)
	if err != nil {
		return block{}, volume.Refuse(volume.Misdescribed, "volume %s: %s is no block device", name, path)
	}
	i := slices.IndexFunc(all, func(b block) bool { return b.dev == dev })
	switch {
	case i < 0:
		// A node elsewhere below /dev, as administrators make them.
		return block{node: node, dev: dev}, nil
	case all[i].within:
		return block{}, volume.Refuse(volume.Busy, "%s is part of another device (lsblk %s shows which); name that one", path, node)
	}
	return all[i], nil
}

// alone refuses a device whose file system is on another one too, whatever it was found by.
func (d *Driver) alone(all []block, b block) error {
	own, err := readSuper(b.node)
	if errors.Is(err, superblock.ErrOther) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", b.node, err)
	}
	same := []block{b}
	for _, o := range all {
		if o.dev == b.dev || o.within {
			continue
		}
		if sb, err := readSuper(o.node); err == nil && sb.UUID == own.UUID {
			same = append(same, o)
		}
	}
	if len(same) > 1 {
		return twice("UUID="+own.UUID, same)
	}
	return nil
}

func twice(what string, found []block) error {
	nodes := make([]string, 0, len(found))
	for _, b := range found[:min(len(found), 4)] {
		nodes = append(nodes, b.node)
	}
	return volume.Refuse(volume.Ambiguous, "%s is on %s: one of them may be a copy, and which is not known; take one away, or give the copy another UUID and label: tune2fs -U random -L NEW DEVICE",
		what, strings.Join(nodes, " and "))
}
