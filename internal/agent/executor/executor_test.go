package executor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/agent/docker"
)

// twin is an engine in memory, in the bubble's time.
type twin struct {
	mu         sync.Mutex
	containers map[string]core.Container
	next       int
	lost       bool
	mute       bool          // events are lost
	hung       bool          // nothing is answered, and nothing refused
	wrong      time.Duration // how far its clock is ahead
	changed    func(string)
	broken     chan struct{} // closed when the stream of events breaks
	pull       func(ctx context.Context, image string) error
	calls      map[string]int
	pids       bool                                 // what runs has a process
	checks     bool                                 // containers have a health check, of which the engine knows nothing yet
	probe      func(container string) (bool, error) // runs one
}

func newTwin() *twin {
	return &twin{containers: map[string]core.Container{}, broken: make(chan struct{}), calls: map[string]int{}, pull: func(context.Context, string) error { return nil }}
}

var errLost = errors.New("the engine does not answer")

func (e *twin) call(name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls[name]++
	if e.lost {
		return errLost
	}
	return nil
}

func (e *twin) count(name string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.calls[name]
}

func (e *twin) Ping(ctx context.Context) error {
	if err := e.hang(ctx); err != nil {
		return err
	}
	return e.call("ping")
}

// hang lasts as long as the caller has patience, while the engine hangs.
func (e *twin) hang(ctx context.Context) error {
	e.mu.Lock()
	hung := e.hung
	e.mu.Unlock()
	if !hung {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (e *twin) Glance(ctx context.Context) ([]docker.Glimpse, error) {
	if err := e.hang(ctx); err != nil {
		return nil, err
	}
	if err := e.call("glance"); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []docker.Glimpse
	for id, c := range e.containers {
		list = append(list, docker.Glimpse{ContainerID: id, State: c.State, Health: c.Health})
	}
	return list, nil
}

func (e *twin) Look(_ context.Context, id string) (core.Container, error) {
	if err := e.call("look"); err != nil {
		return core.Container{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c, ok := e.containers[id]
	if !ok {
		return core.Container{}, &core.Fault{Kind: core.FaultGone, Message: "gone"}
	}
	return c, nil
}

func (e *twin) Watch(ctx context.Context, ready func(), changed func(string)) error {
	if err := e.call("watch"); err != nil {
		return err
	}
	e.mu.Lock()
	e.changed = changed
	broken := e.broken
	e.mu.Unlock()
	ready()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-broken:
		return errors.New("the stream of events broke")
	}
}

// set changes a container and says so, unless events are lost.
func (e *twin) set(id string, f func(*core.Container)) {
	e.mu.Lock()
	c := e.containers[id]
	f(&c)
	e.containers[id] = c
	tell, mute := e.changed, e.mute
	e.mu.Unlock()
	if tell != nil && !mute {
		tell(id)
	}
}

// now is what its clock shows. The caller holds the lock.
func (e *twin) now() time.Time { return time.Now().Add(e.wrong) }

func (e *twin) lose(lost bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lost = lost
	if lost {
		close(e.broken)
		e.broken = make(chan struct{})
	}
}

func (e *twin) HaveImage(_ context.Context, _ *argosyv1.Assignment, spec *argosyv1.ContainerSpec) (docker.Image, bool, error) {
	return docker.Image{Reference: spec.GetImage()}, false, e.call("have")
}

func (e *twin) PullImage(ctx context.Context, _ *argosyv1.Assignment, spec *argosyv1.ContainerSpec, _ func(string)) (docker.Image, error) {
	if err := e.call("pull"); err != nil {
		return docker.Image{}, err
	}
	return docker.Image{Reference: spec.GetImage()}, e.pull(ctx, spec.GetImage())
}

func (e *twin) EnsureVolumes(context.Context, *argosyv1.Assignment, *argosyv1.ContainerSpec) error {
	return e.call("volumes")
}

func (e *twin) Create(_ context.Context, c docker.Creation) (string, error) {
	if err := e.call("create"); err != nil {
		return "", err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.next++
	id := fmt.Sprintf("%04x", e.next)
	e.containers[id] = core.Container{ContainerID: id, Owner: core.IDOf(c.Assignment), Member: c.Spec.GetName(), Definition: c.Definition, State: core.Created, CreatedAt: time.Now(), Revision: c.Assignment.GetRevision()}
	return id, nil
}

func (e *twin) Start(_ context.Context, id string) error {
	if err := e.call("start"); err != nil {
		return err
	}
	e.set(id, func(c *core.Container) {
		if c.State, c.StartedAt = core.Running, e.now(); e.checks {
			c.Health = core.CheckStarting
		}
		if e.pids {
			c.PID = 4711
		}
	})
	return nil
}

func (e *twin) Probe(_ context.Context, id string) (bool, error) {
	if err := e.call("probe"); err != nil {
		return false, err
	}
	return e.probe(id)
}

func (e *twin) Stop(_ context.Context, id string, _ time.Duration) error {
	if err := e.call("stop"); err != nil {
		return err
	}
	e.set(id, func(c *core.Container) { c.State, c.FinishedAt = core.Exited, e.now() })
	return nil
}

func (e *twin) Remove(_ context.Context, id string, force bool) error {
	if err := e.call("remove"); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.containers[id].Alive() && !force {
		return errors.New("it is running")
	}
	delete(e.containers, id)
	return nil
}

func (e *twin) RemoveVolumes(context.Context, core.Key) error { return e.call("remove volumes") }

type noFiles struct{}

func (noFiles) Write(*argosyv1.Assignment, *argosyv1.ContainerSpec) error { return nil }
func (noFiles) Mounts(*argosyv1.Assignment, *argosyv1.ContainerSpec) ([]docker.File, error) {
	return nil, nil
}
func (noFiles) Remove(core.ID) error { return nil }

// stage is an executor that runs on a twin, and what it told.
type stage struct {
	x    *Executor
	e    *twin
	mu   sync.Mutex
	told map[core.Key][]argosyv1.ReplicaState
	// causes are what was told to have caused transitions.
	causes []string
	// trouble is what was told of the engine.
	trouble []string
	// restart ends the executor and lets another begin, prepared like that.
	restart func(prepare func())
}

func play(t *testing.T, script func(t *testing.T, s *stage)) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{e: newTwin()}
		stop := s.begin(t)
		defer func() { stop() }()
		s.restart = func(prepare func()) {
			stop()
			stop = s.begin(t, prepare)
		}
		script(t, s)
	})
}

// begin lets an executor that knows nothing work on the engine.
func (s *stage) begin(t *testing.T, prepare ...func()) (stop func()) {
	s.told = map[core.Key][]argosyv1.ReplicaState{}
	s.x = New(Config{Engine: s.e, Files: noFiles{}, Changed: func(before, after *argosyv1.ReplicaObservation) {
		s.mu.Lock()
		defer s.mu.Unlock()
		k := core.KeyOf(before.GetKey())
		if after != nil {
			k = core.KeyOf(after.GetKey())
		}
		s.told[k] = append(s.told[k], after.GetState())
		for _, tr := range core.Transitions(time.Now(), before, after) {
			s.causes = append(s.causes, tr.GetFrom()+" > "+tr.GetTo()+": "+tr.GetCause())
		}
	}, Trouble: func(trouble string) { s.trouble = append(s.trouble, trouble) }})
	for _, p := range prepare {
		p()
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.x.Run(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

func replica(n uint32, image string) *argosyv1.Assignment {
	return &argosyv1.Assignment{
		Key: core.Key{Tenant: "default", App: "shop", Stack: "lamp", Number: n}.Proto(), AppUid: "u", Incarnation: 1, Revision: 1, Goal: argosyv1.ReplicaGoal_REPLICA_GOAL_RUN,
		Containers: []*argosyv1.ContainerSpec{{Name: "web", Image: image}},
	}
}

func (s *stage) state(n uint32) argosyv1.ReplicaState {
	for _, o := range s.x.Observations() {
		if o.GetKey().GetNumber() == n {
			return o.GetState()
		}
	}
	return argosyv1.ReplicaState_REPLICA_STATE_GONE
}

func (s *stage) expect(t *testing.T, n uint32, want argosyv1.ReplicaState) {
	t.Helper()
	synctest.Wait()
	if got := s.state(n); got != want {
		t.Fatalf("replica %d is %s, not %s: %v", n, got, want, s.x.Observations())
	}
}

const (
	ready   = argosyv1.ReplicaState_REPLICA_STATE_READY
	unknown = argosyv1.ReplicaState_REPLICA_STATE_UNSPECIFIED
	begun   = argosyv1.ReplicaState_REPLICA_STATE_STARTING
)

func TestPullsThatHangDelayNobodyForLong(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.e.pull = func(ctx context.Context, image string) error {
			if image == "good" {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}
		s.x.Act()
		var all []*argosyv1.Assignment
		for n := range uint32(10) {
			all = append(all, replica(n+1, fmt.Sprintf("hangs%d", n)))
		}
		s.x.Assign(true, all, nil)
		synctest.Wait()
		if n := s.e.count("pull"); n != 3 {
			t.Errorf("%d pulls at once, the bound is 3", n)
		}
		s.x.Assign(false, []*argosyv1.Assignment{replica(50, "good")}, nil)
		s.expect(t, 50, begun)
		// The three that hang lose their places, and so do those that take them.
		time.Sleep(3*30*time.Second + time.Second)
		s.expect(t, 50, ready)

		// Nobody wants the others any more: their pulls are broken off, and nothing is left of them.
		s.x.Assign(true, []*argosyv1.Assignment{replica(50, "good")}, nil)
		synctest.Wait()
		if n := len(s.x.Observations()); n != 1 {
			t.Errorf("%d replicas are still told of", n)
		}
	})
}

func TestLostEngineIsUnknownAndComesBack(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.x.Act()
		s.x.Assign(true, []*argosyv1.Assignment{replica(1, "a"), replica(2, "a")}, nil)
		s.expect(t, 1, ready)
		s.e.lose(true)
		time.Sleep(time.Second)
		s.expect(t, 1, unknown)
		// A container ends unseen, a stranger removes another.
		var ids []string
		for id := range s.e.containers {
			ids = append(ids, id)
		}
		s.e.mu.Lock()
		c := s.e.containers[ids[0]]
		c.State, c.FinishedAt = core.Exited, time.Now()
		s.e.containers[ids[0]] = c
		delete(s.e.containers, ids[1])
		s.e.mu.Unlock()
		creates := s.e.count("create")
		s.x.Assign(false, []*argosyv1.Assignment{replica(3, "a")}, nil)
		time.Sleep(time.Minute)
		if s.e.count("create") != creates {
			t.Error("something was created on an engine that does not answer")
		}
		s.e.lose(false)
		time.Sleep(30 * time.Second)
		for n := uint32(1); n <= 3; n++ {
			s.expect(t, n, ready)
		}
	})
}

func TestLostEventIsFoundByTheListing(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.x.Act()
		s.x.Assign(true, []*argosyv1.Assignment{replica(1, "a")}, nil)
		s.expect(t, 1, ready)
		s.e.mute = true
		for id := range s.e.containers {
			s.e.set(id, func(c *core.Container) { c.State, c.ExitCode, c.FinishedAt = core.Exited, 1, time.Now() })
		}
		starts := s.e.count("start")
		time.Sleep(2 * time.Minute)
		s.expect(t, 1, ready)
		if s.e.count("start") != starts+1 {
			t.Errorf("it was started %d times", s.e.count("start")-starts)
		}
	})
}

