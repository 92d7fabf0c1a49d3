package mountinfo

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	const text = `22 26 0:21 / /sys rw,relatime - sysfs sysfs rw
501 27 7:3 / /var/lib/argosy/a\040b rw,nosuid,noatime shared:7 master:2 propagate_from:1 - ext4 /dev/loop3 rw,errors=remount-ro
502 27 0:40 /data /mnt/x\134y ro,relatime - nfs4 server:/export\011x rw,vers=4.2,addr=10.0.0.1
503 27 0:41 / /mnt/empty rw - fuse.x  ro
`
	want := []Mount{
		{22, 26, 0, 21, "/", "/sys", []string{"rw", "relatime"}, []string{"rw"}, "sysfs", "sysfs"},
		{501, 27, 7, 3, "/", "/var/lib/argosy/a b", []string{"rw", "nosuid", "noatime"}, []string{"rw", "errors=remount-ro"}, "ext4", "/dev/loop3"},
		{502, 27, 0, 40, "/data", `/mnt/x\y`, []string{"ro", "relatime"}, []string{"rw", "vers=4.2", "addr=10.0.0.1"}, "nfs4", "server:/export\tx"},
		{503, 27, 0, 41, "/", "/mnt/empty", []string{"rw"}, []string{"ro"}, "fuse.x", ""},
	}
	got, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for i, writable := range []bool{true, true, false, false} {
		if got[i].Writable() != writable {
			t.Errorf("%s: writable %t", got[i].Point, !writable)
		}
	}
	if m, ok := ByID(got, 502); !ok || m.Root != "/data" {
		t.Errorf("%+v, %t", m, ok)
	}
	if _, ok := ByID(got, 7); ok {
		t.Error("a mount that is not there was found")
	}
}

// What is not as the kernel writes it is an error, never a mount less.
func TestParseRefuses(t *testing.T) {
	for _, line := range []string{
		"x", "22 26 0:21 / /sys rw,relatime sysfs sysfs rw", "22 26 0:21 / /sys rw,relatime - sysfs sysfs", "22 26 0:21 / /sys rw - a b c d",
		"-1 26 0:21 / /sys rw - sysfs sysfs rw", "22 x 0:21 / /sys rw - sysfs sysfs rw", "22 26 21 / /sys rw - sysfs sysfs rw", "22 26 0:99999999999 / /sys rw - sysfs sysfs rw",
		"22 26 0:21 / - sysfs sysfs rw rw rw",
	} {
		if m, err := Parse([]byte("22 26 0:21 / /sys rw - sysfs sysfs rw\n" + line + "\n")); err == nil {
			t.Errorf("%q is %+v", line, m)
		}
	}
	if _, err := Parse(make([]byte, MaxSize+1)); err == nil {
		t.Error("read what is too large")
	}
}

// The kernel's own answer is understood.
func TestParseThisMachine(t *testing.T) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if list, err := Parse(text); err != nil || len(list) == 0 {
		t.Errorf("%d mounts, %v", len(list), err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("22 26 0:21 / /sys rw,relatime shared:1 - sysfs sysfs rw\n"))
	f.Add([]byte(`1 2 3:4 \ \04 \1777 - - - -`))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := Parse(text)
		if err != nil && list != nil {
			t.Error("a part of an answer")
		}
		for _, m := range list {
			_ = m.Writable()
		}
	})
}
