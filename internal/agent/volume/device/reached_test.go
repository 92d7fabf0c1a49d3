package device

import (
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
