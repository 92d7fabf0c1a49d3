package device

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// linkDirs are where udev names devices in a way that stays.
var linkDirs = []string{"/dev/disk/by-id", "/dev/disk/by-path", "/dev/mapper"}

// Reached lists what a manifest may call the devices of this machine: their nodes, the links to them that stay, and the UUIDs and labels of
// the ext4 file systems on them. It reads the beginning of each device, and may take as long as the slowest.
func Reached(cfg Config) ([]string, error) {
	d := New(cfg)
	all, err := d.blocks()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, b := range all {
		names = append(names, b.node)
		if b.within {
			continue
		}
		sb, err := readSuper(b.node)
		if err != nil {
			continue
		}
		names = append(names, "UUID="+sb.UUID)
		if sb.Label != "" {
			names = append(names, "LABEL="+sb.Label)
		}
	}
	for _, dir := range linkDirs {
		links, err := os.ReadDir(dir)
		if err != nil {
			continue // most machines lack some of them
		}
		for _, l := range links {
			names = append(names, filepath.Join(dir, l.Name()))
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// Stamp is another one once a device was named or unnamed on this machine. It costs next to nothing, and does not tell that a device has another
// file system.
func Stamp() string { return stamp(append([]string{"/dev"}, linkDirs...)) }

func stamp(dirs []string) string {
	var out []byte
	for _, dir := range dirs {
		at := int64(0)
		if st, err := os.Stat(dir); err == nil { // most machines lack some of them
			at = st.ModTime().UnixNano()
		}
		out = strconv.AppendInt(append(out, ' '), at, 36)
	}
	return string(out)
}
