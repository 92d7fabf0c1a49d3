package host

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestCodeOf(t *testing.T) {
	const maps = `00400000-01440000 r-xp 00000000 00:25f 1302648                            /usr/local/bin/argosy
01440000-02811000 r--p 01040000 00:25f 1302648                            /usr/local/bin/argosy
02811000-02915000 rw-p 02411000 00:25f 1302648                            /usr/local/bin/argosy
02915000-04b8a000 rw-p 00000000 00:00 0
7f55a5a78000-7f55a5ab8000 r--s 00000000 fe:00 992176                      /var/lib/argosy/agent/agent.db
7f55ec9a0000-7f55ec9a2000 r-xp 00000000 00:00 0                           [vdso]
x-y r-xp 00000000 00:25f 1302648                                          /usr/local/bin/argosy
`
	want := []span{{0x400000, 0x1440000}, {0x1440000, 0x2811000}}
	if got := codeOf(maps, "/usr/local/bin/argosy"); !slices.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
	// An executable that an upgrade replaced is named so in both places.
	if got := codeOf("00400000-01440000 r-xp 00000000 00:25f 1 /a b (deleted)\n", "/a b (deleted)"); len(got) != 1 {
		t.Errorf("got %x", got)
	}
}

func TestReleaseCode(t *testing.T) {
	before := residentFile(t)
	if err := ReleaseCode(); err != nil {
		t.Fatal(err)
	}
	// The code that is used now is back already, and this test goes on running it.
	if after := residentFile(t); after >= before {
		t.Errorf("%d KiB of files were resident before and %d are after", before, after)
	}
}

func residentFile(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "RssFile:"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("the kernel does not say what is resident")
	return 0
}
