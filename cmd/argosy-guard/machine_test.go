package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	"github.com/argosy-cluster/argosy/internal/agent/volume"
	"github.com/argosy-cluster/argosy/internal/agent/volume/device"
	"github.com/argosy-cluster/argosy/internal/agent/volume/volumetest"
	"github.com/argosy-cluster/argosy/internal/freeport"
	"github.com/argosy-cluster/argosy/internal/guard/slice"
	"github.com/argosy-cluster/argosy/internal/lease"
)

// town is three argosy-witness, an argosy-guard, a volume on a device, and this machine's Engine.
type town struct {
	*testing.T
	dir       string
	name      string
	claim     string
	node      string
	image     string
	servers   *leasev1.LeaseServers
	witnesses []*exec.Cmd
	guard     *exec.Cmd
	conn      net.Conn
	log       *lines
	machines  *leasev1.Machines

	mu    sync.Mutex
	state *leasev1.GuardState
	last  map[uint64]*leasev1.ClaimState
}

// lines is what a process says, kept for when a test fails.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func newTown(t *testing.T) *town {
	volumetest.Root(t)
	if out, err := exec.Command("docker", "info", "--format", "{{.CgroupDriver}}").CombinedOutput(); err != nil {
		t.Skipf("needs a Docker Engine: %s", out)
	}
	w := &town{T: t, dir: volumetest.Base(t), name: strings.ToLower("argosy-guard-test-" + rand.Text()[:8]), log: &lines{}, last: map[uint64]*leasev1.ClaimState{}}
	w.claim = "default/" + w.name + "/db.1/data"
	w.node = volumetest.Loop(t, volumetest.Image(t, 32), false)
	volumetest.Format(t, w.node)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(w.log.buf.String())
		}
	})
	w.makeImage()
	w.startWitnesses()
	w.startGuard()
	t.Cleanup(w.end)
	return w
}

