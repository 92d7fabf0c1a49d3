package slice

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/argosy-cluster/argosy/internal/claims"
)

func TestFamily(t *testing.T) {
	for _, bad := range []string{"", "x", "-x", "x-", "a-b-c", "a-b/c", "a-.."} {
		if g, err := Find(bad); err == nil {
			t.Errorf("%q: %+v", bad, g)
		}
	}
	if got := (&Groups{family: Family}).Path("argosy-claim-x.slice"); got != "/argosy.slice/argosy-claim.slice/argosy-claim-x.slice" {
		t.Error(got)
	}
}

func TestName(t *testing.T) {
	g := &Groups{family: Family}
	token := claims.Token{Generation: 1, Revision: 4711}
	for id, want := range map[claims.ID]string{
		"default/shop/db.1/data":             "argosy-claim-shop_db.1_data.",
		"acme/my-shop/db.1/data":             "argosy-claim-my_shop_db.1_data.",
		"x":                                  "argosy-claim-.",
		claims.ID(strings.Repeat("é/", 300)): "argosy-claim-_",
	} {
		got := g.Name(id, token)
		if !strings.HasPrefix(got, want) || !strings.HasSuffix(got, ".1_4711.slice") || len(got) > 255 || strings.Count(got, "-") != 2 {
			t.Errorf("%s: %s", id, got)
		}
	}
	if g.Name("default/a/b.1/c", token) == g.Name("acme/a/b.1/c", token) {
		t.Error("two tenants share a slice")
	}
}

// machines are the kinds of cgroups that this machine has: both, where v2 is mounted beside v1.
func machines(t *testing.T) map[string]*Groups {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes cgroups")
	}
	own, err := Find(fmt.Sprintf("argosytest-p%d", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*Groups{own.String(): own}
	if unified := filepath.Join(root, "unified"); own.v1 != "" {
		if _, err := os.Stat(filepath.Join(unified, "cgroup.procs")); err == nil {
			all["cgroup v2 beside v1"] = &Groups{freezer: unified, family: own.family}
		}
	}
	t.Cleanup(func() {
		for _, g := range all {
			if err := removeAll(filepath.Join(g.freezer, g.parents())); err != nil {
				t.Error(err)
			}
		}
	})
	return all
}

// each runs a test with each kind of cgroups, and a slice of its own.
func each(t *testing.T, do func(t *testing.T, g *Groups, name string)) {
	for kind, g := range machines(t) {
		t.Run(kind, func(t *testing.T) {
			name := g.Name(claims.ID(fmt.Sprintf("test/%s/%d", t.Name(), time.Now().UnixNano())), claims.Token{Generation: 1, Revision: uint64(os.Getpid())})
			t.Cleanup(func() {
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				defer cancel()
				if err := errors.Join(g.Kill(ctx, name), g.Remove(name)); err != nil {
					t.Error(err)
				}
			})
			do(t, g, name)
		})
	}
}

// writer is a process that appends to a file as fast as it can.
func writer(t *testing.T, g *Groups, name string) (file string, pid int) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "out")
	cmd := exec.Command("sh", "-c", `read go; trap "" TERM; while :; do echo x >>"$0"; done`, file)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = write(filepath.Join(g.freezer, "cgroup.procs"), strconv.Itoa(cmd.Process.Pid)) // were it frozen, it could not die
		<-ended
	})
	// As an Engine does: a group of the container below the slice.
	below := filepath.Join(g.dir(name), "container")
	if err := errors.Join(os.MkdirAll(below, 0o755), write(filepath.Join(below, "cgroup.procs"), strconv.Itoa(cmd.Process.Pid))); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write([]byte("go\n")); err != nil {
		t.Fatal(err)
	}
	return file, cmd.Process.Pid
}

func size(file string) int64 {
	st, err := os.Stat(file)
	if err != nil {
		return 0
	}
	return st.Size()
}

// grows waits until a file has grown.
func grows(t *testing.T, file string) {
	t.Helper()
	for before, limit := size(file), time.Now().Add(20*time.Second); size(file) == before; time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("what should run does not")
		}
	}
}

// still is the file's size, which must not change while a process beside it that is not in the slice gets to run.
func still(t *testing.T, file string) int64 {
	t.Helper()
	before := size(file)
	if out, err := exec.Command("sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10; do /bin/true; done").CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	if after := size(file); after != before {
		t.Fatalf("it wrote %d bytes while it was frozen", after-before)
	}
	return before
}

// TestGate: what is put into a slice that is frozen does not run until that is thawed, nor after it is frozen again, nor when it
// is killed, though it ignores SIGTERM.
func TestGate(t *testing.T) {
	each(t, func(t *testing.T, g *Groups, name string) {
		if is, err := g.frozen(name); is || !errors.Is(err, os.ErrNotExist) {
			t.Fatal(is, err)
		}
		if err := g.Freeze(name); err != nil {
			t.Fatal(err)
		}
		file, pid := writer(t, g, name)
		if n := still(t, file); n != 0 {
			t.Fatalf("%d bytes were written before the gate was open", n)
		}
		if list, err := g.List(); err != nil || !strings.Contains(strings.Join(list, " "), name) {
			t.Fatal(list, err)
		}
		if err := g.Thaw(name); err != nil {
			t.Fatal(err)
		}
		grows(t, file)
		if err := g.Remove(name); err == nil {
			t.Error("a slice with a process in it was removed")
		}
		if err := g.Freeze(name); err != nil {
			t.Fatal(err)
		}
		n := still(t, file)
		late, _ := writer(t, g, name) // as a start that the Engine executes late
		if err := g.Kill(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if size(file) != n || size(late) != 0 {
			t.Errorf("something was written on the way to death: %d and %d bytes", size(file)-n, size(late))
		}
		for limit := time.Now().Add(20 * time.Second); unix.Kill(pid, 0) == nil; time.Sleep(time.Millisecond) {
			if time.Now().After(limit) {
				t.Fatal("it lives")
			}
		}
		if is, err := g.frozen(name); !is || err != nil {
			t.Errorf("after killing it is not frozen: %v", err)
		}
		if err := errors.Join(g.Remove(name), g.Remove(name)); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(g.dir(name)); err == nil {
			t.Error("it is still there")
		}
	})
}

// TestManyFork: processes that fork as fast as they can are all killed.
func TestManyFork(t *testing.T) {
	each(t, func(t *testing.T, g *Groups, name string) {
		if err := g.Thaw(name); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("sh", "-c", `read go; while :; do (sh -c 'sleep 1000 & sleep 1000 &') & done`)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(cmd.Start(), write(filepath.Join(g.dir(name), "cgroup.procs"), strconv.Itoa(cmd.Process.Pid))); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = cmd.Wait() }()
		if _, err := in.Write([]byte("go\n")); err != nil {
			t.Fatal(err)
		}
		for {
			list, err := processes(g.dir(name))
			if err != nil {
				t.Fatal(err)
			}
			if len(list) > 60 {
				break
			}
		}
		if err := g.Kill(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if list, err := processes(g.dir(name)); len(list) > 0 || err != nil {
			t.Error(list, err)
		}
	})
}
