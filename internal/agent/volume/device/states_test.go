package device

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/argosy-cluster/argosy/internal/agent/volume"
	"github.com/argosy-cluster/argosy/internal/agent/volume/volumetest"
)

// What a device may hold that is no volume. Nothing is written to it, and the sentence says what to do.
func TestWhatIsThereStays(t *testing.T) {
	volumetest.Root(t)
	for _, tc := range []struct {
		name   string
		make   func(t *testing.T, node string)
		create bool
		reason volume.Reason
		says   []string
	}{
		{"empty, and nothing said", func(*testing.T, string) {}, false, volume.Foreign, []string{"is empty", "create: if-empty"}},
		{"a partition table", func(t *testing.T, node string) {
			patch(t, node, 446, []byte{0, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 0x20, 0, 0})
			patch(t, node, 510, []byte{0x55, 0xAA})
		}, true, volume.Foreign, []string{"partition table (dos)", "wipefs -a"}},
		{"swap", func(t *testing.T, node string) { volumetest.Run1(t, "mkswap", node) }, true, volume.Foreign, []string{"swap", "nothing was changed"}},
		{"ext3", func(t *testing.T, node string) { volumetest.Run1(t, "mke2fs", "-q", "-F", "-t", "ext3", node) }, true, volume.Foreign, []string{"holds ext3", "ext4 with a journal"}},
		{"a copy of a superblock", func(t *testing.T, node string) {
			volumetest.Format(t, node)
			patch(t, node, 1024+0x5A, []byte{1, 0})
		}, true, volume.Foreign, nil},
		{"garbage", func(t *testing.T, node string) { patch(t, node, 8192, []byte("once upon a time")) }, true, volume.Foreign, []string{"no tool knows", "blkdiscard"}},
		{"garbage at its end", func(t *testing.T, node string) { patch(t, node, 32<<20-600, []byte("and they lived happily")) }, true, volume.Foreign, []string{"no tool knows"}},
		{"ext4 beneath a LUKS header", func(t *testing.T, node string) {
			volumetest.Format(t, node)
			patch(t, node, 0, []byte("LUKS\xba\xbe\x00\x01"))
		}, true, volume.Foreign, []string{"crypto_LUKS"}},
		{"ext4 without mmp", func(t *testing.T, node string) { volumetest.Run1(t, "mke2fs", "-q", "-F", "-t", "ext4", node) }, true, volume.Misdescribed, []string{"tune2fs -O mmp"}},
		{"somebody's files", func(t *testing.T, node string) {
			volumetest.Format(t, node)
			withMounted(t, node, func(dir string) { put(t, dir+"/thesis", "x") })
		}, true, volume.Foreign, []string{"(thesis)", "move them into a directory called data"}},
		{"somebody's data", func(t *testing.T, node string) {
			volumetest.Format(t, node)
			withMounted(t, node, func(dir string) {
				if err := os.Mkdir(dir+"/lib", 0o700); err != nil {
					t.Fatal(err)
				}
			})
		}, false, volume.Foreign, nil},
		{"a mark that makes no sense", func(t *testing.T, node string) {
			volumetest.Format(t, node)
			withMounted(t, node, func(dir string) { put(t, dir+"/"+volume.MarkName, "\x00\x01garbage") })
		}, true, volume.Damaged, []string{"cannot be read", "write {\"volume\""}},
		{"a mark without end", func(t *testing.T, node string) {
			volumetest.Format(t, node)
			withMounted(t, node, func(dir string) { put(t, dir+"/"+volume.MarkName, strings.Repeat("{", 200_000)) })
		}, true, volume.Damaged, nil},
		{"another volume's mark", func(t *testing.T, node string) {
			volumetest.Format(t, node)
			withMounted(t, node, func(dir string) { put(t, dir+"/"+volume.MarkName, `{"volume": "default/blog/db.1/data"}`) })
		}, true, volume.Foreign, []string{"that of volume default/blog/db.1/data, not of default/shop/db.1/data"}},
		{"damage that nobody repairs unasked", func(t *testing.T, node string) {
			volumetest.Format(t, node)
			// The file system says that it is damaged, and instead of its journal is anything.
			out, err := exec.Command("dumpe2fs", node).CombinedOutput()
			if err != nil {
				t.Fatalf("dumpe2fs: %v: %s", err, out)
			}
			_, rest, _ := strings.Cut(string(out), "Inode table at ")
			first, err := strconv.ParseInt(strings.SplitN(rest, "-", 2)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			patch(t, node, first*1024+7*256, bytes.Repeat([]byte("journal?"), 32))
			setState(t, node, 2)
		}, true, volume.Damaged, []string{"e2fsck -p ended with", "make a copy"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			image := volumetest.Image(t, 32)
			b := bench(t, image)
			node := b.Volume.Device.Source
			tc.make(t, node)
			b.Volume.Device.Create = tc.create
			before := digest(t, node)
			c := volume.Claim{Volume: b.Volume, Token: volume.Token{Generation: 1, Revision: 1}}
			_, err := b.Driver.Attach(t.Context(), b.Volume)
			if err == nil {
				err = b.Driver.Stage(t.Context(), c)
			}
			if volume.ReasonOf(err) != tc.reason {
				t.Fatalf("refused for reason %d, want %d: %v", volume.ReasonOf(err), tc.reason, err)
			}
			for _, s := range tc.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q is not in: %v", s, err)
				}
			}
			t.Log(err)
			if _, err := b.Driver.Publish(t.Context(), c); volume.ReasonOf(err) != volume.Unverified {
				t.Errorf("and yet: %v", err)
			}
			if !strings.HasPrefix(tc.name, "damage") && !bytes.Equal(before, digest(t, node)) {
				t.Error("something was written")
			}
		})
	}
}

