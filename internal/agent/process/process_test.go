package process

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The ids of two containers.
var (
	one = strings.Repeat("1a", 32)
	two = strings.Repeat("2b", 32)
)

// stage is a Watcher of real processes, of which a directory says to which cgroup they belong.
type stage struct {
	*Watcher
	proc  string
	ended chan string
	stop  func()
	first int // how often it was said that a process was shown
}

func begin(t *testing.T, shown bool) *stage {
	t.Helper()
	s := &stage{proc: t.TempDir(), ended: make(chan string, 100)}
	var err error
	if s.Watcher, err = New(Config{Proc: s.proc, Shown: shown, FirstShown: func() { s.first++ }}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() {
		defer close(over)
		s.Watch(ctx, func(id string) { s.ended <- id })
	}()
	s.stop = func() {
		cancel()
		<-over
	}
	t.Cleanup(s.stop)
	return s
}

// spawn begins a process that is in the cgroup of a container, and the how manieth of its namespace it says.
func (s *stage) spawn(t *testing.T, containerID, nspid string) *exec.Cmd {
	t.Helper()
	c := exec.Command("sleep", "1000")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	dir := filepath.Join(s.proc, strconv.Itoa(c.Process.Pid))
	err := errors.Join(os.Mkdir(dir, 0o755),
		os.WriteFile(filepath.Join(dir, "cgroup"), []byte("0::/docker/"+containerID+"\n"), 0o644),
		os.WriteFile(filepath.Join(dir, "status"), []byte("Name:\tsleep\nNSpid:\t"+nspid+"\n"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// end ends a process, and with reap its number is free.
func end(t *testing.T, c *exec.Cmd, reap bool) {
	t.Helper()
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if reap {
		_ = c.Wait()
	}
}

func (s *stage) hear(t *testing.T, id string) {
	t.Helper()
	select {
	case got := <-s.ended:
		if got != id {
			t.Fatalf("the end of %s was told, not of %s", got, id)
		}
	case <-t.Context().Done():
		t.Fatal("nothing was told")
	}
}

var began = time.Now()

// TestAnEndIsTold: of whoever was seen to be there, before anybody has reaped it too.
func TestAnEndIsTold(t *testing.T) {
	for _, reap := range []bool{true, false} {
		s := begin(t, false)
		c := s.spawn(t, one, "77 1")
		if gone := s.Gone(one, c.Process.Pid, began); !gone.IsZero() {
			t.Fatalf("it is there, and gone since %s", gone)
		}
		end(t, c, reap)
		s.hear(t, one)
		if s.Gone(one, c.Process.Pid, began).IsZero() {
			t.Error("its end was told, and it is there")
		}
		if s.first != 1 {
			t.Errorf("that a process was shown was told %d times", s.first)
		}
	}
}

// TestNextLife: a container that was started again is asked about anew.
func TestNextLife(t *testing.T) {
	s := begin(t, false)
	c := s.spawn(t, one, "77 1")
	s.Gone(one, c.Process.Pid, began)
	end(t, c, true)
	s.hear(t, one)
	next := s.spawn(t, one, "78 1")
	if gone := s.Gone(one, next.Process.Pid, began.Add(time.Minute)); !gone.IsZero() {
		t.Fatalf("its next life is there, and gone since %s", gone)
	}
	end(t, next, true)
	s.hear(t, one)
}

// TestNothingIsSaidWhereNothingIsSeen: an engine that is elsewhere names processes that are not here, or are others'.
func TestNothingIsSaidWhereNothingIsSeen(t *testing.T) {
	s := begin(t, false)
	c := s.spawn(t, two, "77")
	other := c.Process.Pid
	dead := s.spawn(t, one, "78 1")
	end(t, dead, true)
	for name, pid := range map[string]int{"gone": dead.Process.Pid, "another's": other, "none": 0, "no number": -3} {
		if gone := s.Gone(name, pid, began); !gone.IsZero() {
			t.Errorf("%s is gone since %s, and no container's process was ever seen", name, gone)
		}
	}
	// One is seen: so they are where this agent looks, and the others are not there.
	alive := s.spawn(t, two, "79 1")
	if gone := s.Gone(two, alive.Process.Pid, began); !gone.IsZero() {
		t.Fatalf("it is there, and gone since %s", gone)
	}
	told := map[string]bool{<-s.ended: true, <-s.ended: true}
	if !told["gone"] || !told["another's"] {
		t.Errorf("told were %v", told)
	}
	if s.Gone("gone", dead.Process.Pid, began).IsZero() || s.Gone("another's", other, began).IsZero() {
		t.Error("what is not there is not said to be gone")
	}
}

// TestAnEarlierWatcherSaw: its word is enough.
func TestAnEarlierWatcherSaw(t *testing.T) {
	s := begin(t, true)
	c := s.spawn(t, one, "77 1")
	end(t, c, true)
	if s.Gone(one, c.Process.Pid, began).IsZero() {
		t.Error("its process is not there, and not said to be gone")
	}
	if s.first != 0 {
		t.Error("what was known was told again")
	}
}

// TestForgotten: nobody hears of it, and its descriptor is given back.
func TestForgotten(t *testing.T) {
	s := begin(t, false)
	c := s.spawn(t, one, "77 1")
	s.Gone(one, c.Process.Pid, began)
	fd := s.lives[one].fd
	s.Forget(one)
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err == nil {
		if link, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)); err == nil && strings.Contains(link, "pidfd") {
			t.Errorf("descriptor %d is still %s", fd, link)
		}
	}
	end(t, c, true)
	last := s.spawn(t, two, "78 1")
	s.Gone(two, last.Process.Pid, began)
	end(t, last, true)
	s.hear(t, two) // and not one
}

// TestOverIsOver: a Watcher that nobody lets watch any more holds nothing, and says nothing.
func TestOverIsOver(t *testing.T) {
	s := begin(t, false)
	c := s.spawn(t, one, "77 1")
	s.Gone(one, c.Process.Pid, began)
	s.stop()
	end(t, c, true)
	if gone := s.Gone(one, c.Process.Pid, began); !gone.IsZero() || len(s.lives) != 0 {
		t.Errorf("gone since %s, with %d lives known", gone, len(s.lives))
	}
}

func TestWhoseItIs(t *testing.T) {
	for _, c := range []struct {
		groups, status string
		want           owner
	}{
		{"0::/docker/" + one, "NSpid:\t77\t1", its},
		{"0::/system.slice/docker-" + one + ".scope/init.scope", "NSpid:\t77\t1", its},
		{"2:cpu:/x\n1:name=systemd:/docker/" + one + "\n", "", its},
		{"0::/docker/" + two, "Name:\tx\nNSpid:\t77\nThreads:\t1", anothers},
		{"0::/user.slice", "NSpid:\t77\t5", anothers},
		{"0::/elsewhere", "NSpid:\t77\t1", unclear}, // it may have moved itself
		{"0::/elsewhere", "Name:\tx", unclear},      // an old kernel
		{"", "NSpid:", anothers},
	} {
		if got := judge(one, c.groups, c.status); got != c.want {
			t.Errorf("%q, %q: %d, not %d", c.groups, c.status, got, c.want)
		}
	}
}

// TestRunsOut: without descriptors nothing is told, and it is tried again.
func TestRunsOut(t *testing.T) {
	s := begin(t, true)
	c := s.spawn(t, one, "77 1")
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	few := was
	few.Cur = 3
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	gone := s.Gone(one, c.Process.Pid, began)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if !gone.IsZero() {
		t.Errorf("gone since %s", gone)
	}
	s.Gone(one, c.Process.Pid, began)
	end(t, c, true)
	s.hear(t, one)
}

func BenchmarkGone(b *testing.B) {
	w, err := New(Config{})
	if err != nil {
		b.Fatal(err)
	}
	pid := os.Getpid()
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			w.Gone(one, pid, began)
			w.Forget(one)
		}
	})
	b.Run("again", func(b *testing.B) {
		for b.Loop() {
			w.Gone(one, pid, began)
		}
	})
}

// TestEndsWhileHearing: it can be ended in the instant in which the kernel tells something.
func TestEndsWhileHearing(t *testing.T) {
	for range 300 {
		s := begin(t, false)
		c := s.spawn(t, one, "77 1")
		s.Gone(one, c.Process.Pid, began)
		go func() { _ = c.Process.Kill() }()
		s.stop()
	}
}
