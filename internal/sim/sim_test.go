package sim_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/argosy-cluster/argosy/internal/manifest"
	"github.com/argosy-cluster/argosy/internal/sim"
)

var (
	seed    = flag.Uint64("seed", 0, "run this scenario alone")
	simTime = flag.Duration("simtime", 5*time.Second, "run scenarios for this long")
	trace   = flag.Bool("show", false, "print everything that happens")
)

// TestSim plays scenarios until its time is up, or the one that -seed names.
func TestSim(t *testing.T) {
	if *seed != 0 {
		play(t, *seed)
		return
	}
	begin, virtual, n := time.Now(), time.Duration(0), uint64(1)
	for ; time.Since(begin) < *simTime && !t.Failed(); n++ {
		virtual += play(t, n)
	}
	t.Logf("%d scenarios, %s of virtual time", n-1, virtual.Round(time.Second))
}

func play(t *testing.T, seed uint64) time.Duration {
	cfg := sim.Config{Seed: seed, Diff: manifest.Diff}
	if *trace {
		cfg.Trace = os.Stdout
	}
	s := sim.NewScenario(cfg)
	if broken := s.Play(); len(broken) > 0 {
		t.Errorf("seed %d: %s\n\n%s\n\nreplay: go test ./internal/sim -run TestSim -seed %d -show", seed, strings.Join(broken, "\n"),
			strings.Join(s.Tail(), "\n"), seed)
	}
	return s.Since()
}

// TestDeterminism: the same seed gives the same trace, to the letter.
func TestDeterminism(t *testing.T) {
	for seed := uint64(1); seed <= 10; seed++ {
		var digests [2]string
		for i := range digests {
			s := sim.NewScenario(sim.Config{Seed: seed})
			s.Play()
			digests[i] = fmt.Sprintf("%x", s.Digest())
		}
		if digests[0] != digests[1] {
			t.Errorf("seed %d: two runs differ: %s and %s", seed, digests[0], digests[1])
		}
	}
}
