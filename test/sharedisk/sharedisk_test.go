package sharedisk

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/argosy-cluster/argosy/internal/agent/volume/volumetest"
)

// bench is a disk with a file system, and two machines that see it.
type bench struct {
	disk   *Disk
	views  map[string]*View
	loops  map[string]string
	mounts map[string]string
}

func newBench(t *testing.T) *bench {
	volumetest.Root(t)
	image := volumetest.Image(t, 64)
	volumetest.Format(t, image)
	d, err := Open(image)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{disk: d, views: map[string]*View{}, loops: map[string]string{}, mounts: map[string]string{}}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, m := range []string{"m1", "m2"} {
		v, err := d.Show(m, filepath.Join(t.TempDir(), m))
		if err != nil {
			t.Fatal(err)
		}
		b.views[m] = v
		b.loops[m] = volumetest.Loop(t, v.Path(), false)
	}
	return b
}

func (b *bench) mount(t *testing.T, m string) string {
	t.Helper()
	dir := t.TempDir()
	volumetest.Run1(t, "mount", "-t", "ext4", b.loops[m], dir)
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	b.mounts[m] = dir
	return dir
}

// put writes a file and has it be on the disk, as far as the machine can tell.
func put(path, text string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}

func TestAPowerCutLosesWhatWasNotWritten(t *testing.T) {
	t.Parallel() // mmp waits for most of it
	b := newBench(t)
	dir := b.mount(t, "m1")
	if err := put(filepath.Join(dir, "before"), "is here"); err != nil {
		t.Fatal(err)
	}
	b.views["m1"].Cut()
	if err := put(filepath.Join(dir, "after"), "is not"); err != nil {
		t.Fatalf("a machine without power does not know it: %v", err)
	}
	if err := syscall.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	if b.views["m1"].Lost() == 0 {
		t.Error("nothing was lost")
	}
	// The file system was not unmounted, as far as the disk knows: mmp waits, and the journal is replayed.
	again := b.mount(t, "m2")
	if text, err := os.ReadFile(filepath.Join(again, "before")); err != nil || string(text) != "is here" {
		t.Errorf("what was on the disk: %q, %v", text, err)
	}
	if _, err := os.Stat(filepath.Join(again, "after")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was written without power is there: %v", err)
	}
	if err := syscall.Unmount(again, 0); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("e2fsck", "-fn", b.views["m2"].Path()).CombinedOutput(); err != nil {
		t.Errorf("the file system is not whole: %v: %s", err, out)
	}
	var who []string
	for _, turn := range b.disk.Turns() {
		who = append(who, turn.View)
	}
	if !slices.Equal(who, []string{"m1", "m2"}) {
		t.Errorf("who wrote: %v", who)
	}
}

func TestAFencedMachineReadsAndWritesNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dir := b.mount(t, "m1")
	if err := put(filepath.Join(dir, "before"), "is here"); err != nil {
		t.Fatal(err)
	}
	b.views["m1"].Fence()
	turns := b.disk.Turns()
	if err := put(filepath.Join(dir, "after"), "is not"); err == nil {
		t.Error("the storage took what a fenced machine wrote")
	}
	if f, err := os.Open(b.views["m1"].Path()); err != nil {
		t.Error(err)
	} else {
		if _, err := f.Read(make([]byte, 512)); !errors.Is(err, syscall.EIO) {
			t.Errorf("a fenced machine read: %v", err)
		}
		_ = f.Close()
	}
	if now := b.disk.Turns(); now[0].Writes != turns[0].Writes {
		t.Errorf("%d writes, and %d when it was fenced", now[0].Writes, turns[0].Writes)
	}
	if text, err := os.ReadFile(filepath.Join(b.mount(t, "m2"), "before")); err != nil || !strings.HasPrefix(string(text), "is here") {
		t.Errorf("another machine reads %q, %v", text, err)
	}
}

// Two machines that write at a time are seen, whoever lets them.
func TestTurnsShowTwoWriters(t *testing.T) {
	volumetest.Root(t)
	d, err := Open(volumetest.Image(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]*os.File{}
	for _, m := range []string{"m1", "m2"} {
		v, err := d.Show(m, filepath.Join(t.TempDir(), m))
		if err != nil {
			t.Fatal(err)
		}
		if files[m], err = os.OpenFile(v.Path(), os.O_RDWR, 0); err != nil {
			t.Fatal(err)
		}
	}
	for i, m := range []string{"m1", "m1", "m2", "m1"} {
		if _, err := files[m].WriteAt([]byte("block"), int64(i)*512); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := files["m2"].WriteAt([]byte("beyond"), 1<<20-1); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a disk grew: %v", err)
	}
	got := make([]byte, 5)
	if _, err := files["m2"].ReadAt(got, 3*512); err != nil || string(got) != "block" {
		t.Errorf("m2 reads %q of what m1 wrote, %v", got, err)
	}
	for _, f := range files {
		_ = f.Close()
	}
	turns := d.Turns()
	if len(turns) != 3 || turns[0].Writes != 2 || turns[1].View != "m2" || turns[2].View != "m1" {
		t.Errorf("turns: %+v", turns)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