// A container that is started again after the machine's clock was set back did so earlier than before, by the clock.
func TestClockSetBack(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.x.Act()
		s.x.Assign(true, []*argosyv1.Assignment{replica(1, "a")}, nil)
		s.expect(t, 1, ready)
		time.Sleep(time.Minute)
		s.e.mu.Lock()
		s.e.wrong = -time.Hour
		s.e.mu.Unlock()
		starts := s.e.count("start")
		for id := range s.e.containers {
			s.e.set(id, func(c *core.Container) { c.State, c.ExitCode, c.FinishedAt = core.Exited, 1, s.e.now() })
		}
		time.Sleep(time.Minute)
		s.expect(t, 1, ready)
		if n := s.e.count("start") - starts; n != 1 {
			t.Errorf("it was started %d times", n)
		}
	})
}

func TestIdleExecutorAsksLittle(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.x.Act()
		var all []*argosyv1.Assignment
		for n := range uint32(50) {
			all = append(all, replica(n+1, "a"))
		}
		s.x.Assign(true, all, nil)
		s.expect(t, 50, ready)
		looks, glances := s.e.count("look"), s.e.count("glance")
		s.mu.Lock()
		clear(s.told)
		s.mu.Unlock()
		time.Sleep(time.Hour)
		if n := s.e.count("look") - looks; n != 0 {
			t.Errorf("%d containers were looked at in an idle hour", n)
		}
		if n := s.e.count("glance") - glances; n > 61 {
			t.Errorf("%d listings in an idle hour", n)
		}
		if len(s.told) > 0 {
			t.Errorf("an idle hour was worth telling: %v", s.told)
		}
	})
}

