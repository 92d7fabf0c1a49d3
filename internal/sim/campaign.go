package sim

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// Campaign is many scenarios, of one seed after another. Each is played by one goroutine, several at a time.
type Campaign struct {
	// Config is what they have in common; its seed is the first one.
	Config Config
	// Seeds is how many there are to be, 0 for as many as can be played until the context ends.
	Seeds int
	// Workers is how many are played at a time.
	Workers int
	// Done is called after each, with everything so far and what it broke, nil when nothing, by one goroutine at a time. It may
	// be nil.
	Done func(*Result, *Breach)
}

// Result is what came of a campaign.
type Result struct {
	Tally
	// Broken are the scenarios that broke an invariant.
	Broken []Breach
}

// Breach is a scenario that broke an invariant.
type Breach struct {
	Seed uint64
	What []string
	// Tail is the end of what had happened.
	Tail []string
}

// Replay is the command that plays it again.
func (b Breach) Replay() string {
	return fmt.Sprintf("go test ./internal/sim -run TestSim -seed %d -show", b.Seed)
}

// mostBroken is after how many breaches a campaign ends.
const mostBroken = 20

// Run plays until all seeds were played, the context ends, or too much is broken.
func (c Campaign) Run(ctx context.Context) *Result {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var out Result
	var mu sync.Mutex
	var all sync.WaitGroup
	next := c.Config.Seed
	deal := func() (seed uint64, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() != nil || c.Seeds > 0 && next >= c.Config.Seed+uint64(c.Seeds) {
			return 0, false
		}
		next++
		return next - 1, true
	}
	for range max(c.Workers, 1) {
		all.Go(func() {
			for seed, ok := deal(); ok; seed, ok = deal() {
				cfg := c.Config
				cfg.Seed = seed
				s := NewScenario(cfg)
				broken := s.Play()
				mu.Lock()
				out.Add(s.Tally())
				var breach *Breach
				if len(broken) > 0 {
					breach = &Breach{seed, broken, s.Tail()}
					out.Broken = append(out.Broken, *breach)
				}
				if len(out.Broken) >= mostBroken {
					cancel()
				}
				if c.Done != nil {
					c.Done(&out, breach)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return &out
}

const year = 365.25 * 24 * float64(time.Hour)

// String is the result in a line.
func (r *Result) String() string {
	a, b, n := r.Rarest()
	return fmt.Sprintf("%d seeds, %d broken; %.1f virtual machine-years (%.1f days of clusters), %d million events; %d faults of %d kinds, "+
		"each pair at least %d times (%s while %s); shared volumes in %d lives, mounted %d times; machines refused by storage %d times, and %d steps to other sets of servers", r.Seeds, len(r.Broken), float64(r.Machines)/year, r.Time.Hours()/24, r.Events/1000000,
		r.Faults(), faults, n, a, b, r.Guarded, r.Mounts, r.Fenced, r.Sets)
}

// Table writes how often each two faults were in force at once: a line for each, with itself last.
func (t *Tally) Table(to io.Writer) error {
	w := tabwriter.NewWriter(to, 0, 0, 1, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "\tbegan\t")
	for f := range faults {
		fmt.Fprintf(w, "%d\t", f+1)
	}
	fmt.Fprintln(w)
	for f := range faults {
		fmt.Fprintf(w, "%s %d\t%d\t", f, f+1, t.Injected[f])
		for g := range f + 1 {
			fmt.Fprintf(w, "%d\t", t.Pairs[f][g])
		}
		fmt.Fprintln(w, strings.Repeat("\t", int(faults-f-2+1)))
	}
	return w.Flush()
}
