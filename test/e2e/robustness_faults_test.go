//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/argosy-cluster/argosy/internal/localcluster"
)

// fault is something bad that can be undone.
type fault struct {
	name     string
	do, undo func(ctx context.Context, machine string) error
	of       string // the process that it is about; of one machine's, one thing happens to it at a time
	blind    bool   // nobody sees the machine meanwhile
	server   bool   // the machine's server is away or lame meanwhile
	whole    bool   // nothing else can be broken on the machine meanwhile
	network  bool   // it changes what the machine's network loses
}

// How long faults last.
const (
	brief  = 2 * time.Second
	spread = 8 * time.Second
	// longer is added to faults that nobody can see through, so that what they hide has to be unknown, and there is time to ask.
	longer = unknownAfter + 6*time.Second
	// sighted is how many times something is broken before one of them at least hides a machine for so long.
	sighted = 3
)

func signal(unit, sig string) func(context.Context, string) error {
	return shell("systemctl kill --signal " + sig + " " + unit + ".service")
}

func shell(text string) func(context.Context, string) error {
	return func(ctx context.Context, machine string) error {
		_, err := w.local.Exec(ctx, machine, "sh", "-c", text)
		return err
	}
}

func lose(loss localcluster.Loss) func(context.Context, string) error {
	return func(ctx context.Context, machine string) error { return w.local.Lose(ctx, machine, loss) }
}

// start starts a machine, however long a busy host takes for it.
func start(ctx context.Context, machine string) (err error) {
	for range 5 {
		if err = w.local.Start(ctx, machine); err == nil {
			return nil
		}
	}
	return err
}

func nothing(context.Context, string) error { return nil }

// apart cuts a machine off from the next one only.
func apart(ctx context.Context, machine string) error {
	var peer netip.Addr
	for i, m := range w.cluster.Machines {
		if m.Name == machine {
			peer = w.cluster.Machines[(i+1)%len(w.cluster.Machines)].Address
		}
	}
	return w.local.Lose(ctx, machine, localcluster.Loss{In: true, Out: true, Peer: peer})
}

func fill(dir string) (do, undo func(context.Context, string) error) {
	return func(ctx context.Context, machine string) error { return w.local.Fill(ctx, machine, dir) },
		func(ctx context.Context, machine string) error { return w.local.Empty(ctx, machine, dir) }
}

// throttle has the kernel let server and agent write so many times a second to the disk that they keep their data on; 0 is
// as often as they like. What waits for the disk then waits in the kernel, as it does on a disk that is slow.
func throttle(perSecond int) func(context.Context, string) error {
	return shell(fmt.Sprintf(`n=%d
		dev=$(stat -c %%Hd:%%Ld /var/lib/argosy)
		for unit in argosy-server argosy-agent; do
			pid=$(systemctl show --property MainPID --value $unit.service)
			test "$pid" -gt 0 || continue
			path=$(sed -n 's/^[0-9]*:blkio://p' /proc/$pid/cgroup)
			if test -n "$path"; then
				echo "$dev $n" >/sys/fs/cgroup/blkio$path/blkio.throttle.write_iops_device
				continue
			fi
			path=$(sed -n 's/^0:://p' /proc/$pid/cgroup)
			test $n -gt 0 || n=max
			echo "$dev wiops=$n" >/sys/fs/cgroup$path/io.max
		done`, perSecond))
}

// The network's lossy and slow faults. The kernel's netem is not everywhere; a filter that drops at random is, and a queue
// that is emptied slowly delays what waits in it by up to its latency.
var (
	lossy = localcluster.Loss{In: true, Out: true, Percent: 30}
	slow  = shell("tc qdisc replace dev eth0 root tbf rate 400kbit burst 16kb latency 2s")
	swift = shell("tc qdisc del dev eth0 root 2>/dev/null; true")
)

