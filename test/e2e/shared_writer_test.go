//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/argosy-cluster/argosy/internal/agent/volume/volumetest"
	"github.com/argosy-cluster/argosy/internal/image/testimage"
	"github.com/argosy-cluster/argosy/test/ledger"
)

var oneWriterFor = flag.Duration("onewriter", 0, "how long TestOneWriter breaks things; 0 leaves it out")

const writerImage = "argosy-test/ledger:1"

// TestOneWriter: a replica writes to a disk that all machines see while its machine is broken in every way that it is to survive.
// Judged is what it wrote, and what the disk saw: never two at a time, and nothing lost that was told as written. A machine
// that is paused as a whole is left out, as its clocks are only those of its host here.
func TestOneWriter(t *testing.T) {
	if *oneWriterFor == 0 {
		t.Skip("it breaks machines for as long as it is told to: make faults MINUTES=n")
	}
	seed := *robustSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("again with: make faults MINUTES=%.0f SEED=%d", oneWriterFor.Minutes(), seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	one := startWriter(t)
	faults := one.disk.faults()
	for i, f := range faults {
		faults[i] = one.survivable(f)
	}
	made := map[string]int{}
	var longest time.Duration
	for begun := time.Now(); time.Since(begun) < *oneWriterFor && !t.Failed(); {
		list, err := ready("one/w", 1)
		if err != nil {
			t.Fatal(err)
		}
		holder := list[0].GetMachineName()
		f := faults[rng.IntN(len(faults))]
		made[f.name]++
		t.Logf("%s %s: %s", time.Now().Format("15:04:05"), holder, f.name)
		if err := f.do(t.Context(), holder); err != nil {
			t.Fatalf("%s of %s: %v", f.name, holder, err)
		}
		time.Sleep(brief + time.Duration(rng.Int64N(int64(longer))))
		if err := f.undo(t.Context(), holder); err != nil {
			t.Fatalf("mending %s of %s: %v", f.name, holder, err)
		}
		took, err := await(robustPatience, one.writes)
		if err != nil {
			t.Fatalf("%s after %s was mended: %v", took, f.name, err)
		}
		longest = max(longest, took)
	}
	line := fmt.Sprintf("%s, seed %d: %s; writing again %s after it was mended at most; faults: %s",
		oneWriterFor, seed, one.judge(t), longest.Round(100*time.Millisecond), counted(made))
	t.Log(line)
	if *robustOut != "" {
		if err := appendLine(*robustOut, time.Now().Format("2006-01-02 15:04")+"  "+line); err != nil {
			t.Error(err)
		}
	}
}

// oneWriter is an app of one replica that writes to a disk which all machines see, and who hears what it wrote.
type oneWriter struct {
	disk *shared
	ears *observer
}

func startWriter(t *testing.T) *oneWriter {
	t.Helper()
	return startWriterOn(t, newShared(t, "proof-one"), "device: LABEL=proof-one", "")
}

// startWriterOn has it on a disk, with what the manifest says of that and of where it may run.
func startWriterOn(t *testing.T, disk *shared, volume, placement string) *oneWriter {
	t.Helper()
	loadWriter(t)
	one := &oneWriter{disk: disk, ears: listen(t)}
	argosy(t, "apply", "--wait", "--timeout", "180s", manifest(t, fmt.Sprintf(`argosy: v1
app: one
containers:
  writer: {image: %s, command: [-observer, "%s"], volumes: ["data:/data"], cpus: 0.1, mem_limit: 64m, stop_grace_period: 2s}
stacks:
  w:
    containers: [writer]
    volumes:
      data: {driver: device, filesystem: ext4, %s}
    placement: {%s}
cluster: {w: 1}
`, writerImage, one.ears.address, volume, placement)))
	t.Cleanup(func() {
		mend(context.Background())
		if r := w.run(nil, "delete", "one", "--volumes", "--yes", "--wait", "--timeout", "120s"); r.code != 0 {
			t.Errorf("cleaning up: %s", r)
		}
	})
	return one
}

// writes is nil when the replica is said to be ready, and writes.
func (one *oneWriter) writes() error {
	before := one.ears.count()
	if _, err := ready("one/w", 1); err != nil {
		return fmt.Errorf("%w\n%s", err, w.run(nil, "explain", "one/w.1").out)
	}
	time.Sleep(200 * time.Millisecond)
	if one.ears.count() == before {
		return errors.New("one/w.1 is said to be ready, and writes nothing")
	}
	return nil
}

// judge ends the replica, says what it did, and what was wrong with it.
func (one *oneWriter) judge(t *testing.T) string {
	t.Helper()
	argosy(t, "scale", "--wait", "--timeout", "120s", "one/w=0")
	records := readLedger(t, one.disk.image)
	if out, err := exec.Command("e2fsck", "-fn", one.disk.image).CombinedOutput(); err != nil {
		t.Errorf("the file system is not whole: %v: %s", err, out)
	}
	told := one.ears.records()
	var plain []ledger.Record
	for _, r := range told {
		plain = append(plain, r.Record)
	}
	for _, fault := range ledger.Judge(records, plain) {
		t.Error(fault)
	}
	if err := ledger.Linearizable(records, told, time.Minute); err != nil {
		t.Error(err)
	}
	if len(records) < 100 || one.ears.count() < 100 {
		t.Error("too little was written to judge by")
	}
	return fmt.Sprintf("%d records, %d told as written, %d turns of the disk", len(records), one.ears.count(), len(one.disk.Turns()))
}

// survivable is a fault as the writer can be judged after it. A machine that is killed loses what is on its way to the disk,
// as in a power cut. One that writes is not paused as a whole: its clocks are only those of its host here, and what its kernel
// has not written yet is.
func (one *oneWriter) survivable(f fault) fault {
	switch f.name {
	case "machine killed":
		cut := one.disk.powerCut(one.ears)
		f.do, f.undo = cut.do, cut.undo
	case "machine paused":
		f.do = func(ctx context.Context, machine string) error {
			turns := one.disk.Turns()
			if len(turns) == 0 || turns[len(turns)-1].View == machine {
				return errors.New("it is the one that writes")
			}
			return w.local.Pause(ctx, machine)
		}
	}
	return f
}

// faults are those that a single writer has to survive.
func (s *shared) faults() []fault {
	named := []string{"server killed", "server stopped", "agent killed", "agent stopped", "Engine killed", "Engine hung", "containerd killed",
		"cut off", "hears nothing", "is not heard", "cut off from one other", "loses packets", "Argosy's disk full", "disk slow", "machine killed"}
	out := slices.DeleteFunc(robustFaults(), func(f fault) bool { return !slices.Contains(named, f.name) })
	return append(out, claimFaults()...)
}

// claimFaults are those of what grants and holds leases.
func claimFaults() []fault {
	return []fault{
		{name: "guard killed", of: "guard", do: signal("argosy-guard", "KILL"), undo: nothing},
		{name: "witness killed", of: "witness", do: signal("argosy-witness", "KILL"), undo: nothing},
	}
}

// powerCut takes a machine's disk, and then the machine, while nobody listens: power ends all at once.
func (s *shared) powerCut(ears *observer) fault {
	off := func(ctx context.Context, machine string) error {
		ears.deafen(true)
		defer ears.deafen(false)
		s.views[machine].Cut()
		return w.local.Kill(ctx, machine)
	}
	on := func(ctx context.Context, machine string) error {
		s.views[machine].Mend()
		if err := start(ctx, machine); err != nil {
			return err
		}
		return w.local.ShowDevice(ctx, machine, s.nodes[machine])
	}
	return fault{do: off, undo: on}
}

// loadWriter gives the cluster the image of the writer.
func loadWriter(t *testing.T) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "writer")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", path, "./test/ledger/writer")
	build.Dir, build.Env = w.root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var image bytes.Buffer
	spec := testimage.Spec{Ref: writerImage, Layers: [][]testimage.File{{{Path: "writer", Mode: 0o755, Data: program}}}, Entrypoint: []string{"/writer"}}
	if err := testimage.Archive(&image, spec); err != nil {
		t.Fatal(err)
	}
	load := exec.CommandContext(t.Context(), "docker", "load")
	load.Stdin = &image
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	argosy(t, "image", "load", writerImage)
}

