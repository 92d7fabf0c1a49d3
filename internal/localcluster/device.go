package localcluster

import (
	"context"
	"fmt"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// loopDevices lets machines open loop devices, the major number of which is 7. They see those that ShowDevice gave them nodes for.
const loopDevices = "b 7:* rwm"

// ShowDevice gives a machine a loop device of the host, under its name there. It lasts until the machine ends, as a disk that is
// plugged in by hand would.
func (l *Local) ShowDevice(ctx context.Context, machine, node string) error {
	var st unix.Stat_t
	if err := unix.Stat(node, &st); err != nil {
		return fmt.Errorf("show device %s to machine %s: %w", node, machine, err)
	}
	if major := unix.Major(st.Rdev); st.Mode&unix.S_IFMT != unix.S_IFBLK || major != 7 || !strings.HasPrefix(path.Base(node), "loop") {
		return fmt.Errorf("show device %s to machine %s: it is no loop device", node, machine)
	}
	minor := strconv.FormatUint(uint64(unix.Minor(st.Rdev)), 10)
	_, err := l.Exec(ctx, machine, "sh", "-c", `[ -b "$1" ] || mknod -m 600 "$1" b 7 "$2"`, "sh", node, minor)
	return err
}

// HideDevice takes the node away again.
func (l *Local) HideDevice(ctx context.Context, machine, node string) error {
	_, err := l.Exec(ctx, machine, "rm", "-f", node)
	return err
}
