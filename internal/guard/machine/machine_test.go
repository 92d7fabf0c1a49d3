package machine_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/argosy-cluster/argosy/internal/agent/volume"
	"github.com/argosy-cluster/argosy/internal/agent/volume/device"
	"github.com/argosy-cluster/argosy/internal/agent/volume/mount"
	"github.com/argosy-cluster/argosy/internal/agent/volume/volumetest"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/guard/machine"
	"github.com/argosy-cluster/argosy/internal/guard/slice"
)

// scene is a machine with one volume on a device, and a claim to it.
type scene struct {
	*testing.T
	*machine.Machine
	dir    string
	base   string
	groups *slice.Groups
	id     claims.ID
	v      volume.Volume
	node   string
}

var token = claims.Token{Generation: 1, Revision: 4711}

func newScene(t *testing.T) *scene {
	volumetest.Root(t)
	groups, err := slice.Find(fmt.Sprintf("argosytest-m%d", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{T: t, dir: t.TempDir(), base: volumetest.Base(t), groups: groups}
	s.id = claims.ID(fmt.Sprintf("default/%s-%d/db.1/data", strings.ToLower(t.Name()), os.Getpid()))
	s.node = volumetest.Loop(t, volumetest.Image(t, 16), false)
	volumetest.Format(t, s.node)
	s.v = volume.Volume{Name: string(s.id), Device: &volume.Device{Source: s.node}}
	s.open()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		name := groups.Name(s.id, token)
		if err := errors.Join(groups.Kill(ctx, name), groups.Remove(name), os.Remove(filepath.Dir(s.freezer(name)))); err != nil {
			t.Error(err)
		}
	})
	return s
}

// open is what the next guard does.
func (s *scene) open() {
	s.Helper()
	m, err := machine.Open(machine.Config{Dir: filepath.Join(s.dir, "claims"), Groups: s.groups, Patience: 5 * time.Second,
		Device: device.New(device.Config{Base: s.base}), Mount: mount.New(mount.Config{Base: s.base})})
	if err != nil {
		s.Fatal(err)
	}
	s.Machine = m
}

func (s *scene) ok(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *scene) refused(err error, says string) {
	s.Helper()
	if err == nil || !strings.Contains(err.Error(), says) {
		s.Fatalf("%v, want something with %q", err, says)
	}
}

