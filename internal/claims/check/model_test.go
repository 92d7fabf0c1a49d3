package check

import (
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/argosy-cluster/argosy/internal/claims/guard"
)

var (
	states  = flag.Int("states", 600, "explore each scenario up to this many states")
	lives   = flag.Int("lives", 25, "lives to play with everything that can happen")
	seed    = flag.Uint64("seed", 1, "of those lives")
	only    = flag.String("only", "", "only scenarios and mutants whose name contains this")
	tell    = flag.Bool("tell", false, "tell how each mutant is found, in as few choices as any")
	judging = flag.String("judge", "", "judge only this invariant, S1 for example")
)

// enough is what finds every mutant; more is given to those that are judged by one invariant.
const enough = 30000

// TestModel is S1 to S11 over the functions as they are.
func TestModel(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	total, begun := 0, time.Now()
	for _, s := range Scenarios() {
		if !strings.Contains(s.Name, *only) {
			continue
		}
		r := Explore(s, nil, *states, *judging)
		total += r.States
		t.Log(r.Tell())
		if r.Broken != "" {
			t.Fail()
		}
		runtime.GC() // what the next one is given
	}
	t.Logf("%d states in %v", total, time.Since(begun).Round(time.Second))
}

// TestLives plays what is too deep to be explored.
func TestLives(t *testing.T) {
	if *only != "" && !strings.Contains("long lives, everything", *only) {
		t.Skip("not asked for with -only")
	}
	var all Seen
	for _, name := range []string{"long lives", "everything"} {
		if !strings.Contains(name, *only) {
			continue
		}
		begun := time.Now()
		r := Walk(Named(name), nil, *seed, *lives, 400)
		t.Logf("%s; %d lives, %d choices, %v; worlds with %+v", r.Tell(), *lives, r.Choices, time.Since(begun).Round(time.Second), r.Seen)
		if r.Broken != "" {
			t.Fail()
		}
		all.add(r.Seen)
	}
	if all.Armed == 0 || all.SecondArmed == 0 || all.Reset == 0 || all.Sealed == 0 || all.Silent == 0 || *only == "" && all.Joint == 0 {
		t.Errorf("something worth trying never came about: %+v", all)
	}
}

func TestMutants(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	names, found := map[string]bool{}, 0
	bound := enough
	if *judging != "" {
		bound = max(enough, *states)
	}
	for _, m := range Mutants() {
		if names[m.Name] {
			t.Errorf("%s is there twice", m.Name)
		}
		names[m.Name] = true
		if !strings.Contains(m.Name, *only) && !strings.Contains(m.Scenario, *only) {
			continue
		}
		r := Explore(Named(m.Scenario), &m, bound, *judging)
		if r.Broken == "" {
			t.Errorf("%s: not found among %d states of %s", m.Name, r.States, m.Scenario)
			continue
		}
		found++
		invariant, _, _ := strings.Cut(r.Broken, ":")
		t.Logf("%-62s %-4s after %2d choices, %5d states of %q", m.Name, invariant, r.Depth, r.States, m.Scenario)
		if *tell {
			t.Log(fmt.Sprint("\n    ", strings.Join(r.Story, "\n    ")))
		}
	}
	t.Logf("%d mistakes found", found)
}

// What a watchdog is for: without one, a guard that is killed at the deadline resets nothing. SINGLE-WRITER.md says so.
func TestWithoutAWatchdogAGuardMustNotDie(t *testing.T) {
	s := Named("no watchdog")
	s.Slow, s.Busy, s.Kills = 2, 0, 1 // what is killed need not be quiet yet when time passes
	for watchdog, broken := range map[bool]bool{false: true, true: false} {
		s.Watchdog = watchdog
		if r := Explore(s, nil, enough, "S1"); (r.Broken != "") != broken {
			t.Errorf("with a watchdog: %v\n%s", watchdog, r.Tell())
		}
	}
}

// The same states, in the same order, every time.
func TestDeterminism(t *testing.T) {
	for _, name := range []string{"late messages", "power"} {
		a, b := Explore(Named(name), nil, 400, ""), Explore(Named(name), nil, 400, "")
		if a.Tell() != b.Tell() || a.Choices != b.Choices || a.Seen != b.Seen {
			t.Errorf("%s:\n%s\n%s", name, a.Tell(), b.Tell())
		}
	}
	a, b := Walk(Named("everything"), nil, 7, 3, 100), Walk(Named("everything"), nil, 7, 3, 100)
	if a.Tell() != b.Tell() || a.Choices != b.Choices {
		t.Errorf("%s\n%s", a.Tell(), b.Tell())
	}
}

// Nothing that goes wrong: a claim that is given back is elsewhere at once, and one whose machine loses power after W.
func TestNothingGoesWrong(t *testing.T) {
	s := Named("cut off")
	armed := func(w *World, m int) bool {
		for _, sl := range w.Machines[m].Slots {
			if sl.Gate.Runs() && sl.Live {
				return true
			}
		}
		return false
	}
	play := func(first func(w *World)) time.Duration {
		w := New(&s, nil)
		w.Left = Budget{Grants: 1, Releases: 1, Power: 1, Ticks: 20}
		w.choose = func(n int) int { return 0 } // whatever is urgent, and then that time passes
		w.Left.Grants = 0
		first(w)
		w.Left = Budget{Grants: 1, Ticks: 20}
		begun := w.Time
		w.grant(1)
		w.Left.Grants = 0
		for !armed(w, 1) && w.broken == "" {
			w.Step()
		}
		if w.broken != "" {
			t.Errorf("%s", w.broken)
		}
		return w.Time - begun
	}
	if ticks := play(func(w *World) { w.boot(0) }); ticks > 5 { // W is four ticks; a round begins every tick
		t.Errorf("after a power cut it took %d ticks", ticks)
	}
	if ticks := play(func(w *World) {
		w.guard(0, guard.Release{Claim: claim, Token: w.theClaim(0).Token})
		w.guard(0, guard.Stopped{Claim: claim, Token: w.theClaim(0).Token})
		for len(w.Machines[0].Orders) > 0 {
			w.actuate(0)
		}
	}); ticks > 0 {
		t.Errorf("after a release it took %d ticks", ticks)
	}
}
