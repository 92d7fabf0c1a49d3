package superblock

import (
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// made is the superblock of a file system that mke2fs makes, in a file: no root is needed.
func made(t testing.TB, args ...string) []byte {
	t.Helper()
	program := "/usr/sbin/mke2fs"
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 16<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program, append(append([]string{"-q", "-F"}, args...), path)...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", program, err, out)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b[Offset : Offset+Size]
}

func TestParse(t *testing.T) {
	const id = "0a1b2c3d-0a1b-4c3d-8e5f-0a1b2c3d4e5f"
	for _, tc := range []struct {
		args []string
		want Superblock
	}{
		{[]string{"-t", "ext4", "-U", id, "-L", "shop-data-1", "-O", "mmp", "-E", "mmp_update_interval=1"},
			Superblock{UUID: id, Label: "shop-data-1", Extents: true, Journal: true, MMP: true, MMPInterval: 1, Bytes: 16 << 20, state: 1}},
		{[]string{"-t", "ext4", "-U", id, "-b", "4096", "-L", "sixteen-letters!"},
			Superblock{UUID: id, Label: "sixteen-letters!", Extents: true, Journal: true, Bytes: 16 << 20, state: 1}},
		{[]string{"-t", "ext2", "-U", id, "-L", "caf\xe9"}, Superblock{UUID: id, Bytes: 16 << 20, state: 1}},
	} {
		got, err := Parse(made(t, tc.args...))
		if err != nil || got != tc.want {
			t.Errorf("%v:\n%+v, %v\n%+v", tc.args, got, err, tc.want)
		}
		if got.NeedsRepair() {
			t.Errorf("%v: a new file system asks to be repaired", tc.args)
		}
	}
}

func TestState(t *testing.T) {
	b := made(t, "-t", "ext4")
	for state, repair := range map[uint16]bool{0: true, 1: false, 2: true, 3: true, 5: false} {
		binary.LittleEndian.PutUint16(b[0x3A:], state)
		if sb, err := Parse(b); err != nil || sb.NeedsRepair() != repair {
			t.Errorf("state %d: %+v, %v", state, sb, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	le := binary.LittleEndian
	for name, spoil := range map[string]func(b []byte) []byte{
		"nothing":      func([]byte) []byte { return nil },
		"zeros":        func([]byte) []byte { return make([]byte, Size) },
		"short":        func(b []byte) []byte { return b[:Size-1] },
		"magic":        func(b []byte) []byte { b[0x38]++; return b },
		"a copy":       func(b []byte) []byte { le.PutUint16(b[0x5A:], 3); return b },
		"a journal":    func(b []byte) []byte { b[0x60] |= incompatJournal; return b },
		"no blocks":    func(b []byte) []byte { le.PutUint32(b[4:], 0); le.PutUint32(b[0x150:], 0); return b },
		"large blocks": func(b []byte) []byte { le.PutUint32(b[0x18:], 40); return b },
		"too large":    func(b []byte) []byte { b[0x60] |= incompat64bit; le.PutUint32(b[0x150:], 1<<31); return b },
	} {
		if sb, err := Parse(spoil(made(t, "-t", "ext4"))); !errors.Is(err, ErrOther) {
			t.Errorf("%s: %+v, %v", name, sb, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	b := make([]byte, Size)
	binary.LittleEndian.PutUint16(b[0x38:], magic)
	b[4] = 1
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		sb, err := Parse(b)
		if err == nil && (len(sb.UUID) != 36 || len(sb.Label) > 16 || strconv.Quote(sb.Label) != `"`+sb.Label+`"` && len(sb.Label) == 0) {
			t.Errorf("%+v", sb)
		}
	})
}
