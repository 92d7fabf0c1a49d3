package volumesource

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Replica stands in a device or source for the number of the replica.
const Replica = "{replica}"

// maxText bounds a device, a source and an option, in bytes.
const maxText = 1024

// MaxOptions is how many options a volume may have.
const MaxOptions = 32

// Ext4 is the one file system that devices are mounted with: it notices a second mount by itself (mmp).
const Ext4 = "ext4"

// For is a device or source as the replica of that number has it.
func For(text string, replica uint32) string {
	return strings.ReplaceAll(text, Replica, strconv.FormatUint(uint64(replica), 10))
}

// EachReplica says whether every replica has a device or source of its own.
func EachReplica(text string) bool { return strings.Contains(text, Replica) }

// By is what a device is found by.
type By int

// The ways to name a device.
const (
	ByPath By = iota + 1
	ByUUID
	ByLabel
)

// Device names a block device.
type Device struct {
	By    By
	Value string
}

func (d Device) String() string {
	switch d.By {
	case ByUUID:
		return "UUID=" + d.Value
	case ByLabel:
		return "LABEL=" + d.Value
	}
	return d.Value
}

// ParseDevice reads `UUID=…`, `LABEL=…` or a path below /dev. {replica} may still stand in it.
func ParseDevice(s string) (Device, error) {
	if err := plain(s); err != nil {
		return Device{}, err
	}
	filled := For(s, 1)
	if strings.ContainsAny(filled, "{}") {
		return Device{}, fmt.Errorf("%s has braces in it: only %s may stand there, for the number of the replica", strconv.Quote(s), Replica)
	}
	kind, value, tagged := strings.Cut(s, "=")
	switch {
	case strings.HasPrefix(s, "/"):
		if path.Clean(s) != s || !strings.HasPrefix(s, "/dev/") {
			return Device{}, fmt.Errorf("%s is no path of a device: it is below /dev/, such as /dev/disk/by-id/…, without .. and double slashes", strconv.Quote(s))
		}
		return Device{ByPath, s}, nil
	case tagged && kind == "UUID":
		if EachReplica(s) {
			return Device{}, fmt.Errorf("a UUID cannot be counted: give each replica a label, LABEL=…%s", Replica)
		}
		if !isUUID(value) {
			return Device{}, fmt.Errorf("%s is not the UUID of an ext4 file system: it looks like 0a1b2c3d-0a1b-2c3d-4e5f-0a1b2c3d4e5f (blkid shows it)", strconv.Quote(value))
		}
		return Device{ByUUID, strings.ToLower(value)}, nil
	case tagged && kind == "LABEL":
		if n := len(For(value, 99999)); value == "" || !EachReplica(value) && len(value) > 16 || EachReplica(value) && n > 16 {
			return Device{}, fmt.Errorf("%s is not the label of an ext4 file system: it has 1 to 16 bytes, and %s takes up to 5 of them", strconv.Quote(value), Replica)
		}
		return Device{ByLabel, value}, nil
	}
	return Device{}, fmt.Errorf("%s names no device: write UUID=…, LABEL=… or a path below /dev/", strconv.Quote(s))
}

// isUUID accepts the 36 characters that blkid shows.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (c == '-') || !dash && !strings.ContainsRune("0123456789abcdefABCDEF", rune(c)) {
			return false
		}
	}
	return true
}

// plain refuses what cannot be shown, and what is too long.
func plain(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("it is empty")
	case len(s) > maxText:
		return fmt.Errorf("it has %d bytes; %d are allowed", len(s), maxText)
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f {
			return fmt.Errorf("%s has a character in it that is neither a letter, a digit nor a sign of ASCII", strconv.Quote(s))
		}
	}
	return nil
}

// ext4Words are the options of ext4 that may be asked for and have no value.
var ext4Words = []string{
	"noatime", "relatime", "strictatime", "nodiratime", "lazytime", "noexec", "discard", "nodiscard", "acl", "noacl",
	"delalloc", "nodelalloc", "journal_checksum", "auto_da_alloc", "dioread_lock", "dioread_nolock", "block_validity", "init_itable", "noinit_itable",
}

// ext4Values are those that have one: of these words, or a number where there is none.
var ext4Values = map[string][]string{
	"data": {"journal", "ordered"}, "errors": {"remount-ro", "panic"}, "commit": nil, "stripe": nil, "inode_readahead_blks": nil,
	"max_batch_time": nil, "min_batch_time": nil, "journal_ioprio": nil,
}

// DeviceOption checks an option with which a device is mounted.
func DeviceOption(o string) error {
	if err := plain(o); err != nil {
		return err
	}
	name, value, valued := strings.Cut(o, "=")
	if slices.Contains(ext4Words, o) {
		return nil
	}
	words, known := ext4Values[name]
	switch {
	case known && !valued:
		return fmt.Errorf("the option %s has no value: %s=…", name, name)
	case known && words != nil && !slices.Contains(words, value):
		return fmt.Errorf("the option %s may be %s", name, strings.Join(words, " or "))
	case known && words == nil:
		if n, err := strconv.ParseUint(value, 10, 31); err != nil || strconv.FormatUint(n, 10) != value {
			return fmt.Errorf("the option %s is a whole number, not %s", name, strconv.Quote(value))
		}
		return nil
	case known:
		return nil
	case name == "ro":
		return fmt.Errorf("a volume is there to be written: to read only, say so where a container mounts it (data:/path:ro)")
	}
	return fmt.Errorf("the option %s is not one that a volume may be mounted with: those are %s; data, errors, commit and stripe with a value",
		strconv.Quote(o), strings.Join(ext4Words[:8], ", "))
}
