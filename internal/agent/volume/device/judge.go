package device

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/argosy-cluster/argosy/internal/agent/volume"
	"github.com/argosy-cluster/argosy/internal/agent/volume/mounted"
	"github.com/argosy-cluster/argosy/internal/agent/volume/superblock"
	"github.com/argosy-cluster/argosy/internal/agent/volume/tool"
)

// verdict is what is on a device that may be used.
type verdict struct {
	block
	blank bool
	super superblock.Superblock
}

func (v verdict) attached() volume.Attached {
	return volume.Attached{At: v.node, UUID: v.super.UUID, Blank: v.blank, Detects: true}
}

// judge finds a volume's device and says whether it may be used. It only reads.
func (d *Driver) judge(ctx context.Context, v volume.Volume) (verdict, error) {
	b, err := d.find(v)
	if err != nil {
		return verdict{}, err
	}
	if err := usable(b.node); err != nil {
		return verdict{}, err
	}
	all, err := d.blocks()
	if err != nil {
		return verdict{}, err
	}
	if err := d.alone(all, b); err != nil {
		return verdict{}, err
	}
	said, err := tool.Run(ctx, "blkid", "-p", "-o", "export", "--", b.node)
	if err != nil {
		return verdict{}, fmt.Errorf("look at what is on %s: %w", b.node, err)
	}
	probe, err := parseProbe(said)
	if err != nil {
		return verdict{}, volume.Refuse(volume.Foreign, "%s cannot be used for volume %s: %w; wipefs %s shows its signatures", b.node, v.Name, err, b.node)
	}
	sb, err := readSuper(b.node)
	switch {
	case errors.Is(err, superblock.ErrOther) && probe.empty():
		return verdict{block: b, blank: true}, d.mayMake(b, v)
	case errors.Is(err, superblock.ErrOther):
		return verdict{}, volume.Refuse(volume.Foreign, "%s holds %s, not the ext4 file system of volume %s, and nothing was changed; if that can go: wipefs -a %s && dd if=/dev/zero of=%s bs=1M count=1",
			b.node, probe, v.Name, b.node, b.node)
	case err != nil:
		return verdict{}, fmt.Errorf("read %s: %w", b.node, err)
	case probe.Type != "ext4" || !sb.Extents || !sb.Journal:
		return verdict{}, volume.Refuse(volume.Foreign, "%s holds %s, and a volume has ext4 with a journal; nothing was changed", b.node, probe)
	case v.UUID != "" && v.UUID != sb.UUID:
		return verdict{}, volume.Claim{Volume: v}.Judge(nil, sb.UUID)
	case !sb.MMP:
		return verdict{}, volume.Refuse(volume.Misdescribed, "the ext4 file system on %s would not notice a second mount; turn that on while nothing uses it: tune2fs -O mmp -E mmp_update_interval=1 %s", b.node, b.node)
	}
	return verdict{block: b, super: sb}, d.peek(ctx, v, b, sb.Replay)
}

// usable refuses a device with nothing in it, and one that cannot be written.
func usable(node string) error {
	f, err := os.OpenFile(node, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.ENOMEDIUM) || errors.Is(err, unix.ENXIO) {
		return volume.Refuse(volume.Absent, "%s has nothing in it: %w; connect what it shall show", node, err)
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", node, err)
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("look at %s: %w", node, err)
	}
	if end == 0 {
		return volume.Refuse(volume.Absent, "%s has nothing in it; connect what it shall show", node)
	}
	readOnly, err := unix.IoctlGetInt(int(f.Fd()), unix.BLKROGET)
	if err != nil {
		return fmt.Errorf("look at %s: %w", node, err)
	}
	if readOnly != 0 {
		return volume.Refuse(volume.ReadOnly, "%s is read-only; blockdev --setrw %s, if the storage lets this machine write", node, node)
	}
	return nil
}

// mayMake says whether a device without a file system may get one.
func (d *Driver) mayMake(b block, v volume.Volume) error {
	zero, err := isZero(b.node)
	switch {
	case err != nil:
		return fmt.Errorf("read %s: %w", b.node, err)
	case v.UUID != "":
		return volume.Refuse(volume.Foreign, "%s is empty, and volume %s was used before, on the file system %s; bring back the device that held it", b.node, v.Name, v.UUID)
	case !zero:
		return volume.Refuse(volume.Foreign, "%s holds something that no tool knows: it does not begin and end with zeros; if that can go: blkdiscard -z %s", b.node, b.node)
	case !v.Device.Create:
		return volume.Refuse(volume.Foreign, "%s is empty; to have a file system made on it, say create: if-empty at the volume, or make one: mkfs.ext4 -O mmp %s", b.node, b.node)
	}
	return nil
}

const zeroed = 1 << 20

