package sim

import (
	"container/heap"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/store/memory"
)

// Config says what a world is like.
type Config struct {
	Seed uint64
	// Trace receives a line for everything that happens; it may be nil.
	Trace io.Writer
	// Diff is what plans say of specs; it may be nil.
	Diff func(before, after *argosyv1.AppSpec) []string
	// Calm takes all chance out of delays, for transcripts.
	Calm bool
	// Guarded: it has shared volumes, whatever its seed says.
	Guarded bool
	// Rules may have mistakes.
	Rules Rules
}

// World is a cluster in virtual time.
type World struct {
	cfg    Config
	now    time.Time
	start  time.Time
	rng    *rand.Rand
	events events
	serial uint64

	store    *memory.Store
	servers  []*server
	leader   *leaderProcess   // who leads as far as clients can tell; nil when nobody does
	term     int64            // of the store, the last that began
	reigns   []*leaderProcess // all that believe that they lead, w.leader among them
	machines []*Machine
	troubles []*trouble
	force    [faults]int // faults of everything that are in force
	acked    acked
	// guarded: there are witnesses, guards and shared volumes; profile is their timing, shared what is where.
	guarded bool
	profile claims.Profile
	shared  map[string]*sharedDisk
	tally   Tally
	// commits are transactions that changed the store, messages those between machines and leaders that are no beats.
	commits, messages int
	digest            uint64
	tail              []string
	broken            []string
	ids               int
}

// event happens at an instant; those of one instant in the order they were made.
type event struct {
	at     time.Time
	serial uint64
	do     func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	if !e[i].at.Equal(e[j].at) {
		return e[i].at.Before(e[j].at)
	}
	return e[i].serial < e[j].serial
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	last := old[len(old)-1]
	*e = old[:len(old)-1]
	return last
}

// New makes a world with an empty store and no leader yet.
func New(cfg Config) *World {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	w := &World{cfg: cfg, now: start, start: start, rng: rand.New(rand.NewPCG(cfg.Seed, 0x61726773)), store: memory.New(),
		acked: newAcked(), digest: fnv.New64a().Sum64()}
	for _, name := range []string{"s1", "s2", "s3"} {
		w.servers = append(w.servers, &server{w: w, name: name, clock: w.newClock(), heard: start})
	}
	return w
}

// Now is the instant.
func (w *World) Now() time.Time { return w.now }

// Since is the time since the world began.
func (w *World) Since() time.Duration { return w.now.Sub(w.start) }

// after has something happen after a while.
func (w *World) after(d time.Duration, do func()) {
	w.serial++
	heap.Push(&w.events, event{w.now.Add(max(d, 0)), w.serial, do})
}

// Run lets time pass.
func (w *World) Run(d time.Duration) {
	end := w.now.Add(d)
	for len(w.events) > 0 && !w.events[0].at.After(end) && len(w.broken) == 0 {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		w.tally.Events++
		e.do()
	}
	w.now = end
}

// chance reports whether something of a probability happens.
func (w *World) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

// span is a time between two bounds; the lower one when calm.
func (w *World) span(from, to time.Duration) time.Duration {
	if w.cfg.Calm || to <= from {
		return from
	}
	return from + time.Duration(w.rng.Int64N(int64(to-from)))
}

// id makes an id that no other thing has.
func (w *World) id(prefix string) string {
	w.ids++
	return fmt.Sprintf("%s%04d", prefix, w.ids)
}

// tailLines is how much of the trace is kept to be shown with a fault.
const tailLines = 120

// trace notes what happens.
func (w *World) trace(format string, args ...any) {
	line := fmt.Sprintf("%9.3fs %s", w.Since().Seconds(), fmt.Sprintf(format, args...))
	h := fnv.New64a()
	fmt.Fprintf(h, "%d\n%s", w.digest, line)
	w.digest = h.Sum64()
	if len(w.tail) >= tailLines {
		w.tail = w.tail[1:]
	}
	w.tail = append(w.tail, line)
	if w.cfg.Trace != nil {
		fmt.Fprintln(w.cfg.Trace, line)
	}
}

// Digest identifies everything that happened so far.
func (w *World) Digest() uint64 { return w.digest }

// Tail is the end of the trace.
func (w *World) Tail() []string { return w.tail }

// violate notes that an invariant is broken; the world stops.
func (w *World) violate(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.trace("VIOLATED %s", text)
	w.broken = append(w.broken, text)
}

// Broken lists the invariants that were seen broken.
func (w *World) Broken() []string { return w.broken }
