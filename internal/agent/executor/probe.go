package executor

import (
	"context"
	"time"

	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/agent/systemd"
)

// firstProbe is how long after a container was seen to run its health check is run here for the first time. The time until the next
// doubles each time.
const firstProbe = 250 * time.Millisecond

// An engine waits for a whole interval before it checks a container for the first time: seconds, in which one that took the place
// of another serves and does not count. So the executor runs the check itself, now and then, until it passes or the engine has come
// to a verdict. A pass means healthy, as it does for the engine; a failure means nothing.

// probe begins with that for the containers of a group that need it. The caller holds the lock.
func (x *Executor) probe(ctx context.Context, k core.Key) {
	for id := range x.byKey[k] {
		c := x.containers[id]
		if !awaitsCheck(c) || x.probing[id].Equal(c.StartedAt) {
			continue
		}
		x.probing[id] = c.StartedAt
		x.steps.Add(1)
		go func() {
			defer x.steps.Done()
			x.keepProbing(ctx, id, c.StartedAt)
		}()
	}
}

// awaitsCheck says that a container runs and that its engine knows nothing of its health yet.
func awaitsCheck(c core.Container) bool {
	return c.State == core.Running && c.Health == core.CheckStarting && !systemd.IsUnit(c.ContainerID) && !c.StartedAt.IsZero()
}

// keepProbing runs the check of one life of a container until it passes, or nobody needs to know any more. A check that cannot be run,
// or hangs, is left to the engine.
func (x *Executor) keepProbing(ctx context.Context, id string, life time.Time) {
	for wait := firstProbe; ; wait *= 2 {
		pause(ctx, wait)
		if ctx.Err() != nil || !x.unproven(id, life) {
			return
		}
		var passed bool
		err := x.probes.do(ctx, func() (err error) {
			passed, err = x.cfg.Engine.Probe(ctx, id)
			return err
		})
		if err != nil {
			x.cfg.Log.Debug("a health check is left to the engine", "container", id, "error", err)
			return
		}
		if passed {
			x.prove(id, life)
			return
		}
	}
}

// unproven says whether a container is still in that life, and its health not known.
func (x *Executor) unproven(id string, life time.Time) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	c, ok := x.containers[id]
	return ok && awaitsCheck(c) && c.StartedAt.Equal(life)
}

// prove notes that a container is healthy in that life.
func (x *Executor) prove(id string, life time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	c, ok := x.containers[id]
	if !ok || !c.StartedAt.Equal(life) {
		return
	}
	x.proved[id] = life
	x.containers[id] = x.withProof(c)
	x.dirty[c.Owner.Key] = true
	x.kick()
}

// withProof is a container as the engine showed it, and healthy if it is known to be and the engine has not come to a verdict. The
// caller holds the lock.
func (x *Executor) withProof(c core.Container) core.Container {
	if life, ok := x.proved[c.ContainerID]; ok && awaitsCheck(c) && c.StartedAt.Equal(life) {
		c.Health = core.Healthy
	}
	return c
}