// isZero reads the first and last MiB, where file systems, partition tables and parts of arrays have their signatures.
func isZero(node string) (bool, error) {
	f, err := os.OpenFile(node, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return false, err
	}
	for _, at := range []int64{0, max(0, end-zeroed)} {
		b := make([]byte, min(zeroed, end))
		if _, err := f.ReadAt(b, at); err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		if len(bytes.Trim(b, "\x00")) > 0 {
			return false, nil
		}
	}
	return true, nil
}

// probe is what blkid finds on a device.
type probe struct{ Type, Usage, Table string }

func (p probe) empty() bool { return p == probe{} }

func (p probe) String() string {
	switch {
	case p.Type != "":
		return p.Type
	case p.Table != "":
		return "a partition table (" + p.Table + ")"
	case p.Usage != "":
		return p.Usage + " without a name"
	}
	return "nothing that is known"
}

// parseProbe reads the answer of blkid -p -o export. What it says comes from the device, which may hold anything.
func parseProbe(s tool.Said) (probe, error) {
	switch {
	case s.Code == 2 && strings.TrimSpace(s.Out) == "":
		return probe{}, nil
	case s.Code == 8:
		return probe{}, errors.New("it has the signatures of several file systems")
	case s.Code != 0 || s.Cut:
		return probe{}, fmt.Errorf("blkid cannot tell what it holds (%s)", s.Last())
	}
	var p probe
	for line := range strings.Lines(s.Out) {
		key, value, _ := strings.Cut(strings.TrimRight(line, "\n"), "=")
		to := map[string]*string{"TYPE": &p.Type, "USAGE": &p.Usage, "PTTYPE": &p.Table}[key]
		switch {
		case to == nil:
		case *to != "" || value == "" || len(value) > 64 || tool.Plain(value) != value:
			return probe{}, fmt.Errorf("what blkid says of it makes no sense (%s)", tool.Plain(line))
		default:
			*to = value
		}
	}
	if p.empty() {
		return p, errors.New("blkid finds something on it that has no name")
	}
	return p, nil
}

// peek reads the mark without mounting, so that what is another volume's, or nobody's, is not even touched. What is in the
// journal only is not seen by it: who is let through here is judged again when it is mounted. Where that is yet to be replayed,
// as after a power cut, what is in its place may make no sense, bitmaps that debugfs would read first (-c: it does not) and
// directories: then what cannot be read is no damage.
func (d *Driver) peek(ctx context.Context, v volume.Volume, b block, replay bool) error {
	listed, err := tool.Run(ctx, "debugfs", "-c", "-R", "ls -p /", "--", b.node)
	if err != nil {
		return fmt.Errorf("look at what is on %s: %w", b.node, err)
	}
	names, err := parseListing(listed)
	switch {
	case err != nil && replay:
		return nil
	case err != nil:
		return volume.Refuse(volume.Damaged, "the root directory of %s cannot be read (%w); check it: e2fsck -f %s", b.node, err, b.node)
	}
	marked := false
	var others []string
	for _, n := range names {
		marked = marked || n == volume.MarkName
		if n != "lost+found" && n != volume.DataName && n != volume.MarkName+".new" {
			others = append(others, n)
		}
	}
	if !marked {
		if len(others) > 0 {
			return mounted.Unmarked(b.node, v.Name, others[:min(len(others), 8)])
		}
		return nil
	}
	said, err := tool.Run(ctx, "debugfs", "-c", "-R", "cat /"+volume.MarkName, "--", b.node)
	if err != nil {
		return fmt.Errorf("look at what is on %s: %w", b.node, err)
	}
	if said.Out == "" {
		return nil // it was not written back yet
	}
	m, err := volume.ParseMark([]byte(said.Out))
	switch unread := err != nil || said.Cut; {
	case unread && replay:
		return nil
	case unread:
		return volume.Refuse(volume.Damaged, "the mark of the volume on %s (%s) cannot be read, so whose data it is is not known: %w; look at it, and write {\"volume\": %q} into it if it is that one", b.node, volume.MarkName, err, v.Name)
	}
	// A token may have been written since: what is said of it here is only what was.
	return volume.Claim{Volume: v, Token: m.Token}.Judge(&m, "")
}

// parseListing reads debugfs's `ls -p`: /INODE/MODE/UID/GID/NAME/SIZE/ in each line.
func parseListing(s tool.Said) ([]string, error) {
	if s.Cut {
		return nil, errors.New("there is too much in it")
	}
	var names []string
	for line := range strings.Lines(s.Out) {
		line = strings.TrimRight(line, "\n")
		if line == "" {
			continue
		}
		parts := strings.Split(line, "/")
		if len(parts) < 8 || parts[0] != "" {
			return nil, errors.New(s.Last())
		}
		if name := parts[5]; name != "." && name != ".." {
			names = append(names, name)
		}
	}
	if len(s.Out) == 0 {
		return nil, errors.New(s.First())
	}
	return names, nil
}