// container is a process that appends to a file at a path as fast as it can, as an Engine would start it: put into the slice first, then
// with a mount namespace of its own.
func (s *scene) container(in, path string) *exec.Cmd {
	s.Helper()
	cmd := exec.Command("unshare", "--mount", "sh", "-c", `echo ready; exec 3>>"$0/out" || exit 9; trap "" TERM; while :; do echo x >&3; done`, path)
	if in != "" {
		gate := exec.Command("sh", "-c", `read go; exec "$@"`, "sh", "unshare", "--mount", "sh", "-c", cmd.Args[4], path)
		cmd = gate
	}
	stdin, err := cmd.StdinPipe()
	s.ok(err)
	out, err := cmd.StdoutPipe()
	s.ok(err)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.ok(cmd.Start())
	if in != "" {
		s.ok(os.WriteFile(filepath.Join(s.freezer(in), "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0o600))
		_, err = stdin.Write([]byte("go\n"))
		s.ok(err)
	}
	if in == "" {
		_, err := bufio.NewReader(out).ReadString('\n')
		s.ok(err)
	}
	return cmd
}

func (s *scene) freezer(name string) string {
	if s.groups.String() == "cgroup v2" {
		return "/sys/fs/cgroup" + s.groups.Path(name)
	}
	return "/sys/fs/cgroup/freezer" + s.groups.Path(name)
}

func (s *scene) armed() machine.Shown {
	s.Helper()
	s.ok(s.Place(s.id, token, s.v))
	s.ok(s.Mount(s.Context(), s.id, token))
	if s.Show(s.id, token).Armed {
		s.Fatal("armed before it was asked for")
	}
	s.ok(s.Arm(s.Context(), s.id, token))
	shown := s.Show(s.id, token)
	if !shown.Armed || shown.UUID == "" || shown.Size < 8<<20 || shown.Free <= 0 || shown.Slice != s.groups.Name(s.id, token) {
		s.Fatalf("%+v", shown)
	}
	return shown
}

func (s *scene) written(path string) int64 {
	st, err := os.Stat(filepath.Join(path, "out"))
	if err != nil {
		return 0
	}
	return st.Size()
}

func (s *scene) until(what string, ok func() bool) {
	s.Helper()
	for limit := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			s.Fatalf("it took too long: %s", what)
		}
	}
}

// TestLife is the way of a claim: what runs in its slice writes only while that is armed, and when it is cleared nothing is left: no
// process, no mount in any namespace, no path, no slice.
func TestLife(t *testing.T) {
	s := newScene(t)
	s.ok(s.Place(s.id, token, s.v))
	s.ok(s.Mount(t.Context(), s.id, token))
	path := s.base + "/" + string(s.id) + "/" + token.String() + "/data"
	early := s.container(s.groups.Name(s.id, token), path)
	if n := s.written(path); n != 0 {
		t.Fatalf("%d bytes were written before it was armed", n)
	}
	shown := s.armed() // mounts again, as after a restart: nothing changes
	if shown.Path != path {
		t.Fatal(shown)
	}
	s.until("writing", func() bool { return s.written(path) > 0 })
	s.open() // a guard that follows
	if got := s.Show(s.id, token); got != shown {
		t.Errorf("the next guard knows %+v of %+v", got, shown)
	}
	s.ok(s.Arm(t.Context(), s.id, token))
	s.ok(s.Clear(t.Context(), s.id, token))
	if err := early.Wait(); early.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("it ended by itself: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error("the path is still there")
	}
	s.ok(device.New(device.Config{Base: s.base}).Quiet(t.Context(), s.v))
	s.refused(s.Mount(t.Context(), s.id, token), "a token is used once")
	s.refused(s.Arm(t.Context(), s.id, token), "a token is used once")
	s.ok(s.Clear(t.Context(), s.id, token))
	s.ok(s.Seal(t.Context(), s.id, token))
	s.ok(s.Seal(t.Context(), s.id, token))
	if _, err := os.Stat(s.freezer(s.groups.Name(s.id, token))); err == nil {
		t.Error("the slice is still there")
	}
	s.refused(s.Mount(t.Context(), s.id, token), "nobody said where")
	if names, err := os.ReadDir(s.base); err != nil || len(names) > 0 {
		t.Errorf("%v %v are left", names, err)
	}
}

// TestNotQuiet: what was started outside the slice, in a mount namespace of its own, keeps the claim from being let go
// for as long as it lives.
func TestNotQuiet(t *testing.T) {
	s := newScene(t)
	shown := s.armed()
	stray := s.container("", shown.Path)
	s.until("writing", func() bool { return s.written(shown.Path) > 0 })
	ctx, cancel := context.WithCancel(t.Context())
	cleared := make(chan error)
	go func() { cleared <- s.Clear(ctx, s.id, token) }()
	s.until("to unmount", func() bool { _, err := os.Stat(shown.Path); return err != nil })
	select {
	case err := <-cleared:
		s.refused(err, s.node+" is in use on this machine")
	case <-time.After(time.Second):
		cancel()
		if err := <-cleared; err == nil {
			t.Fatal("it was quiet while somebody wrote")
		}
	}
	cancel()
	s.ok(stray.Process.Kill())
	_ = stray.Wait()
	s.ok(s.Clear(t.Context(), s.id, token))
	s.ok(s.Seal(t.Context(), s.id, token))
}

// TestRefused: what cannot be mounted leaves nothing that would have to be proven quiet, though it is used by somebody else.
func TestRefused(t *testing.T) {
	s := newScene(t)
	other := volumetest.Base(t)
	s.ok(syscall.Mount(s.node, other, "ext4", 0, ""))
	defer func() { s.ok(syscall.Unmount(other, 0)) }()
	s.ok(s.Place(s.id, token, s.v))
	s.refused(s.Mount(t.Context(), s.id, token), s.node+" is in use on this machine")
	s.ok(s.Clear(t.Context(), s.id, token))
	s.ok(s.Seal(t.Context(), s.id, token))
	next := claims.Token{Generation: 1, Revision: 4712}
	gone := volume.Volume{Name: string(s.id), Device: &volume.Device{Source: "/dev/disk/by-id/none"}}
	s.ok(s.Place(s.id, next, gone))
	s.refused(s.Mount(t.Context(), s.id, next), "/dev/disk/by-id/none")
	s.ok(s.Clear(t.Context(), s.id, next))
	s.ok(s.Seal(t.Context(), s.id, next))
	// One that was asked for and never mounted leaves no record.
	s.ok(s.Place(s.id, next, gone))
	s.ok(s.Forget(s.id, next))
	if names, err := os.ReadDir(filepath.Join(s.dir, "claims")); err != nil || len(names) > 0 {
		t.Errorf("%v %v are left", names, err)
	}
}

// TestLost: without its record a claim is neither mounted nor said to be quiet.
func TestLost(t *testing.T) {
	s := newScene(t)
	shown := s.armed()
	s.ok(s.Forget(s.id, token)) // of what is here nothing is forgotten
	records, err := filepath.Glob(filepath.Join(s.dir, "claims", "*.json"))
	if err != nil || len(records) != 1 {
		t.Fatal(records, err)
	}
	text, err := os.ReadFile(records[0])
	s.ok(err)
	s.ok(os.WriteFile(records[0], text[:len(text)/2], 0o600))
	s.refused(s.Clear(t.Context(), s.id, token), "shorter than")
	s.ok(os.Remove(records[0]))
	s.refused(s.Clear(t.Context(), s.id, token), "nobody said where")
	if left, err := s.Left(); err != nil || !strings.Contains(strings.Join(left, " "), shown.Slice) {
		t.Errorf("%v, %v", left, err)
	}
	s.ok(os.WriteFile(records[0], text, 0o600))
	s.ok(s.Clear(t.Context(), s.id, token))
	s.ok(s.Seal(t.Context(), s.id, token))
}