func (w *town) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *town) docker(args ...string) (string, error) {
	out, err := exec.Command("docker", args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// makeImage makes an image of this very test, as an executable that needs nothing.
func (w *town) makeImage() {
	bin := filepath.Join(w.dir, "writer")
	build := exec.Command("go", "test", "-c", "-o", bin, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		w.Fatal(err, string(out))
	}
	self, err := os.ReadFile(bin)
	w.ok(err)
	var b bytes.Buffer
	a := tar.NewWriter(&b)
	w.ok(a.WriteHeader(&tar.Header{Name: "writer", Mode: 0o755, Size: int64(len(self)), Typeflag: tar.TypeReg}))
	_, err = a.Write(self)
	w.ok(err)
	w.ok(a.Close())
	w.image = w.name + ":1"
	cmd := exec.Command("docker", "import", "--change", `ENTRYPOINT ["/writer"]`, "--change", "ENV BE=writer", "-", w.image)
	cmd.Stdin = &b
	if out, err := cmd.CombinedOutput(); err != nil {
		w.Fatal(err, string(out))
	}
	w.Cleanup(func() {
		list, _ := w.docker("ps", "-aq", "--filter", "ancestor="+w.image)
		for _, id := range strings.Fields(list) {
			if out, err := w.docker("rm", "-f", id); err != nil {
				w.Error(out)
			}
		}
		if out, err := w.docker("rmi", w.image); err != nil {
			w.Error(out)
		}
	})
}

func (w *town) startWitnesses() {
	bin := filepath.Join(w.dir, "argosy-witness")
	if out, err := exec.Command("go", "build", "-o", bin, "../argosy-witness").CombinedOutput(); err != nil {
		w.Fatal(err, string(out))
	}
	w.servers = &leasev1.LeaseServers{Profile: "fast", Config: &leasev1.Config{Epoch: &leasev1.Stamp{Generation: 1, Revision: 1}}}
	for i := range 3 {
		address, err := freeport.Address()
		w.ok(err)
		w.servers.Servers = append(w.servers.Servers, &leasev1.LeaseServer{Id: fmt.Sprint("s", i+1), Address: address})
		w.servers.Config.Members = append(w.servers.Config.Members, fmt.Sprint("s", i+1))
		w.witnesses = append(w.witnesses, nil)
		w.witness(i, bin)
	}
}

func (w *town) socket(i int) string { return filepath.Join(w.dir, fmt.Sprint("w", i)) }

// witness starts the i-th.
func (w *town) witness(i int, bin string) {
	s := w.servers.Servers[i]
	cmd := exec.Command(bin, "--server-id", s.Id, "--dir", filepath.Join(w.dir, s.Id), "--listen", s.Address, "--socket", w.socket(i), "--timing", "fast")
	cmd.Stderr = w.log
	w.ok(cmd.Start())
	w.witnesses[i] = cmd
	w.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
}

// tell tells the witnesses of the guard, and learns their keys.
func (w *town) tell() {
	for i := range w.witnesses {
		var c net.Conn
		w.until("a witness", func() (err error) { c, err = net.Dial("unix", w.socket(i)); return err })
		for _, o := range []*leasev1.Order{{Order: &leasev1.Order_Machines{Machines: w.machines}}, {Order: &leasev1.Order_Configure{Configure: w.servers.Config}}} {
			rep := &leasev1.Report{}
			w.ok(lease.Write(c, o))
			w.ok(lease.Read(c, rep))
			if rep.Refused != "" {
				w.Fatal(rep.Refused)
			}
			w.servers.Servers[i].Key = rep.Key
		}
		w.ok(c.Close())
	}
}

func (w *town) until(what string, f func() error) {
	w.Helper()
	for limit := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(limit) {
			w.Fatalf("waiting for %s: %v", what, err)
		}
	}
}

func (w *town) startGuard() {
	w.guard = exec.Command(os.Args[0], "--dir", filepath.Join(w.dir, "key"), "--state", filepath.Join(w.dir, "state"), "--watchdog", "off", "--slices", w.family(), "--reset", w.resetter())
	w.guard.Env = append(os.Environ(), "BE=argosy-guard")
	w.guard.Stderr = w.log
	w.ok(w.guard.Start())
	w.connect()
}

func (w *town) family() string { return fmt.Sprintf("argosytest-g%d", os.Getpid()) }

// resetter is what is run instead of a reset: it only says that it was.
func (w *town) resetter() string {
	path := filepath.Join(w.dir, "resetter")
	w.ok(os.WriteFile(path, []byte("#!/bin/sh\necho \"$1\" >\"$0.ran\"\n"), 0o700))
	return path
}

func (w *town) connect() {
	w.until("the guard", func() (err error) {
		w.conn, err = net.Dial("unix", filepath.Join(w.dir, "state", "guard.sock"))
		return err
	})
	w.mu.Lock()
	w.state, w.last = nil, map[uint64]*leasev1.ClaimState{}
	w.mu.Unlock()
	conn := w.conn
	go func() {
		for {
			r := &leasev1.GuardReport{}
			if lease.Read(conn, r) != nil {
				return
			}
			w.mu.Lock()
			if g := r.GetGuard(); g != nil {
				w.state = g
			}
			if c := r.GetClaim(); c != nil {
				w.last[c.GetToken().GetRevision()] = c
			}
			w.mu.Unlock()
		}
	}()
	w.until("the guard to say who it is", func() error {
		if w.guardState() == nil {
			return fmt.Errorf("nothing was said")
		}
		return nil
	})
}

func (w *town) guardState() *leasev1.GuardState {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state
}

func (w *town) claimState(n uint64) *leasev1.ClaimState {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last[n]
}

func (w *town) order(o *leasev1.GuardOrder) {
	w.Helper()
	w.ok(lease.Write(w.conn, o))
}

// kill kills the guard, as nothing else would.
func (w *town) kill() {
	w.ok(w.guard.Process.Kill())
	_ = w.guard.Wait()
	_ = w.conn.Close()
}

// end gives back what is held, so that nothing is left on this machine.
func (w *town) end() {
	_ = w.conn.Close()
	_ = w.guard.Process.Kill()
	_ = w.guard.Wait()
	groups, err := slice.Find(w.family())
	w.ok(err)
	left, err := groups.List()
	w.ok(err)
	for _, name := range left {
		if err := groups.Kill(context.Background(), name); err != nil {
			w.Error(err)
		}
		if err := groups.Remove(name); err != nil {
			w.Error(err)
		}
	}
	for _, at := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		dirs, err := filepath.Glob(at + "argosytest.slice/" + w.family() + ".slice")
		w.ok(err)
		for _, dir := range dirs {
			w.ok(os.Remove(dir))
		}
	}
}

