package volumetest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Root skips a test that cannot be run without root.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it mounts file systems through loop devices")
	}
}

// Image makes an empty file to be seen as a device.
func Image(t testing.TB, mib int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(mib<<20), f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// Copy copies an image, sparse as it is.
func Copy(t testing.TB, image string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	Run1(t, "cp", "--sparse=always", image, to)
	return to
}

// Run1 runs a program that has to succeed.
func Run1(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// Format puts an ext4 file system with multi-mount protection on a device.
func Format(t testing.TB, node string, more ...string) {
	t.Helper()
	Run1(t, "mke2fs", slices.Concat([]string{"-q", "-F", "-t", "ext4", "-O", "mmp", "-E", "mmp_update_interval=1"}, more, []string{"--", node})...)
}

// Loop shows an image as a block device, until the test ends or Detach is called.
func Loop(t testing.TB, image string, readOnly bool) string {
	t.Helper()
	flags := os.O_RDWR
	if readOnly {
		flags = os.O_RDONLY
	}
	file, err := os.OpenFile(image, flags, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Fatalf("this machine has no loop devices: %v", err)
	}
	defer control.Close()
	// Others take loop devices, too: the one that was free may be taken by now.
	for range 100 {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			t.Fatalf("get a loop device: %v", err)
		}
		node := fmt.Sprintf("/dev/loop%d", n)
		if err := configure(node, file, readOnly); errors.Is(err, unix.EBUSY) {
			continue
		} else if err != nil {
			t.Fatalf("make a loop device: %v", err)
		}
		t.Cleanup(func() { Detach(t, node, image) })
		return node
	}
	t.Fatal("no loop device stays free for long enough")
	return ""
}

func configure(node string, file *os.File, readOnly bool) error {
	loop, err := os.OpenFile(node, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer loop.Close()
	cfg := unix.LoopConfig{Fd: uint32(file.Fd())}
	copy(cfg.Info.File_name[:], file.Name())
	if readOnly {
		cfg.Info.Flags = unix.LO_FLAGS_READ_ONLY
	}
	return unix.IoctlLoopConfigure(int(loop.Fd()), &cfg)
}

// Detach takes a loop device away, if it still shows that image.
func Detach(t testing.TB, node, image string) {
	t.Helper()
	loop, err := os.OpenFile(node, os.O_RDWR, 0)
	if err != nil {
		t.Errorf("take %s away: %v", node, err)
		return
	}
	defer loop.Close()
	info, err := unix.IoctlLoopGetStatus64(int(loop.Fd()))
	if errors.Is(err, unix.ENXIO) {
		return
	}
	var st unix.Stat_t
	if err := errors.Join(err, unix.Stat(image, &st)); err != nil {
		t.Errorf("take %s away: %v", node, err)
		return
	}
	if info.Device != st.Dev || info.Inode != st.Ino {
		return // it is somebody else's by now
	}
	if err := unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_CLR_FD, 0); err != nil && !errors.Is(err, unix.ENXIO) {
		t.Errorf("take %s away: %v", node, err)
	}
}

// Base is a directory to mount volumes in. Whatever is still mounted below it when the test ends is unmounted.
func Base(t testing.TB) string {
	t.Helper()
	base := t.TempDir()
	t.Cleanup(func() {
		text, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Error(err)
		}
		lines := strings.Split(string(text), "\n")
		slices.Reverse(lines)
		for _, line := range lines {
			if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], base+"/") {
				if err := unix.Unmount(f[4], 0); err != nil {
					// What is mounted in it must not be emptied together with the directory.
					t.Errorf("unmount %s: %v, %v", f[4], err, unix.Unmount(f[4], unix.MNT_DETACH))
				}
			}
		}
	})
	return base
}

// Unmount unmounts what nothing uses. A process that was just forked, here or by an Engine, has files and mounts of its parent until it
// is another program.
func Unmount(dir string) error {
	for limit := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if err := unix.Unmount(dir, 0); !errors.Is(err, unix.EBUSY) || time.Now().After(limit) {
			return err
		}
	}
}
