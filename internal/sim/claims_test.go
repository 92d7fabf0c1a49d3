package sim_test

import (
	"strings"
	"testing"
	"time"

	"github.com/argosy-cluster/argosy/internal/claims/guard"
	"github.com/argosy-cluster/argosy/internal/manifest"
	"github.com/argosy-cluster/argosy/internal/sim"
)

// TestMistakesAreFound: who judges shared volumes finds a rule that is broken within a few hundred lives.
func TestMistakesAreFound(t *testing.T) {
	for name, rules := range map[string]sim.Rules{
		// Nothing ends in time, and the watchdog is fed for ever.
		"a guard that ignores its deadline": {Guard: func(s guard.State, now time.Duration, e guard.Event) (guard.State, []guard.Effect) {
			next, effects := guard.Step(s, now, e)
			for i := range next.Claims {
				if c := &next.Claims[i]; c.Leased && c.Phase < guard.Stopping {
					c.Deadline = now + time.Hour
				}
			}
			for i, e := range effects {
				if w, ok := e.(guard.Watchdog); ok && w.On {
					w.Until = now + time.Hour
					effects[i] = w
				}
			}
			return next, effects
		}},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := uint64(1); seed <= 100; seed++ {
				s := sim.NewScenario(sim.Config{Seed: seed, Diff: manifest.Diff, Rules: rules, Guarded: true})
				for _, text := range s.Play() {
					if strings.HasPrefix(text, "one writer (S1)") || strings.HasPrefix(text, "nothing acknowledged is lost: m") {
						t.Logf("seed %d: %s", seed, text)
						return
					}
				}
			}
			t.Error("100 lives with a shared volume do not show it")
		})
	}
}
