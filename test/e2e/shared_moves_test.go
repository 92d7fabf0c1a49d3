//go:build e2e

package e2e

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/argosy-cluster/argosy/test/sharedisk"
)

var moves = flag.Int("moves", 0, "how often TestMoves moves a replica; 0 leaves it out")

// move is what a planned move took.
type move struct {
	// given is from the last write of the old holder, which is that of its unmounting, to the first of the new one, which is that of
	// its mounting; started from there until the container runs.
	given, started time.Duration
}

// TestMoves: a replica that writes a shared volume is moved from machine to machine by drains. What that takes is told: until the next
// machine may begin, and until it has. Nothing is lost on the way, and no two machines write at a time.
func TestMoves(t *testing.T) {
	if *moves == 0 {
		t.Skip("it moves a replica as often as it is told to: make moves ROUNDS=n")
	}
	one := startWriter(t)
	eventually(t, time.Minute, "the replica writes", one.writes)
	t.Cleanup(func() {
		for _, m := range w.cluster.Machines {
			_ = w.run(nil, "machines", "activate", m.Name) // whichever is drained when a move fails
		}
	})
	var all []move
	for n := range *moves {
		holder := one.holder(t)
		before := len(one.disk.Turns())
		argosy(t, "machines", "drain", holder, "--reason", "a move")
		var turns []sharedisk.Turn
		_, err := await(3*time.Minute, func() error { // which asks nobody who has something to do
			if turns = one.disk.Turns(); len(turns) == before {
				return fmt.Errorf("the disk is still %s's", holder)
			}
			return nil
		})
		if err == nil {
			_, err = await(3*time.Minute, one.writes)
		}
		if err != nil {
			t.Fatalf("move %d: %v\n%s", n+1, err, w.run(nil, "explain", "one/w.1").out)
		}
		argosy(t, "machines", "activate", holder)
		if len(turns) != before+1 || turns[before-1].View != holder {
			t.Fatalf("move %d: %+v", n+1, turns[before-1:])
		}
		next := turns[before]
		started, err := startedAt(t, next.View)
		if err != nil {
			t.Fatal(err)
		}
		m := move{next.From.Sub(turns[before-1].To), started.Sub(next.From)}
		t.Logf("move %d: %s to %s: given over in %d ms, and started after %.1f s", n+1, holder, next.View, m.given.Milliseconds(), m.started.Seconds())
		all = append(all, m)
	}
	line := func(of func(move) time.Duration) string {
		slices.SortFunc(all, func(a, b move) int { return int(of(a) - of(b)) })
		at := func(p int) float64 { return of(all[min(len(all)-1, len(all)*p/100)]).Seconds() }
		return fmt.Sprintf("p50 %.2f s, p99 %.2f s, longest %.2f s", at(50), at(99), of(all[len(all)-1]).Seconds())
	}
	t.Logf("%d planned moves: quiet to mount: %s (goal: p99 1 s)", len(all), line(func(m move) time.Duration { return m.given }))
	t.Logf("%d planned moves: mount to start: %s", len(all), line(func(m move) time.Duration { return m.started }))
	t.Log(one.judge(t))
}
