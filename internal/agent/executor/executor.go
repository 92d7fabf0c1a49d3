package executor

import (
	"context"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/agent/docker"
)

// Executor is one machine's executor. Its methods may be called at any time by anybody.
type Executor struct {
	cfg     Config
	creates *lane
	stops   *lane
	removes *lane
	pulls   *lane
	looks   *lane
	probes  *lane
	units   *lane
	present present

	wake chan struct{} // 1: something is dirty

	mu         sync.Mutex
	acting     bool   // steps may be taken
	apart      string // why containers cannot be connected; empty when they can
	engine     *eye
	systemd    *eye // known from the first where there is none
	wanted     map[core.Key]*argosyv1.Assignment
	containers map[string]core.Container
	byKey      map[core.Key]map[string]bool // ids of containers
	events     map[string]uint64            // by container: how often something was heard of it
	sights     uint64                       // how many were taken in
	seenAt     map[string]uint64            // by container: which of them was the last of it
	looking    map[string]bool              // a look is in flight; true: look once more after it
	probing    map[string]time.Time         // by container: the life whose health check is run here
	proved     map[string]time.Time         // by container: the life in which that passed
	doubted    map[string]bool              // by container: it is looked at until its end is known or believed
	memory     core.Memory
	flying     map[core.MemberID]flight
	dirty      map[core.Key]bool
	timers     map[core.Key]*time.Timer
	told       map[core.Key]map[core.ID]*argosyv1.ReplicaObservation
	earlier    map[core.Key][]*argosyv1.ReplicaObservation // until the engine was seen
	ready      chan struct{}                               // closed when everything was told once
	steps      sync.WaitGroup
}

type flight struct {
	step   core.Step
	cancel context.CancelFunc
}

// ends is how many containers may be stopped or removed at once. Engine 20.10 can lock itself up for good when dozens of
// containers end in the same instant; starting that many is what it does well.
const ends = 8

// New makes an Executor that does nothing yet.
func New(cfg Config) *Executor {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Creates == 0 {
		// Two for each processor wait for disks and for the Engine's own locks while a third works. On two idle cores 50 containers take
		// 1.09 times what 'docker run', all at once, takes; with one for each processor it was 1.31 times. Where the cores are busy with
		// something else, six cost a fifth more of their time than two (docs/bench).
		cfg.Creates = 3 * runtime.NumCPU()
	}
	if cfg.Pulls == 0 {
		cfg.Pulls = 3
	}
	if cfg.Resync == 0 {
		cfg.Resync = time.Minute
	}
	x := &Executor{
		cfg: cfg, memory: cfg.Memory,
		creates: newLane(cfg.Creates, 5*time.Second), stops: newLane(ends, time.Second), removes: newLane(ends, 10*time.Second), pulls: newLane(cfg.Pulls, 30*time.Second), looks: newLane(8, 10*time.Second), probes: newLane(4, 10*time.Second),
		units: newLane(startsAtOnce, time.Second), wake: make(chan struct{}, 1),
		engine: &eye{glance: cfg.Engine.Glance, watch: cfg.Engine.Watch, resync: make(chan struct{}, 1),
			blind: "the Docker Engine of this machine does not answer, so nobody knows what runs on it"},
		systemd: &eye{unit: true, known: true, asked: true},
		wanted:  map[core.Key]*argosyv1.Assignment{}, containers: map[string]core.Container{}, byKey: map[core.Key]map[string]bool{},
		events: map[string]uint64{}, seenAt: map[string]uint64{}, looking: map[string]bool{}, probing: map[string]time.Time{}, proved: map[string]time.Time{}, doubted: map[string]bool{}, flying: map[core.MemberID]flight{}, dirty: map[core.Key]bool{},
		earlier: map[core.Key][]*argosyv1.ReplicaObservation{}, ready: make(chan struct{}),
		timers: map[core.Key]*time.Timer{}, told: map[core.Key]map[core.ID]*argosyv1.ReplicaObservation{},
	}
	if cfg.Units != nil {
		x.systemd = &eye{unit: true, watch: cfg.Units.Watch, resync: make(chan struct{}, 1),
			blind: "systemd on this machine does not answer, so nobody knows what its units do",
			glance: func(ctx context.Context) ([]docker.Glimpse, error) {
				list, err := cfg.Units.Glance(ctx)
				out := make([]docker.Glimpse, len(list))
				for i, g := range list {
					out[i] = docker.Glimpse{ContainerID: g.ID, State: g.State, Health: g.Health}
				}
				return out, err
			}}
	}
	return x
}

// startsAtOnce is how many jobs of systemd are waited for at once. It has an order of its own for them.
const startsAtOnce = 64

// Assign takes in what is wanted: a full set replaces everything, otherwise removed is forgotten and set added.
func (x *Executor) Assign(full bool, set []*argosyv1.Assignment, removed []*argosyv1.ReplicaKey) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if full {
		for k := range x.wanted {
			x.dirty[k] = true
		}
		clear(x.wanted)
		if !x.memory.Complete {
			x.memory.Complete = true
			for k := range x.byKey {
				x.dirty[k] = true
			}
		}
	}
	for _, k := range removed {
		delete(x.wanted, core.KeyOf(k))
		x.dirty[core.KeyOf(k)] = true
	}
	for _, a := range set {
		k := core.KeyOf(a.GetKey())
		x.wanted[k] = a
		x.dirty[k] = true
	}
	x.kick()
}

