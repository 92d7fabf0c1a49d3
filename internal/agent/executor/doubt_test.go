package executor

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
)

// kernel is a machine's processes in memory.
type kernel struct {
	mu    sync.Mutex
	ended func(string)
	gone  map[string]time.Time // by container
}

func (k *kernel) Gone(id string, _ int, started time.Time) time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	if at := k.gone[id]; at.After(started) {
		return at
	}
	return time.Time{}
}

func (k *kernel) Watch(ctx context.Context, ended func(string)) {
	k.mu.Lock()
	k.ended = ended
	k.mu.Unlock()
	<-ctx.Done()
}

func (k *kernel) Forget(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.gone, id)
}

// kill ends a container's process; tell says whether the kernel tells it.
func (k *kernel) kill(id string, tell bool) {
	k.mu.Lock()
	k.gone[id] = time.Now()
	ended := k.ended
	k.mu.Unlock()
	if tell {
		ended(id)
	}
}

// haunted is a stage with one replica that runs, and its container.
func haunted(t *testing.T, script func(s *stage, k *kernel, container string)) {
	play(t, func(t *testing.T, s *stage) {
		k := &kernel{gone: map[string]time.Time{}}
		s.restart(func() { s.x.cfg.Processes = k })
		s.e.pids = true
		s.x.Act()
		s.x.Assign(true, []*argosyv1.Assignment{replica(1, "img")}, nil)
		s.expect(t, 1, ready)
		time.Sleep(time.Minute)
		script(s, k, slices.Collect(maps.Keys(s.e.containers))[0])
	})
}

// TestTheEngineDoesNotHearOfAnEnd: soon it does not count, and when the engine has had its time another one takes the place.
func TestTheEngineDoesNotHearOfAnEnd(t *testing.T) {
	haunted(t, func(s *stage, k *kernel, id string) {
		k.kill(id, true)
		time.Sleep(core.Expected - time.Millisecond)
		s.expect(t, 1, ready)
		time.Sleep(time.Millisecond)
		s.expect(t, 1, argosyv1.ReplicaState_REPLICA_STATE_FAILED)
		time.Sleep(core.Overdue - time.Millisecond)
		if n := s.e.count("remove"); n > 0 {
			t.Errorf("%d containers were removed within the engine's time", n)
		}
		time.Sleep(time.Second)
		s.expect(t, 1, ready)
		if c, ok := s.e.containers[id]; ok {
			t.Errorf("the ghost is still there: %v", c)
		}
		if n := s.e.count("create"); n != 2 {
			t.Errorf("%d containers were created, two are expected", n)
		}
		const why = "running > unhealthy: its process 4711 is gone, though the Docker Engine calls the container running"
		if !slices.Contains(s.causes, why) {
			t.Errorf("nobody was told why it does not run: %q", s.causes)
		}
	})
}

// TestTheEngineHearsOfAnEnd: how it ended counts, and nothing is made anew.
func TestTheEngineHearsOfAnEnd(t *testing.T) {
	haunted(t, func(s *stage, k *kernel, id string) {
		k.kill(id, true)
		time.Sleep(core.Overdue / 2)
		s.e.set(id, func(c *core.Container) { c.State, c.FinishedAt, c.ExitCode = core.Exited, time.Now(), 3 })
		time.Sleep(core.Overdue)
		s.expect(t, 1, ready)
		if n := s.e.count("create"); n != 1 {
			t.Errorf("%d containers were created; the one there was had to be started again", n)
		}
		if n := s.e.count("start"); n != 2 {
			t.Errorf("%d starts, two are expected", n)
		}
	})
}

// TestAnAgentComesAfterTheEnd: nobody tells it, and it looks.
func TestAnAgentComesAfterTheEnd(t *testing.T) {
	haunted(t, func(s *stage, k *kernel, id string) {
		k.kill(id, false)
		s.restart(func() { s.x.cfg.Processes = k })
		s.x.Act()
		s.x.Assign(true, []*argosyv1.Assignment{replica(1, "img")}, nil)
		time.Sleep(core.Expected + core.Overdue + time.Second)
		s.expect(t, 1, ready)
		if _, ok := s.e.containers[id]; ok || s.e.count("create") != 2 {
			t.Error("the ghost is still there")
		}
	})
}

// TestDoubtsEnd: once it is settled nobody looks any more, and while the engine does not answer it is doubted on.
func TestDoubtsEnd(t *testing.T) {
	haunted(t, func(s *stage, k *kernel, id string) {
		k.kill(id, true)
		s.e.set(id, func(c *core.Container) { c.State, c.FinishedAt = core.Exited, time.Now() })
		time.Sleep(time.Minute)
		synctest.Wait()
		s.x.mu.Lock()
		left := len(s.x.doubted)
		s.x.mu.Unlock()
		if left != 0 {
			t.Errorf("%d are still doubted", left)
		}
		before := s.e.count("look")
		time.Sleep(30 * time.Second)
		if n := s.e.count("look") - before; n > 0 {
			t.Errorf("%d looks at what is as it should be", n)
		}
	})
}

// TestTheEngineWasAway: a process ended while the engine did not answer. When it does again, it has its time to notice.
func TestTheEngineWasAway(t *testing.T) {
	haunted(t, func(s *stage, k *kernel, id string) {
		s.e.lose(true)
		synctest.Wait()
		k.kill(id, true)
		time.Sleep(time.Minute)
		s.e.lose(false)
		for s.state(1) == unknown {
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(core.Overdue / 2)
		if n := s.e.count("remove"); n > 0 {
			t.Errorf("%d containers were removed before the engine had its time", n)
		}
		s.e.set(id, func(c *core.Container) { c.State, c.FinishedAt, c.ExitCode = core.Exited, time.Now(), 3 })
		time.Sleep(time.Minute)
		s.expect(t, 1, ready)
		if n := s.e.count("create"); n != 1 {
			t.Errorf("%d containers were created; the one there was had to be started again", n)
		}
	})
}
