package device

import (
	"crypto/rand"
	"encoding/binary"
	"hash/crc32"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/argosy-cluster/argosy/internal/agent/volume/volumetest"
)

func randomText(t *testing.T) string {
	t.Helper()
	return rand.Text()[:12]
}

// withMounted does something to what is on a device, as an administrator would.
func withMounted(t *testing.T, node string, do func(dir string)) {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount(node, dir, "ext4", 0, ""); err != nil {
		t.Fatalf("mount %s: %v", node, err)
	}
	defer func() {
		if err := volumetest.Unmount(dir); err != nil {
			t.Errorf("unmount %s: %v", node, err)
		}
	}()
	do(dir)
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// sysWithout is a view of /sys/class/block in which a device is not.
func sysWithout(t *testing.T, node string) string {
	t.Helper()
	dir := t.TempDir()
	names, err := os.ReadDir("/sys/class/block")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if "/dev/"+n.Name() == node {
			continue
		}
		if err := os.Symlink("/sys/class/block/"+n.Name(), dir+"/"+n.Name()); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// setState changes what a file system says of its state, with the checksum of the superblock.
func setState(t *testing.T, node string, state uint16) {
	t.Helper()
	f, err := os.Open(node)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1024)
	if _, err := f.ReadAt(b, 1024); err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint16(b[0x3A:], state)
	binary.LittleEndian.PutUint32(b[0x3FC:], ^crc32.Checksum(b[:0x3FC], crc32.MakeTable(crc32.Castagnoli)))
	patch(t, node, 1024, b)
}