// wants gives the servers and the want until the claim is in a phase, as an agent does that asks again.
func (w *town) wants(n uint64, phase leasev1.Phase) *leasev1.ClaimState {
	w.Helper()
	w.until(fmt.Sprint("token ", n, " to be ", phase), func() error {
		if s := w.claimState(n); s.GetPhase() == phase {
			return nil
		}
		o := &leasev1.GuardOrder{Order: &leasev1.GuardOrder_Want{Want: &leasev1.Want{Claim: w.claim, Token: &leasev1.Stamp{Generation: 1, Revision: n},
			Where: &leasev1.Want_Device{Device: &leasev1.Device{Source: w.node}}}}}
		err := lease.Write(w.conn, &leasev1.GuardOrder{Order: &leasev1.GuardOrder_Servers{Servers: w.servers}})
		if err == nil {
			err = lease.Write(w.conn, o)
		}
		if err != nil { // another timing: it began anew
			_ = w.conn.Close()
			w.connect()
		}
		time.Sleep(50 * time.Millisecond)
		return fmt.Errorf("it is %v", w.claimState(n))
	})
	return w.claimState(n)
}

func (w *town) create(s *leasev1.ClaimState) string {
	w.Helper()
	driver, err := w.docker("info", "--format", "{{.CgroupDriver}}")
	w.ok(err)
	parent := s.Group
	if driver == "systemd" {
		parent = s.Slice
	}
	id, err := w.docker("create", "--network", "none", "--cgroup-parent", parent, "--mount", "type=bind,source="+s.Path+",target=/data", w.image)
	if err != nil {
		w.Fatal(id)
	}
	return id
}

func (w *town) inspect(id, what string) string {
	out, err := w.docker("inspect", "--format", what, id)
	if err != nil {
		w.Fatal(out)
	}
	return out
}

func (w *town) size(path string) int64 {
	st, err := os.Stat(filepath.Join(path, "out"))
	if err != nil {
		return 0
	}
	return st.Size()
}

func (w *town) grows(path string) {
	w.Helper()
	before := w.size(path)
	w.until("the container to write", func() error {
		if w.size(path) == before {
			return fmt.Errorf("%d bytes", before)
		}
		return nil
	})
}