// A file system that says that it is damaged is repaired when e2fsck does that unasked, and one that does not say so is not
// looked at.
func TestRepair(t *testing.T) {
	volumetest.Root(t)
	t.Parallel()
	b := bench(t, volumetest.Image(t, 32))
	node := b.Volume.Device.Source
	volumetest.Format(t, node)
	setState(t, node, 2) // "errors were found"; nothing is wrong
	sb, err := readSuper(node)
	if err != nil || !sb.NeedsRepair() {
		t.Fatalf("%+v, %v", sb, err)
	}
	c := volume.Claim{Volume: b.Volume, Token: volume.Token{Generation: 1, Revision: 1}}
	if err := b.Driver.Stage(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Driver.Publish(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if sb, err = readSuper(node); err != nil || sb.NeedsRepair() {
		t.Fatalf("%+v, %v", sb, err)
	}
}

// TestAfterAPowerCut: until its journal is replayed, nothing of a file system but its superblock need make sense, and that is no damage.
func TestAfterAPowerCut(t *testing.T) {
	volumetest.Root(t)
	t.Parallel()
	image, cut := volumetest.Image(t, 32), volumetest.Image(t, 32)
	volumetest.Format(t, image)
	dir := t.TempDir()
	volumetest.Run1(t, "mount", "-o", "loop", image, dir) // a device that is gone when it is unmounted: the copy has the same UUID
	put(t, dir+"/"+volume.MarkName, `{"volume": "default/shop/db.1/data"}`)
	if err := os.Mkdir(dir+"/"+volume.DataName, 0o755); err != nil {
		t.Error(err)
	}
	put(t, dir+"/"+volume.DataName+"/kept", "what was acknowledged")
	unix.Sync() // it is in the journal now, and not all of it in its place
	volumetest.Run1(t, "dd", "if="+image, "of="+cut, "bs=1M", "conv=notrunc", "status=none")
	volumetest.Run1(t, "umount", dir)
	out, err := exec.Command("dumpe2fs", cut).CombinedOutput()
	if err != nil {
		t.Fatalf("dumpe2fs: %v: %s", err, out)
	}
	_, rest, _ := strings.Cut(string(out), "Block bitmap at ")
	bitmap, err := strconv.ParseInt(rest[:strings.IndexAny(rest, " ,(\n")], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	patch(t, cut, bitmap*1024, []byte{0x5A, 0xA5})
	if out, _ := exec.Command("debugfs", "-R", "ls -p /", cut).CombinedOutput(); !strings.Contains(string(out), "not open") {
		t.Fatalf("the copy makes sense as it is: %s", out)
	}
	b := bench(t, cut)
	sb, err := readSuper(b.Volume.Device.Source)
	if err != nil || !sb.Replay || sb.NeedsRepair() {
		t.Fatalf("%+v, %v", sb, err)
	}
	c := volume.Claim{Volume: b.Volume, Token: volume.Token{Generation: 1, Revision: 1}}
	if _, err := b.Driver.Attach(t.Context(), b.Volume); err != nil {
		t.Fatal(err)
	}
	if err := b.Driver.Stage(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	at, err := b.Driver.Publish(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(at.Path + "/kept"); err != nil || string(text) != "what was acknowledged" {
		t.Errorf("%q, %v", text, err)
	}
}

// Two devices of one kernel that show the same image stand for two machines that reach the same disk. The kernel waits for
// eleven seconds before it believes that somebody else has it.
func TestTheFileSystemNoticesTheOtherMachine(t *testing.T) {
	volumetest.Root(t)
	t.Parallel()
	image := volumetest.Image(t, 32)
	one, other := bench(t, image), bench(t, image)
	// The other machine sees only its own device: here both are seen, so what finds the second is left out.
	hide := other.Volume.Device.Source
	one.Driver.(*Driver).cfg.Sys = sysWithout(t, hide)
	other.Driver.(*Driver).cfg.Sys = sysWithout(t, one.Volume.Device.Source)
	c := volume.Claim{Volume: one.Volume, Token: volume.Token{Generation: 1, Revision: 1}}
	if err := one.Driver.Stage(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	late := volume.Claim{Volume: other.Volume, Token: volume.Token{Generation: 1, Revision: 2}}
	if err := other.Driver.Stage(t.Context(), late); volume.ReasonOf(err) != volume.Busy {
		t.Fatalf("mounted on both: %v", err)
	} else {
		t.Log(err)
	}
	// A mount that takes longer than anybody waits is not there afterwards either, and its place is taken until then.
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := other.Driver.Stage(ctx, late); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("waiting for a mount: %v", err)
	}
	if err := other.Driver.Unstage(ctx, late); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("unstaged while it is being mounted: %v", err)
	}
	if err := one.Driver.Unstage(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := other.Driver.Unstage(t.Context(), late); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Driver.Publish(t.Context(), late); volume.ReasonOf(err) != volume.Unverified {
		t.Fatalf("published what came late: %v", err)
	}
	if err := other.Driver.Quiet(t.Context(), other.Volume); err != nil {
		t.Fatal(err)
	}
}

// A mount that only another mount namespace has is seen, and so is a device that something merely holds.
func TestQuietSeesOthers(t *testing.T) {
	volumetest.Root(t)
	b := bench(t, volumetest.Image(t, 32))
	node := b.Volume.Device.Source
	volumetest.Format(t, node)
	if err := b.Driver.Quiet(t.Context(), b.Volume); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command("sh", "-c", "mount -t ext4 -- "+node+" "+dir+" && echo mounted && exec cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("mounted\n"))); err != nil {
		t.Fatal(err)
	}
	err = b.Driver.Quiet(t.Context(), b.Volume)
	if volume.ReasonOf(err) != volume.Busy || !strings.Contains(err.Error(), dir) {
		t.Errorf("mounted in another namespace: %v", err)
	}
	t.Log(err)
	if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
		t.Fatal(err)
	}
	if err := b.Driver.Quiet(t.Context(), b.Volume); err != nil {
		t.Fatal(err)
	}
	holder, err := os.OpenFile(node, os.O_RDONLY|unix.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Driver.Quiet(t.Context(), b.Volume); volume.ReasonOf(err) != volume.Busy {
		t.Errorf("held by a process: %v", err)
	}
	if err := holder.Close(); err != nil {
		t.Fatal(err)
	}
}

// patch writes to a device past everything.
func patch(t *testing.T, node string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(node, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(b, at)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func digest(t *testing.T, node string) []byte {
	t.Helper()
	f, err := os.Open(node)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return h.Sum(nil)
}