// observer keeps what it is told as written.
type observer struct {
	address string
	mu      sync.Mutex
	deaf    bool
	told    []ledger.Told
}

// bridge is the host's address in the cluster's network, with a port that is free.
func bridge() string {
	m := w.cluster.Machines[0].Address.As4()
	m[3] = 1
	return net.JoinHostPort(net.IP(m[:]).String(), "0")
}

// listen hears what containers of the cluster say, at the host's address in its network.
func listen(t *testing.T) *observer {
	t.Helper()
	c, err := net.ListenPacket("udp4", bridge())
	if err != nil {
		t.Fatal(err)
	}
	o := &observer{address: c.LocalAddr().String()}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b := make([]byte, 2*ledger.Size)
		for {
			n, _, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			var now unix.Timespec
			if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
				return
			}
			if r, err := ledger.Parse(b[:n]); err == nil {
				o.hear(ledger.Told{Record: r, Heard: time.Duration(now.Nano())})
			}
		}
	}()
	t.Cleanup(func() {
		_ = c.Close()
		<-ended
	})
	return o
}

func (o *observer) hear(r ledger.Told) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.deaf {
		o.told = append(o.told, r)
	}
}

func (o *observer) deafen(yes bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.deaf = yes
}

func (o *observer) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.told)
}

func (o *observer) records() []ledger.Told {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.told)
}

// readLedger reads what is on the disk, once nobody has it any more.
func readLedger(t *testing.T, image string) []ledger.Record {
	t.Helper()
	dir := t.TempDir()
	volumetest.Run1(t, "mount", "-o", "loop,ro", image, dir)
	defer volumetest.Run1(t, "umount", dir)
	f, err := os.Open(filepath.Join(dir, "data", "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	records, err := ledger.Read(f)
	if err != nil {
		t.Error(err)
	}
	return records
}