// TestWriter is one claim's life on a real machine: a container writes only while the claim is armed; a guard that is killed is
// followed by one that goes on and stops nothing; cut off from its witnesses the machine has killed, unmounted and is quiet before
// the lease runs out, without a reset; what the Engine starts after that finds nothing; and a later token has it all again.
func TestWriter(t *testing.T) {
	w := newTown(t)
	w.machines = &leasev1.Machines{Machines: []*leasev1.Machine{{Id: "m1", Key: w.guardState().Key}}}
	w.tell()
	s := w.wants(10, leasev1.Phase_PHASE_ARMED)
	if got := w.guardState(); got.Profile != "fast" || got.Watchdog != "" || !strings.Contains(got.Trouble, "no watchdog") {
		t.Errorf("%+v", got)
	}
	id, late := w.create(s), w.create(s)
	if out, err := w.docker("start", id); err != nil {
		t.Fatal(out)
	}
	w.grows(s.Path)
	started := w.inspect(id, "{{.State.StartedAt}} {{.State.Pid}}")
	for range 2 {
		w.kill()
		w.startGuard()
		w.until("the next guard to go on", func() error {
			if w.claimState(10).GetPhase() != leasev1.Phase_PHASE_ARMED {
				return fmt.Errorf("%v", w.claimState(10))
			}
			return nil
		})
		w.renews(time.Now())
	}
	w.grows(s.Path)
	if now := w.inspect(id, "{{.State.StartedAt}} {{.State.Pid}}"); now != started {
		t.Errorf("the container was started again: %s, and before %s", now, started)
	}
	w.memory()

	for _, c := range w.witnesses {
		w.ok(c.Process.Kill())
	}
	cut := time.Now()
	w.until("the claim to be sealed", func() error {
		if w.claimState(10).GetPhase() != leasev1.Phase_PHASE_SEALED {
			return fmt.Errorf("%v", w.claimState(10))
		}
		return nil
	})
	t.Logf("cut off, and sealed %v later", time.Since(cut).Round(time.Millisecond))
	w.notReset()
	w.until("the Engine to notice", func() error {
		if w.inspect(id, "{{.State.Running}}") != "false" {
			return fmt.Errorf("it runs")
		}
		return nil
	})
	v := volume.Volume{Name: w.claim, Device: &volume.Device{Source: w.node}}
	w.ok(device.New(device.Config{Base: w.dir}).Quiet(t.Context(), v))
	for _, c := range []string{id, late} {
		if out, err := w.docker("start", c); err == nil {
			t.Errorf("a start that comes late succeeds: %s", out)
		}
		if _, err := os.Stat(s.Path); err == nil {
			t.Error("a start that comes late makes the path anew")
		}
	}

	for i := range w.witnesses {
		w.witness(i, filepath.Join(w.dir, "argosy-witness"))
	}
	w.tell()
	next := w.wants(11, leasev1.Phase_PHASE_ARMED)
	if next.Path == s.Path || w.size(next.Path) == 0 {
		t.Errorf("%v", next)
	}
	w.order(&leasev1.GuardOrder{Order: &leasev1.GuardOrder_Release{Release: &leasev1.Named{Claim: w.claim, Token: next.Token}}})
	w.until("to be asked to stop", func() error {
		if w.claimState(11).GetPhase() != leasev1.Phase_PHASE_STOPPING {
			return fmt.Errorf("%v", w.claimState(11))
		}
		return nil
	})
	w.order(&leasev1.GuardOrder{Order: &leasev1.GuardOrder_Stopped{Stopped: &leasev1.Named{Claim: w.claim, Token: next.Token}}})
	w.wants(11, leasev1.Phase_PHASE_SEALED)
	w.ok(device.New(device.Config{Base: w.dir}).Quiet(t.Context(), v))
	w.notReset()
}

// renews waits until a witness has heard of the claim since an instant, though no agent has told this guard whom to ask.
func (w *town) renews(since time.Time) {
	w.Helper()
	c, err := net.Dial("unix", w.socket(0))
	w.ok(err)
	defer c.Close()
	w.until("the guard to renew", func() error {
		rep := &leasev1.Report{}
		w.ok(lease.Write(c, &leasev1.Order{Order: &leasev1.Order_Look{Look: &leasev1.Look{}}}))
		w.ok(lease.Read(c, rep))
		for _, s := range rep.GetSights() {
			if age := time.Duration(s.GetAge()); s.GetClaim() == w.claim && age < time.Since(since) {
				return nil
			}
		}
		return fmt.Errorf("%v", rep.GetSights())
	})
}

func (w *town) notReset() {
	w.Helper()
	if why, err := os.ReadFile(filepath.Join(w.dir, "resetter.ran")); err == nil {
		w.Fatalf("the machine was reset: %s", why)
	}
}

// memory is what a guard that holds something takes.
func (w *town) memory() {
	w.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.guard.Process.Pid))
	w.ok(err)
	for line := range strings.Lines(string(text)) {
		what, value, _ := strings.Cut(line, ":")
		if what != "VmRSS" && what != "VmLck" && what != "RssAnon" {
			continue
		}
		w.Log(strings.TrimSpace(line))
		kib, err := strconv.Atoi(strings.Fields(value)[0])
		w.ok(err)
		if what == "VmRSS" && kib > 20<<10 {
			w.Errorf("a guard takes %d KiB, and 20 MiB were promised", kib)
		}
	}
}
