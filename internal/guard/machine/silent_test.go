package machine_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/argosy-cluster/argosy/internal/agent/volume"
	"github.com/argosy-cluster/argosy/internal/agent/volume/device"
	"github.com/argosy-cluster/argosy/internal/guard/machine"
)

// falling is a driver whose storage stops answering in the moment in which it is published.
type falling struct {
	volume.Driver
	path string // of a file system that answers nothing
}

func (d falling) Publish(ctx context.Context, c volume.Claim) (volume.Published, error) {
	p, err := d.Driver.Publish(ctx, c)
	p.Path = d.path
	return p, err
}

// silence mounts a file system that never answers, and says how it is ended.
func silence(t *testing.T) (dir string, end func()) {
	t.Helper()
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("needs a file system that does not answer: %v", err)
	}
	dir = t.TempDir()
	if err := unix.Mount("silence", dir, "fuse", unix.MS_NODEV|unix.MS_NOSUID, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", f.Fd())); err != nil {
		t.Fatal(err, f.Close())
	}
	return dir, func() {
		// Whoever waits for it is told that nobody will answer.
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}
}

// TestStorageFallsSilent: storage that stops answering once it was published holds up nobody.
func TestStorageFallsSilent(t *testing.T) {
	s := newScene(t)
	dir, end := silence(t)
	m, err := machine.Open(machine.Config{Dir: filepath.Join(s.dir, "claims"), Groups: s.groups, Patience: 5 * time.Second,
		Device: falling{device.New(device.Config{Base: s.base}), dir}})
	s.ok(err)
	s.ok(m.Place(s.id, token, s.v))
	mounted := make(chan error, 1)
	go func() { mounted <- m.Mount(context.Background(), s.id, token) }()
	select {
	case err = <-mounted:
	case <-time.After(time.Minute):
		end()
		t.Fatalf("its mounting waited for it, and kept the records of all claims from everybody; then: %v", <-mounted)
	}
	end()
	s.ok(err)
	s.ok(m.Clear(t.Context(), s.id, token))
	s.ok(m.Seal(t.Context(), s.id, token))
}