func robustFaults() []fault {
	fillOurs, emptyOurs := fill("/var/lib/argosy")
	fillEngine, emptyEngine := fill("/var/lib/docker")
	heal := w.local.Heal
	return []fault{
		{name: "server killed", of: "server", do: signal("argosy-server", "KILL"), undo: nothing, server: true},
		{name: "server stopped", of: "server", do: signal("argosy-server", "STOP"), undo: signal("argosy-server", "CONT"), server: true},
		{name: "agent killed", of: "agent", do: signal("argosy-agent", "KILL"), undo: nothing},
		{name: "agent stopped", of: "agent", do: signal("argosy-agent", "STOP"), undo: signal("argosy-agent", "CONT"), blind: true},
		{name: "Engine killed", of: "Engine", do: signal("docker", "KILL"), undo: nothing},
		{name: "Engine hung", of: "Engine", do: signal("docker", "STOP"), undo: signal("docker", "CONT"), blind: true},
		{name: "containerd killed", of: "containerd", do: shell("systemctl kill --kill-whom main --signal KILL containerd.service"), undo: nothing},
		{name: "containerd and shims killed", of: "containerd", do: signal("containerd", "KILL"), undo: nothing},
		{name: "containerd hung", of: "containerd", do: signal("containerd", "STOP"), undo: signal("containerd", "CONT")},
		{name: "cut off", do: w.local.Cut, undo: heal, blind: true, server: true, network: true},
		{name: "hears nothing", do: lose(localcluster.Loss{In: true}), undo: heal, blind: true, server: true, network: true},
		{name: "is not heard", do: lose(localcluster.Loss{Out: true}), undo: heal, blind: true, server: true, network: true},
		{name: "cut off from one other", do: apart, undo: heal, server: true, network: true},
		{name: "loses packets", do: lose(lossy), undo: heal, server: true, network: true},
		{name: "network slow", do: slow, undo: swift, server: true, network: true},
		{name: "Argosy's disk full", do: fillOurs, undo: emptyOurs, server: true},
		{name: "Engine's disk full", do: fillEngine, undo: emptyEngine},
		{name: "disk slow", do: throttle(slowDisk), undo: throttle(0), server: true},
		{name: "machine killed", do: w.local.Kill, undo: start, blind: true, server: true, whole: true},
		{name: "machine paused", do: w.local.Pause, undo: w.local.Resume, blind: true, server: true, whole: true},
	}
}

// robustDisk is the size of each of a machine's disks: room for all that the tests put there.
const robustDisk = 6 << 30

// slowDisk is how many writes a second a slow disk takes. A commit of the store is two or three.
const slowDisk = 10

// broken is a fault on a machine.
type broken struct {
	fault
	machine string
	lasts   time.Duration
}

func (b broken) String() string { return b.machine + " " + b.name }

// choose picks one fault or two. Of the servers two are always well, so that clients get answers.
func (r *robust) choose() []broken {
	first, second := r.pick(r.kinds), r.pick(r.kinds)
	if r.sight++; r.sight >= sighted && len(r.blinding) > 0 {
		if first = r.pick(r.blinding); first.lasts < longer {
			first.lasts += longer
		}
	}
	if first.server && second.server {
		second.machine = first.machine
	}
	picks := []broken{first, second}
	if r.rng.IntN(3) == 0 || first.excludes(second) {
		picks = picks[:1]
	}
	if slices.ContainsFunc(picks, func(b broken) bool { return b.blind && b.lasts > longer }) {
		r.sight = 0
	}
	return picks
}

func (r *robust) pick(kinds []fault) broken {
	b := broken{fault: kinds[r.rng.IntN(len(kinds))], machine: w.cluster.Machines[r.rng.IntN(3)].Name}
	b.lasts = brief + time.Duration(r.rng.Int64N(int64(spread)))
	if b.blind && r.rng.IntN(3) == 0 {
		b.lasts += longer
	}
	return b
}

// excludes says that two faults cannot be side by side.
func (b broken) excludes(other broken) bool {
	return b.name == other.name || b.machine == other.machine && (b.whole || other.whole || b.network && other.network || b.of != "" && b.of == other.of)
}

// breakSomething makes one fault or two, side by side, and undoes them.
func (r *robust) breakSomething(ctx context.Context) {
	picks := r.choose()
	begun := make([]time.Time, len(picks))
	for i, b := range picks {
		if err := b.do(ctx, b.machine); err != nil {
			r.t.Logf("%s: %v", b, err) // what the other fault left may not be there to be broken
			continue
		}
		begun[i] = time.Now()
		r.pause(ctx, b.lasts)
	}
	var said []string
	for i, b := range slices.Backward(picks) {
		end := time.Now()
		err := b.undo(context.WithoutCancel(ctx), b.machine)
		if begun[i].IsZero() {
			continue // there may be nothing to undo
		}
		if err != nil {
			r.t.Errorf("%s cannot be undone: %v", b, err)
		}
		said = append(said, fmt.Sprintf("%s for %.1f s", b, end.Sub(begun[i]).Seconds()))
		if b.blind {
			r.blind = append(r.blind, blindness{b.machine, begun[i], end})
		}
		r.faults[b.name]++
	}
	r.t.Logf("%s %s", time.Now().Format("15:04:05"), strings.Join(said, " and "))
	r.pause(ctx, time.Second+time.Duration(r.rng.Int64N(int64(5*time.Second))))
}

func (r *robust) pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// mend leaves nothing broken, whatever was.
func mend(ctx context.Context) {
	for _, m := range w.cluster.Machines {
		_ = w.local.Resume(ctx, m.Name) // it may run
		_ = start(ctx, m.Name)
		for _, f := range robustFaults() {
			if !f.whole {
				_ = f.undo(ctx, m.Name)
			}
		}
	}
}
