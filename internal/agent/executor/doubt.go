package executor

import (
	"context"
	"time"

	"github.com/argosy-cluster/argosy/internal/agent/core"
)

// An engine may go on for ever calling a container running whose process is gone: Docker 20.10 does, when containerd and its shims were
// killed. So the kernel is asked as well, and an engine that does not come to know of an end is looked at until it does, or is
// believed no more.

// watchProcesses hears from the kernel of processes that have ended. Mostly the engine says so as well, at the same time.
func (x *Executor) watchProcesses(ctx context.Context) {
	x.cfg.Processes.Watch(ctx, func(id string) {
		x.mu.Lock()
		defer x.mu.Unlock()
		if c := x.containers[id]; runs(c) {
			x.doubt(ctx, c)
		}
	})
}

// believe is a container as the engine showed it, or as one that has ended although the engine does not know it.
func (x *Executor) believe(ctx context.Context, c core.Container) core.Container {
	if x.cfg.Processes == nil || !runs(c) || c.Unit != nil {
		return c
	}
	gone := x.gone(c)
	c = core.Believe(time.Now(), c, gone)
	if !gone.IsZero() && runs(c) {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.doubt(ctx, c)
	}
	return c
}

// doubt believes the kernel of a container whose process is gone once its engine should have noticed, and has that looked at again until
// it no longer calls the container running or is no longer believed. The caller holds the lock.
func (x *Executor) doubt(ctx context.Context, c core.Container) {
	id := c.ContainerID
	if x.doubted[id] {
		return
	}
	x.doubted[id] = true
	x.steps.Add(1)
	go func() {
		defer x.steps.Done()
		for wait := core.Expected; ; wait = core.Overdue {
			pause(ctx, wait)
			gone := x.gone(c)
			x.mu.Lock()
			known := x.containers[id]
			if ctx.Err() != nil || gone.IsZero() || !runs(known) || !known.StartedAt.Equal(c.StartedAt) {
				delete(x.doubted, id)
				x.mu.Unlock()
				return
			}
			if known.Vanished == 0 {
				x.put(id, sight{Container: core.Believe(time.Now(), known, gone), found: true, began: x.sights})
			} else {
				x.touch(ctx, id)
			}
			x.mu.Unlock()
		}
	}()
}

// gone says since when a container's process is gone and the engine could have noticed: one that has just begun to answer again has not
// had its time yet.
func (x *Executor) gone(c core.Container) time.Time {
	gone := x.cfg.Processes.Gone(c.ContainerID, c.PID, c.StartedAt)
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case gone.IsZero():
	case !x.engine.known:
		return time.Now()
	case x.engine.since.After(gone):
		return x.engine.since
	}
	return gone
}

func runs(c core.Container) bool { return c.State == core.Running || c.State == core.Paused }
