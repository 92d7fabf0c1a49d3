package localcluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/moby/moby/client"
)

// Kill ends a machine at once and with everything in it, as a power failure
// does; only what the kernel had not yet written to disk is not lost.
func (l *Local) Kill(ctx context.Context, machine string) error {
	if _, err := l.docker.ContainerKill(ctx, l.containerName(machine), client.ContainerKillOptions{Signal: "SIGKILL"}); err != nil {
		return fmt.Errorf("kill machine %s: %w", machine, err)
	}
	return nil
}

// Start boots a machine that was killed or stopped and waits until it has.
func (l *Local) Start(ctx context.Context, machine string) error {
	if _, err := l.docker.ContainerStart(ctx, l.containerName(machine), client.ContainerStartOptions{}); err != nil {
		return fmt.Errorf("start machine %s: %w", machine, err)
	}
	return l.waitBoot(ctx, machine)
}

// Loss says which packets of a machine its network loses.
type Loss struct {
	In, Out bool
	// Percent of them, at random; 0 means all.
	Percent int
	// Peer is whom they come from or go to; the zero Addr means everybody.
	Peer netip.Addr
}

// lossTable is the machine's table of packets that are lost.
const lossTable = "localcluster_cut"

// rules are those of nft that lose the packets. What a machine does inside goes on.
func (s Loss) rules() string {
	line := func(hook string, priority int, device, end string) string {
		match := []string{device, `"eth0"`}
		if s.Peer.IsValid() {
			match = append(match, "ip", end, s.Peer.String())
		}
		if s.Percent > 0 {
			match = append(match, fmt.Sprintf("numgen random mod 100 < %d", s.Percent))
		}
		return fmt.Sprintf("\tchain %s { type filter hook %s priority %d; %s drop; }\n", hook, hook, priority, strings.Join(match, " "))
	}
	text := "table inet " + lossTable + " {\n"
	if s.In {
		text += line("prerouting", -400, "iifname", "saddr")
	}
	if s.Out {
		text += line("postrouting", 400, "oifname", "daddr")
	}
	return text + "}"
}

// Lose loses packets of a machine, in place of those that it lost before.
func (l *Local) Lose(ctx context.Context, machine string, loss Loss) error {
	if err := l.Heal(ctx, machine); err != nil {
		return err
	}
	_, err := l.Exec(ctx, machine, "nft", loss.rules())
	return err
}

// Cut takes a machine off the network without stopping anything on it. Cutting
// it again changes nothing.
func (l *Local) Cut(ctx context.Context, machine string) error {
	return l.Lose(ctx, machine, Loss{In: true, Out: true})
}

// Heal undoes Lose and Cut.
func (l *Local) Heal(ctx context.Context, machine string) error {
	_, err := l.Exec(ctx, machine, "sh", "-c", "! nft list table inet "+lossTable+" >/dev/null 2>&1 || nft delete table inet "+lossTable)
	return err
}

// full is what fills a directory's file system.
const full = "/localcluster-full"

// Fill leaves no room at all on the file system of a machine's directory. It
// refuses where that is not a disk of the machine's own: see Options.Disk.
func (l *Local) Fill(ctx context.Context, machine, dir string) error {
	if l.opts.Disk <= 0 {
		return errors.New("the machines have no disks of their own, so filling one would fill the host's")
	}
	// A machine that was made without has the host's disk there, which is larger. Else the large part at once, and then what is
	// left, to the last block.
	_, err := l.Exec(ctx, machine, "sh", "-c", `size=$(($(stat -f -c '%b * %S' "$1")))
		if test $size -gt "$3"; then
			echo "$1 has $size bytes, so it is no disk of $3 bytes of this machine's own" >&2
			exit 1
		fi
		fallocate -l $(($(stat -f -c '%a * %S' "$1") - (16 << 20))) "$1$2"
		dd if=/dev/zero bs=4k of="$1$2.rest" 2>/dev/null
		test "$(stat -f -c %a "$1")" -lt 16`, "sh", dir, full, strconv.FormatInt(l.opts.Disk, 10))
	return err
}

// Empty undoes Fill.
func (l *Local) Empty(ctx context.Context, machine, dir string) error {
	_, err := l.Exec(ctx, machine, "rm", "-f", dir+full, dir+full+".rest")
	return err
}