func TestNothingIsDoneBeforeActAndGoneIsTold(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.x.Expect([]*argosyv1.ReplicaObservation{{Key: replica(9, "").GetKey(), AppUid: "u", Incarnation: 1, State: ready}})
		s.x.Assign(true, []*argosyv1.Assignment{replica(1, "a")}, nil)
		<-s.x.Ready()
		time.Sleep(time.Minute)
		if s.e.count("create") > 0 {
			t.Error("something was created before the executor was let go")
		}
		s.mu.Lock()
		told := s.told[core.KeyOf(replica(9, "").GetKey())]
		s.mu.Unlock()
		if len(told) != 1 || told[0] != unknown { // a nil observation has no state
			t.Errorf("of a replica that is gone was told: %v", told)
		}
		s.x.Act()
		s.expect(t, 1, ready)
	})
}

func TestManyReplicasComeUp(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.x.Act()
		var all []*argosyv1.Assignment
		for n := range uint32(500) {
			all = append(all, replica(n+1, fmt.Sprint("image", n%7)))
		}
		s.x.Assign(true, all, nil)
		for n := range uint32(500) {
			s.expect(t, n+1, ready)
		}
		s.x.Assign(true, nil, nil)
		synctest.Wait()
		if len(s.e.containers) > 0 || len(s.x.Observations()) > 0 {
			t.Errorf("%d containers, %d observations are left", len(s.e.containers), len(s.x.Observations()))
		}
		s.x.mu.Lock()
		defer s.x.mu.Unlock()
		for what, n := range map[string]int{"keys": len(s.x.byKey), "timers": len(s.x.timers), "flights": len(s.x.flying), "events": len(s.x.events), "memories": len(s.x.memory.Members), "probes": len(s.x.probing) + len(s.x.proved), "told": len(s.x.told)} {
			if n > 0 {
				t.Errorf("%d %s are remembered of nothing", n, what)
			}
		}
	})
}

