package host

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMemTotal(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "proc"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got := Root(dir).memTotal(); got != 0 {
		t.Errorf("without a file: got %d", got)
	}
	for content, want := range map[string]int64{
		"MemFree: 1 kB\nMemTotal:       16384 kB\n": 16 << 20, "MemTotal: -1 kB": 0, "MemTotal: x": 0, "": 0, "MemTotal: 99999999999999999999 kB": 0,
	} {
		if err := os.WriteFile(filepath.Join(dir, "proc/meminfo"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := Root(dir).memTotal(); got != want {
			t.Errorf("%q: got %d, want %d", content, got, want)
		}
	}
}
