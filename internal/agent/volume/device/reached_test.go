package device

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/argosy-cluster/argosy/internal/agent/volume/volumetest"
)

func TestReached(t *testing.T) {
	volumetest.Root(t)
	label := randomText(t)
	node := volumetest.Loop(t, volumetest.Image(t, 8), false)
	volumetest.Format(t, node, "-L", label, "-U", "6f1c7a52-0d2b-4a55-9f2e-3b1d0e8c4a11")
	names, err := Reached(Config{Base: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{node, "LABEL=" + label, "UUID=6f1c7a52-0d2b-4a55-9f2e-3b1d0e8c4a11"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not among %v", want, names)
		}
	}
	if !slices.IsSorted(names) {
		t.Error("they are in no order")
	}
}

// TestStamp: what was named or unnamed shows, in directories that come and go as well.
func TestStamp(t *testing.T) {
	dir := t.TempDir()
	dirs := []string{dir, filepath.Join(dir, "by-id")}
	before := stamp(dirs)
	changed := func(what string, act func() error) {
		t.Helper()
		if stamp(dirs) != before {
			t.Errorf("nothing changed before %s, and it is another one", what)
		}
		if err := act(); err != nil {
			t.Fatal(err)
		}
		now := stamp(dirs)
		if now == before {
			t.Errorf("%s does not show", what)
		}
		before = now
	}
	changed("a node", func() error { return os.WriteFile(filepath.Join(dir, "sdb"), nil, 0o600) })
	changed("a directory", func() error { return os.Mkdir(dirs[1], 0o700) })
	changed("a link", func() error { return os.Symlink("../sdb", filepath.Join(dirs[1], "disk")) })
	changed("its end", func() error { return os.Remove(filepath.Join(dirs[1], "disk")) })
}
