package device

import (
	"context"
	"fmt"

	"github.com/argosy-cluster/argosy/internal/agent/volume"
	"github.com/argosy-cluster/argosy/internal/agent/volume/mounted"
	"github.com/argosy-cluster/argosy/internal/agent/volume/tool"
)

// makeFileSystem makes an ext4 file system with mmp on a device that was found empty. Its holder says every second that it
// lives: after a power cut the next mount then waits 22 s instead of 44.
func makeFileSystem(ctx context.Context, node string) error {
	if empty, err := isZero(node); err != nil || !empty {
		return volume.Refuse(volume.Foreign, "%s is not empty any more; nothing was changed", node)
	}
	uuid, err := mounted.NewUUID()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, makeTime)
	defer cancel()
	said, err := tool.Run(ctx, "mke2fs", "-q", "-t", "ext4", "-O", "mmp", "-E", "mmp_update_interval=1", "-m", "0", "-U", uuid, "--", node)
	if err != nil {
		return fmt.Errorf("make a file system on %s: %w", node, err)
	}
	if said.Code != 0 {
		return volume.Refuse(volume.Damaged, "no file system can be made on %s (%s); look at the device: dmesg", node, said.Last())
	}
	return nil
}

// repair lets e2fsck do what it does without asking.
func repair(ctx context.Context, node string) error {
	ctx, cancel := context.WithTimeout(ctx, repairTime)
	defer cancel()
	said, err := tool.Run(ctx, "e2fsck", "-p", "--", node)
	if err != nil {
		return fmt.Errorf("repair %s: %w", node, err)
	}
	switch said.Code {
	case 0, 1: // nothing was wrong, or nothing is any more
	default:
		return volume.Refuse(volume.Damaged, "the file system on %s is damaged beyond what is repaired unasked (e2fsck -p ended with %d: %s); nothing starts on it: make a copy of the device, then repair it by hand: e2fsck -f %s",
			node, said.Code, tool.Said{Code: said.Code, Out: said.Out}.Last(), node)
	}
	sb, err := readSuper(node)
	if err != nil {
		return fmt.Errorf("read %s after its repair: %w", node, err)
	}
	if sb.NeedsRepair() {
		return volume.Refuse(volume.Damaged, "the file system on %s says that it is damaged, even after e2fsck -p; make a copy of the device, then repair it by hand: e2fsck -f %s", node, node)
	}
	return nil
}
