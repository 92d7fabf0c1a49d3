package volumesource

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// onDevices are file systems of one device, which nothing keeps from being mounted twice.
var onDevices = []string{
	"ext2", "ext3", "ext4", "xfs", "btrfs", "vfat", "msdos", "exfat", "ntfs", "ntfs3", "iso9660", "udf", "squashfs", "erofs", "f2fs", "jfs", "reiserfs",
	"nilfs2", "hfs", "hfsplus", "minix", "auto", "swap", "zfs", "bcachefs",
}

// ofTheMachine show the machine's own memory, files or kernel, or run a program.
var ofTheMachine = []string{
	"none", "bind", "rbind", "proc", "sysfs", "devtmpfs", "devpts", "tmpfs", "ramfs", "hugetlbfs", "mqueue", "cgroup", "cgroup2", "cpuset", "debugfs",
	"tracefs", "securityfs", "configfs", "pstore", "efivarfs", "bpf", "binfmt_misc", "overlay", "aufs", "unionfs", "autofs", "rootfs", "nsfs", "fuse",
	"fuseblk", "fusectl", "rpc_pipefs", "nfsd", "selinuxfs", "ecryptfs", "systemd-1",
}

// MountType checks a type of mount(8).
func MountType(t string) error {
	if err := plain(t); err != nil {
		return err
	}
	if len(t) > 32 || strings.ContainsAny(t[:1], "._-") || strings.Trim(t, "abcdefghijklmnopqrstuvwxyz0123456789._-") != "" {
		return fmt.Errorf("%s is not a type of mount(8): small letters, digits, dots and hyphens, such as nfs", strconv.Quote(t))
	}
	switch {
	case slices.Contains(onDevices, t):
		return fmt.Errorf("%s is a file system of one device, and a second mount destroys it: use driver: device, which notices", t)
	case slices.Contains(ofTheMachine, t) || strings.HasPrefix(t, "fuse."):
		return fmt.Errorf("%s is not storage that several machines reach, or it runs a program of the machine", t)
	}
	return nil
}

// MountSource checks what is mounted: `server:/export`, `//server/share`, `host1,host2:/`.
func MountSource(s string) error {
	if err := plain(s); err != nil {
		return err
	}
	filled := For(s, 1)
	switch {
	case strings.ContainsAny(filled, "{}"):
		return fmt.Errorf("%s has braces in it: only %s may stand there, for the number of the replica", strconv.Quote(s), Replica)
	case strings.HasPrefix(s, "-"):
		return fmt.Errorf("%s begins like an option", strconv.Quote(s))
	case strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "//"):
		return fmt.Errorf("%s is a path of the machine: for a device use driver: device; a server's is written server:/path or //server/share", strconv.Quote(s))
	case strings.HasPrefix(s, "UUID=") || strings.HasPrefix(s, "LABEL=") || strings.HasPrefix(s, "PARTUUID=") || strings.HasPrefix(s, "PARTLABEL=") || strings.HasPrefix(s, "ID="):
		return fmt.Errorf("%s is a device: use driver: device", strconv.Quote(s))
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == ".." {
			return fmt.Errorf("%s has .. in it", strconv.Quote(s))
		}
	}
	return nil
}

// refusedOptions are options of mount(8) that a manifest may not ask for, and why.
var refusedOptions = map[string]string{
	"bind": machines, "rbind": machines, "move": machines, "remount": machines, "loop": machines, "offset": machines, "sizelimit": machines,
	"encryption": machines, "subdir": machines,
	"suid": granted, "dev": granted, "user": granted, "users": granted, "owner": granted, "group": granted, "symfollow": granted,
	"helper": program, "uhelper": program, "upcall_target": program, "pre_mount": program,
	"shared": spread, "rshared": spread, "slave": spread, "rslave": spread, "private": spread, "rprivate": spread, "unbindable": spread, "runbindable": spread,
	"ro":       "a volume is there to be written: to read only, say so where a container mounts it (data:/path:ro)",
	"password": secret, "pass": secret, "password2": secret, "secret": secret,
	"nofail": "a volume that cannot be mounted is not ready, whatever is said", "bg": "a mount is there or it is not: in the background it would come when nobody waits for it any more",
	"auto": fstab, "noauto": fstab, "defaults": "it says nothing", "_netdev": fstab,
}

const (
	machines = "it would show the machine's own files, or something in place of the source"
	granted  = "it would let a container have what is the machine's"
	program  = "it runs a program of the machine"
	spread   = "where the mount is seen is the machine's affair"
	secret   = "a manifest is read by many: keep it in a file of the machines, credentials=FILE or secretfile=FILE"
	fstab    = "it is for /etc/fstab, where a volume is never written"
)

// MountOption checks an option of mount(8).
func MountOption(o string) error {
	if err := plain(o); err != nil {
		return err
	}
	name, _, _ := strings.Cut(o, "=")
	lower := strings.ToLower(name)
	switch {
	case strings.ContainsAny(o, `,"\`):
		return fmt.Errorf("%s has a comma, a quotation mark or a backslash in it: each option is an entry of its own", strconv.Quote(o))
	case name == "" || strings.Trim(lower, "abcdefghijklmnopqrstuvwxyz0123456789_-.") != "":
		return fmt.Errorf("%s is not an option of mount(8)", strconv.Quote(o))
	case strings.HasPrefix(lower, "x-") || strings.HasPrefix(lower, "comment"):
		return fmt.Errorf("the option %s is for mount(8) itself, not for the file system", strconv.Quote(name))
	}
	if why := refusedOptions[lower]; why != "" {
		return fmt.Errorf("the option %s is refused: %s", strconv.Quote(name), why)
	}
	return nil
}
