package mounted

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/argosy-cluster/argosy/internal/agent/volume"
)

// attributes are options that are the mount's and not the file system's.
var attributes = map[string]int{
	"noatime": unix.MOUNT_ATTR_NOATIME, "relatime": unix.MOUNT_ATTR_RELATIME, "strictatime": unix.MOUNT_ATTR_STRICTATIME,
	"nodiratime": unix.MOUNT_ATTR_NODIRATIME, "noexec": unix.MOUNT_ATTR_NOEXEC,
}

// Mount mounts a device at a path. What took so long that late says so is never attached to a path.
func Mount(kind, node string, options []string, at string, late func() error) error {
	context, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if errors.Is(err, unix.ENODEV) {
		return volume.Refuse(volume.Misdescribed, "this machine's kernel has no file system %s; load its module: modprobe %s", kind, kind)
	}
	if err != nil {
		return fmt.Errorf("mount %s: %w", node, err)
	}
	defer unix.Close(context)
	attr := unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	failed := func(err error) error { return fmt.Errorf("mount %s: %w%s", node, err, told(context)) }
	if err := unix.FsconfigSetString(context, "source", node); err != nil {
		return failed(err)
	}
	for _, o := range options {
		if a, is := attributes[o]; is {
			attr |= a
			continue
		}
		name, value, valued := strings.Cut(o, "=")
		if valued {
			err = unix.FsconfigSetString(context, name, value)
		} else {
			err = unix.FsconfigSetFlag(context, name)
		}
		if err != nil {
			return volume.Refuse(volume.Misdescribed, "the kernel refuses the option %s: %w%s", o, err, told(context))
		}
	}
	switch err := unix.FsconfigCreate(context); {
	case errors.Is(err, unix.EBUSY):
		return volume.Refuse(volume.Busy, "%s is mounted by another machine, as its file system itself noticed (mmp); stop what uses it there: %w", node, err)
	case errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES):
		return volume.Refuse(volume.ReadOnly, "%s cannot be written: %w; the device is read-only (blockdev --getro %s)", node, err, node)
	case err != nil:
		return failed(err)
	}
	tree, err := unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, attr)
	if err != nil {
		return failed(err)
	}
	defer unix.Close(tree)
	if err := late(); err != nil {
		return err
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount %s at %s: %w", node, at, err)
	}
	return nil
}

// told is what the kernel said about an attempt to mount, as the end of a sentence.
func told(context int) string {
	var b strings.Builder
	buf := make([]byte, 1024)
	for range 16 {
		n, err := unix.Read(context, buf)
		if err != nil || n <= 2 {
			break
		}
		b.WriteString("; " + strings.TrimSpace(string(buf[2:n])))
	}
	return b.String()
}

// Exclusive is nil when a block device can be opened exclusively: nothing has it mounted, in whatever namespace, and no other
// device is built on it.
func Exclusive(node string) error {
	f, err := os.OpenFile(node, os.O_RDONLY|unix.O_EXCL|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.EBUSY) {
		return volume.Refuse(volume.Busy, "%s is in use on this machine; findmnt -S %s and lsblk %s show by what", node, node, node)
	}
	if err != nil {
		return fmt.Errorf("open %s exclusively: %w", node, err)
	}
	return f.Close()
}