// Act lets steps be taken from now on. Until then the executor only looks.
func (x *Executor) Act() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.acting {
		return
	}
	x.acting = true
	x.everything()
}

// Connect says why containers cannot be connected, so that none is started, or with an empty text that they can be.
func (x *Executor) Connect(trouble string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.apart == trouble {
		return
	}
	x.apart = trouble
	x.everything()
}

// everything marks all groups dirty.
func (x *Executor) everything() {
	for k := range x.wanted {
		x.dirty[k] = true
	}
	for k := range x.byKey {
		x.dirty[k] = true
	}
	for k := range x.told {
		x.dirty[k] = true
	}
	for k := range x.earlier {
		x.dirty[k] = true
	}
	if x.cfg.Storage != nil {
		for _, k := range x.cfg.Storage.Keys() {
			x.dirty[k] = true
		}
	}
	x.kick()
}

// Claimed notes that something about a replica's claims changed, or with the zero Key something about the machine's guard.
func (x *Executor) Claimed(k core.Key) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if k == (core.Key{}) {
		x.everything()
		return
	}
	x.dirty[k] = true
	x.kick()
}

// Ready is closed once the engine was asked and everything that it showed was told.
func (x *Executor) Ready() <-chan struct{} { return x.ready }

func (x *Executor) kick() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// Run works until ctx ends, then waits for the steps under way to be broken off. It touches no container on the way out.
func (x *Executor) Run(ctx context.Context) {
	defer x.steps.Wait()
	if x.cfg.Processes != nil {
		x.steps.Add(1)
		go func() {
			defer x.steps.Done()
			x.watchProcesses(ctx)
		}()
	}
	for _, e := range []*eye{x.engine, x.systemd} {
		if e.watch == nil {
			continue
		}
		x.steps.Add(1)
		go func() {
			defer x.steps.Done()
			x.watch(ctx, e)
		}()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-x.wake:
		}
		for {
			k, ok := x.next()
			if !ok {
				break
			}
			x.settle(ctx, k)
		}
	}
}

func (x *Executor) next() (core.Key, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for k := range x.dirty {
		delete(x.dirty, k)
		return k, true
	}
	if x.engine.asked && x.systemd.asked {
		select {
		case <-x.ready:
		default:
			close(x.ready)
		}
	}
	return core.Key{}, false
}

// settle decides for one group and sets its steps going.
func (x *Executor) settle(ctx context.Context, k core.Key) {
	now := time.Now()
	x.mu.Lock()
	if !x.engine.asked || !x.systemd.asked { // the first answer marks everything dirty
		x.mu.Unlock()
		return
	}
	wanted, seen := x.group(k)
	var steps []core.Step
	var told []core.ClaimStep
	if x.acting {
		steps = core.Decide(now, wanted, seen, x.memory)
		told = core.Claims(wanted, seen, x.memory)
	}
	var wakeAt time.Time
	for _, s := range steps {
		if s.Kind == core.Wait {
			if !s.At.IsZero() && (wakeAt.IsZero() || s.At.Before(wakeAt)) {
				wakeAt = s.At
			}
			continue
		}
		x.launch(ctx, now, s)
	}
	for id, f := range x.flying {
		if id.Key == k && core.Obsolete(f.step, wanted) {
			f.cancel()
		}
	}
	x.wakeUp(k, now, wakeAt)
	x.probe(ctx, k)
	changes := x.differences(now, k, wanted, seen)
	x.mu.Unlock()

	for _, s := range told {
		x.cfg.Log.Debug("guard", "tell", s.Kind.String(), "replica", s.Key.String(), "volume", s.Volume, "token", s.Token.String(), "because", s.Reason)
		x.cfg.Storage.Do(s)
	}
	for _, c := range changes {
		if x.cfg.Changed != nil {
			x.cfg.Changed(c[0], c[1])
		}
	}
}

func (x *Executor) group(k core.Key) ([]*argosyv1.Assignment, core.Seen) {
	var wanted []*argosyv1.Assignment
	if a := x.wanted[k]; a != nil {
		wanted = append(wanted, a)
	}
	seen := core.Seen{Known: x.engine.known, Trouble: x.engine.trouble, UnitsUnknown: !x.systemd.known, UnitsTrouble: x.systemd.trouble}
	seen.Unconnected = x.apart
	seen.Unguarded = "this agent was started without one"
	if x.cfg.Storage != nil {
		seen.Claims, seen.Unguarded = x.cfg.Storage.Claims(k)
	}
	for _, id := range slices.Sorted(maps.Keys(x.byKey[k])) {
		seen.Containers = append(seen.Containers, x.containers[id])
	}
	return wanted, seen
}

func (x *Executor) wakeUp(k core.Key, now, at time.Time) {
	if t := x.timers[k]; t != nil {
		t.Stop()
		delete(x.timers, k)
	}
	if at.IsZero() {
		return
	}
	x.timers[k] = time.AfterFunc(at.Sub(now), func() { x.mark(k) })
}

func (x *Executor) mark(k core.Key) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.dirty[k] = true
	x.kick()
}
