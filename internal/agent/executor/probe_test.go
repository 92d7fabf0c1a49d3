package executor

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
)

// A container is healthy when its check passes, not when its engine gets round to running it: after half a minute, unless said otherwise.
func TestHealthIsKnownSoon(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		works := time.Now().Add(600 * time.Millisecond)
		s.e.checks, s.e.probe = true, func(string) (bool, error) { return !time.Now().Before(works), nil }
		s.x.Act()
		s.x.Assign(true, []*argosyv1.Assignment{replica(1, "a")}, nil)
		s.expect(t, 1, begun)
		time.Sleep(time.Second)
		s.expect(t, 1, ready)
		if n := s.e.count("probe"); n != 2 {
			t.Errorf("its check was run %d times until it passed", n)
		}
		// A listing, in which the engine still knows nothing, changes nothing.
		time.Sleep(3 * time.Minute)
		s.expect(t, 1, ready)
		if n := s.e.count("probe"); n != 2 {
			t.Errorf("its check was run %d times, and passed long ago", n)
		}
		// The engine's verdict counts.
		for id := range s.e.containers {
			s.e.set(id, func(c *core.Container) { c.Health = core.Unhealthy })
		}
		s.expect(t, 1, argosyv1.ReplicaState_REPLICA_STATE_FAILED)
		// What passed in one life says nothing of the next.
		s.e.probe = func(string) (bool, error) { return false, nil }
		for id := range s.e.containers {
			s.e.set(id, func(c *core.Container) { c.State, c.ExitCode, c.FinishedAt = core.Exited, 1, time.Now() })
		}
		time.Sleep(30 * time.Second)
		s.expect(t, 1, begun)
	})
}

// What was healthy stays so when the agent starts anew, although the engine has not run the check yet and it cannot be run here now:
// but only for the life that it was said of, and until the engine has its verdict.
func TestARestartForgetsNoHealth(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.e.checks, s.e.probe = true, func(string) (bool, error) { return true, nil }
		s.x.Act()
		s.x.Assign(true, []*argosyv1.Assignment{replica(1, "a")}, nil)
		time.Sleep(time.Second)
		s.expect(t, 1, ready)
		last := s.x.Observations()
		s.e.probe = func(string) (bool, error) { return false, nil }
		again := func() {
			s.x.Expect(last)
			s.x.Act()
			s.x.Assign(true, []*argosyv1.Assignment{replica(1, "a")}, nil)
		}
		s.restart(again)
		time.Sleep(time.Minute)
		s.expect(t, 1, ready)
		if told := s.told[core.KeyOf(replica(1, "a").GetKey())]; !slices.Equal(told, []argosyv1.ReplicaState{ready}) {
			t.Errorf("it was told as %v", told)
		}
		for id := range s.e.containers {
			s.e.set(id, func(c *core.Container) { c.StartedAt = time.Now() })
		}
		s.restart(again)
		s.expect(t, 1, begun)
		for id := range s.e.containers {
			s.e.set(id, func(c *core.Container) {
				c.StartedAt, c.Health = last[0].GetMembers()[0].GetSince().AsTime(), core.Unhealthy
			})
		}
		s.restart(again)
		s.expect(t, 1, argosyv1.ReplicaState_REPLICA_STATE_FAILED)
	})
}

// A check that does not pass is run now and then, one that cannot be run or hangs once, and none when the engine has its verdict.
func TestChecksAreRunSparingly(t *testing.T) {
	for _, c := range []struct {
		name  string
		probe func(string) (bool, error)
		most  int
	}{
		{"it fails", func(string) (bool, error) { return false, nil }, 12},
		{"it hangs", func(string) (bool, error) { return false, context.DeadlineExceeded }, 1},
		{"it cannot be run", func(string) (bool, error) { return false, errors.New("no such file") }, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, func(t *testing.T, s *stage) {
				s.e.checks, s.e.probe = true, c.probe
				s.x.Act()
				s.x.Assign(true, []*argosyv1.Assignment{replica(1, "a")}, nil)
				time.Sleep(10 * time.Minute)
				s.expect(t, 1, begun)
				if n := s.e.count("probe"); n < 1 || n > c.most {
					t.Errorf("its check was run %d times in ten minutes", n)
				}
				for id := range s.e.containers {
					s.e.set(id, func(c *core.Container) { c.Health = core.Healthy })
				}
				s.expect(t, 1, ready)
				before := s.e.count("probe")
				time.Sleep(time.Hour)
				if n := s.e.count("probe"); n != before {
					t.Errorf("its check was run %d times after the engine's verdict", n-before)
				}
			})
		})
	}
}