// TestEngineThatHangsIsReportedSoon: with its connections open, and while a listing hangs, too.
func TestEngineThatHangsIsReportedSoon(t *testing.T) {
	play(t, func(t *testing.T, s *stage) {
		s.x.Assign(true, []*argosyv1.Assignment{replica(1, "good")}, nil)
		s.x.Act()
		time.Sleep(time.Minute - time.Second) // of the bubble: the next listing is near
		s.expect(t, 1, ready)
		creations := s.e.count("create")
		s.e.mu.Lock()
		s.e.hung = true
		s.e.mu.Unlock()
		time.Sleep(10 * time.Second)
		s.expect(t, 1, unknown)
		if len(s.trouble) != 1 || s.trouble[0] == "" {
			t.Errorf("of an engine that hangs was told: %q", s.trouble)
		}
		s.e.mu.Lock()
		s.e.hung = false
		s.e.mu.Unlock()
		time.Sleep(10 * time.Second)
		s.expect(t, 1, ready)
		if len(s.trouble) != 2 || s.trouble[1] != "" {
			t.Errorf("of an engine that answers again was told: %q", s.trouble)
		}
		if n := s.e.count("create"); n != creations {
			t.Errorf("%d containers were made because the engine hung", n-creations)
		}
	})
}

// TestEngineThatHangsFromTheStartIsReportedSoon: an executor has told of everything, as unknown, before its machine would
// count as lost for its silence; at once if somebody knows already.
func TestEngineThatHangsFromTheStartIsReportedSoon(t *testing.T) {
	for _, told := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			e := newTwin()
			e.hung = true
			var troubles []string
			x := New(Config{Engine: e, Files: noFiles{}, Trouble: func(trouble string) { troubles = append(troubles, trouble) }})
			s := &stage{x: x, e: e}
			x.Assign(true, []*argosyv1.Assignment{replica(1, "good")}, nil)
			x.Act()
			limit := 5 * time.Second
			if told {
				x.Lose(errLost)
				limit = 0
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				x.Run(ctx)
			}()
			time.Sleep(limit) // of the bubble
			s.expect(t, 1, unknown)
			select {
			case <-x.Ready():
			default:
				t.Error("it is not ready, so nothing is told")
			}
			time.Sleep(time.Minute)
			if len(troubles) != 1 || troubles[0] == "" || e.count("create") != 0 {
				t.Errorf("told of the engine: %q; %d containers made", troubles, e.count("create"))
			}
			e.mu.Lock()
			e.hung = false
			e.mu.Unlock()
			time.Sleep(10 * time.Second)
			s.expect(t, 1, ready)
			if len(troubles) != 2 || troubles[1] != "" {
				t.Errorf("told of the engine that answers: %q", troubles)
			}
			cancel()
			<-ended
		})
	}
}
