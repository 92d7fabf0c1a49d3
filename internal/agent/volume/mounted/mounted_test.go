package mounted

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/argosy-cluster/argosy/internal/agent/volume"
	"github.com/argosy-cluster/argosy/internal/agent/volume/mountinfo"
)

func TestLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Lanes
		hang := make(chan struct{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		done := false
		if err := l.Do(ctx, "a", func() error { <-hang; done = true; return nil }); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("let go: %v", err)
		}
		// What hangs keeps its place, and no other.
		if err := l.Do(t.Context(), "b", func() error { return errors.New("b") }); err == nil || err.Error() != "b" {
			t.Fatal(err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.Do(ctx, "a", func() error { t.Error("two at once"); return nil }); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("let go: %v", err)
		}
		close(hang)
		if err := l.Do(t.Context(), "a", func() error { return nil }); err != nil || !done {
			t.Fatalf("%t, %v", done, err)
		}
		// Nothing is begun for who does not wait any more.
		if err := l.Do(ctx, "a", func() error { t.Error("begun"); return nil }); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(l.held) != 0 {
			t.Errorf("%d places are still taken", len(l.held))
		}
	})
}

func TestPlaceOf(t *testing.T) {
	c := volume.Claim{Volume: volume.Volume{Name: "default/shop/db.1/data"}, Token: volume.Token{Generation: 1, Revision: 4711}}
	p, err := PlaceOf("/var/lib/argosy/mounts", c)
	if err != nil || p.Staged() != "/var/lib/argosy/mounts/default/shop/db.1/data/1-4711/fs" || p.Published() != "/var/lib/argosy/mounts/default/shop/db.1/data/1-4711/data" {
		t.Errorf("%s, %s, %v", p.Staged(), p.Published(), err)
	}
	for _, base := range []string{"", "x", "/x/", "/x/../y"} {
		if p, err := PlaceOf(base, c); err == nil {
			t.Errorf("%q: %s", base, p.Dir())
		}
	}
	for _, name := range []string{"", "x", "/a/b/c", "a/../b/c", "a/b/c/."} {
		c.Volume.Name = name
		if p, err := PlaceOf("/x", c); err == nil {
			t.Errorf("%q: %s", name, p.Dir())
		}
	}
}

// Places of other claims stay, whatever is removed beside them.
func TestUnstageRemovesOnlyItsOwn(t *testing.T) {
	base := t.TempDir()
	place := func(n uint64) Place {
		p, err := PlaceOf(base, volume.Claim{Volume: volume.Volume{Name: "default/shop/db.1/data"}, Token: volume.Token{Generation: 1, Revision: n}})
		if err := errors.Join(err, p.Make()); err != nil {
			t.Fatal(err)
		}
		return p
	}
	one, two := place(1), place(2)
	if err := one.Unstage(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(two.Staged()); err != nil {
		t.Fatal(err)
	}
	if err := two.Unstage(); err != nil {
		t.Fatal(err)
	}
	if names, err := os.ReadDir(base); err != nil || len(names) != 0 {
		t.Errorf("%v, %v", names, err)
	}
	// What somebody wrote where nothing was mounted is left there, and said.
	if err := os.WriteFile(place(3).Staged()+"/x", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := place(3).Unstage(); !errors.Is(err, unix.ENOTEMPTY) {
		t.Error(err)
	}
}

func TestOpenRootRefusesDirectories(t *testing.T) {
	dir := t.TempDir()
	for path, says := range map[string]string{dir: "nothing is mounted", dir + "/x": "does not exist"} {
		if r, err := OpenRoot(path); volume.ReasonOf(err) != volume.Unverified || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, %v", r, err)
		}
	}
	r, err := OpenRoot("/proc")
	if err != nil || r.Mount.Type != "proc" {
		t.Fatalf("%+v, %v", r, err)
	}
	r.Close()
}

// This process has mounts, and every process is seen.
func TestEverywhere(t *testing.T) {
	list, err := Everywhere(func(m mountinfo.Mount) bool { return m.Point == "/proc" })
	if err != nil || len(list) == 0 {
		t.Fatalf("%v, %v", list, err)
	}
	if err := Unmounted("it", func(mountinfo.Mount) bool { return false }); err != nil {
		t.Error(err)
	}
	if err := Unmounted("it", func(m mountinfo.Mount) bool { return m.Type == "proc" }); volume.ReasonOf(err) != volume.Busy {
		t.Error(err)
	}
}

func TestNoProcess(t *testing.T) {
	dir := t.TempDir()
	put := func(path, text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o700), os.WriteFile(filepath.Join(dir, path), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	put("cgroup.procs", "")
	put("a/cgroup.procs", "")
	put("a/b/cgroup.procs", "")
	if err := NoProcess(dir); err != nil {
		t.Error(err)
	}
	if err := NoProcess(dir + "/gone"); err != nil {
		t.Error(err)
	}
	put("a/b/cgroup.procs", "4711\n4712\n")
	if err := NoProcess(dir); volume.ReasonOf(err) != volume.Busy || !strings.Contains(err.Error(), "4711") {
		t.Error(err)
	}
	// What does not say who is in it is not empty.
	if err := NoProcess(t.TempDir()); err == nil {
		t.Error("a directory that is no cgroup has no process in it")
	}
}

// The cgroup of this very process is not empty.
func TestNoProcessOfThisMachine(t *testing.T) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for line := range strings.Lines(string(text)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/" + strings.TrimPrefix(f[1], "name=")} {
			dir := filepath.Join(root, f[2])
			procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			if err != nil || !strings.Contains("\n"+string(procs), "\n"+strconv.Itoa(os.Getpid())+"\n") {
				continue
			}
			tried++
			if err := NoProcess(dir); volume.ReasonOf(err) != volume.Busy {
				t.Errorf("%s: %v", dir, err)
			}
		}
	}
	if tried == 0 {
		t.Error("the cgroup of this process was not found")
	}
}
