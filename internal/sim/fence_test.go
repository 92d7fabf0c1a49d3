package sim_test

import (
	"testing"

	"github.com/argosy-cluster/argosy/internal/manifest"
	"github.com/argosy-cluster/argosy/internal/sim"
)

// TestFences plays lives whose volumes all are shared, and sees that storage refuses machines in them.
func TestFences(t *testing.T) {
	all := sim.Tally{}
	for seed := uint64(1); seed <= 60; seed++ {
		s := sim.NewScenario(sim.Config{Seed: seed, Diff: manifest.Diff, Guarded: true})
		for _, text := range s.Play() {
			t.Errorf("seed %d: %s", seed, text)
		}
		all.Add(s.Tally())
	}
	t.Logf("storage was mounted %d times, and refused machines %d times", all.Mounts, all.Fenced)
	if all.Fenced == 0 {
		t.Error("no storage refused a machine")
	}
}
