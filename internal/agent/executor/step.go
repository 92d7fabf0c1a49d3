package executor

import (
	"context"
	"fmt"
	"time"

	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/agent/docker"
	"github.com/argosy-cluster/argosy/internal/agent/systemd"
	"github.com/argosy-cluster/argosy/internal/unitfile"
)

// launch sets a step going. The caller holds the lock.
func (x *Executor) launch(ctx context.Context, now time.Time, s core.Step) {
	x.memory.Begin(now, s)
	own, cancel := context.WithCancel(ctx)
	x.flying[s.MemberID] = flight{s, cancel}
	x.cfg.Log.Debug("step", "do", s.Kind.String(), "replica", s.Key.String(), "member", s.Member, "incarnation", s.Incarnation, "because", s.Reason)
	x.steps.Add(1)
	go func() {
		defer x.steps.Done()
		defer cancel()
		e := ending{step: s}
		e.touched, e.err = x.act(own, s)
		if x.cfg.Did != nil {
			x.cfg.Did(s, now, time.Now(), e.err)
		}
		e.broken = e.err != nil && own.Err() != nil
		e.heard = x.heard(e.touched)
		if s.Kind == core.Create && e.err == nil && plain(s) {
			e.seen = sight{Container: newborn(s, e.touched, time.Now()), found: true}
		} else {
			e.seen, e.lookErr = x.look(ctx, e.touched)
		}
		x.land(ctx, e)
	}()
}

// ending is how a step ended, and what its container looked like right after.
type ending struct {
	step    core.Step
	err     error
	broken  bool   // by the end of the agent, or because nobody wants the step any more
	touched string // container, or empty
	heard   uint64 // events of the container before it was looked at
	seen    sight
	lookErr error
}

// land takes in how a step ended.
func (x *Executor) land(ctx context.Context, e ending) {
	now, s := time.Now(), e.step
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.flying, s.MemberID)
	x.dirty[s.Key] = true
	x.kick()
	if e.touched != "" && e.lookErr == nil {
		x.put(e.touched, e.seen)
	}
	if e.broken {
		x.memory.Break(s, e.seen.found && e.seen.Alive())
		return
	}
	x.memory.Done(now, s, e.err)
	if e.err != nil {
		x.cfg.Log.Info("step failed", "do", s.Kind.String(), "replica", s.Key.String(), "member", s.Member, "error", e.err)
	}
	if e.touched != "" && (e.lookErr != nil || x.events[e.touched] != e.heard) {
		x.touch(ctx, e.touched)
	}
}

// plain says whether nothing has to be known of what was created but that it is there. Of a unit that is only loaded its state is
// shown, and of several in a replica which is ordered after which.
func plain(s core.Step) bool {
	return s.Unit == nil || !s.Unit.GetNotStarted() && len(s.Assignment.GetUnits()) == 1
}

// newborn is what a container looks like that was created just now; to ask the engine would tell nothing more.
func newborn(s core.Step, id string, now time.Time) core.Container {
	c := core.Container{
		ContainerID: id, Owner: s.ID, Member: s.Member, Definition: s.Definition,
		Revision: s.Assignment.GetRevision(), Restart: s.Assignment.GetRestart(), State: core.Created, CreatedAt: now, Claims: s.Lease.Label(),
	}
	for _, d := range s.Spec.GetDependsOn() {
		c.After = append(c.After, d.GetContainer())
	}
	if s.Unit != nil {
		c.Unit = &core.Unit{Name: unitfile.ForReplica(s.Unit.GetName(), s.Key.Number)}
	}
	return c
}

// heard says how often something was heard of a container so far.
func (x *Executor) heard(containerID string) uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.events[containerID]
}

// act does a step and returns the container that it touched, if any.
func (x *Executor) act(ctx context.Context, s core.Step) (touched string, err error) {
	if s.Unit != nil || systemd.IsUnit(s.ContainerID) {
		return x.actOnUnit(ctx, s)
	}
	switch s.Kind {
	case core.Pull:
		return "", x.image(ctx, s)
	case core.Prepare:
		if err := x.cfg.Engine.EnsureVolumes(ctx, s.Assignment, s.Spec); err != nil {
			return "", err
		}
		return "", x.cfg.Files.Write(s.Assignment, s.Spec)
	case core.Create:
		files, err := x.cfg.Files.Mounts(s.Assignment, s.Spec)
		if err != nil {
			return "", err
		}
		err = x.creates.do(ctx, func() (err error) {
			touched, err = x.cfg.Engine.Create(ctx, docker.Creation{Assignment: s.Assignment, Spec: s.Spec, Definition: s.Definition, Files: files, Lease: s.Lease})
			return err
		})
		if err != nil {
			x.engine.relist() // a container of that name may be there already, unseen
		}
		return touched, err
	case core.Start:
		return s.ContainerID, x.creates.do(ctx, func() error { return x.cfg.Engine.Start(ctx, s.ContainerID) })
	case core.Stop:
		return s.ContainerID, x.stops.do(ctx, func() error { return x.cfg.Engine.Stop(ctx, s.ContainerID, s.Grace) })
	case core.Remove:
		return s.ContainerID, x.removes.do(ctx, func() error { return x.cfg.Engine.Remove(ctx, s.ContainerID, s.Force) })
	case core.Clean:
		if err := x.cfg.Files.Remove(s.ID); err != nil {
			return "", err
		}
		if s.RemoveVolumes {
			return "", x.cfg.Engine.RemoveVolumes(ctx, s.Key)
		}
		return "", nil
	}
	return "", fmt.Errorf("this agent does not know how to %s", s.Kind)
}

// actOnUnit does a step of a member that is a unit.
func (x *Executor) actOnUnit(ctx context.Context, s core.Step) (touched string, err error) {
	if x.cfg.Units == nil {
		return "", &core.Fault{Kind: core.FaultRefused, Message: systemd.ErrNone.Error()}
	}
	switch s.Kind {
	case core.Create:
		id, err := x.cfg.Units.Create(ctx, systemd.Creation{Assignment: s.Assignment, Unit: s.Unit, Definition: s.Definition})
		if err != nil {
			x.systemd.relist() // an earlier try may have written the file
		}
		return id, err
	case core.Start:
		return s.ContainerID, x.units.do(ctx, func() error { return x.cfg.Units.Start(ctx, s.ContainerID) })
	case core.Stop:
		return s.ContainerID, x.units.do(ctx, func() error { return x.cfg.Units.Stop(ctx, s.ContainerID) })
	case core.Remove:
		return s.ContainerID, x.units.do(ctx, func() error { return x.cfg.Units.Remove(ctx, s.ContainerID) })
	}
	return "", fmt.Errorf("a unit has no %s", s.Kind)
}

func (x *Executor) image(ctx context.Context, s core.Step) error {
	img, found, err := x.present.ask(ctx, imageName(s), func() (docker.Image, bool, error) {
		return x.cfg.Engine.HaveImage(ctx, s.Assignment, s.Spec)
	})
	if err != nil {
		return err
	}
	if !found {
		err = x.pulls.do(ctx, func() (err error) {
			img, err = x.cfg.Engine.PullImage(ctx, s.Assignment, s.Spec, func(note string) { x.note(s, note) })
			return err
		})
	}
	if err == nil && x.cfg.Used != nil {
		x.cfg.Used(img, !found)
	}
	return err
}

// imageName tells apart what may be different images.
func imageName(s core.Step) string {
	return fmt.Sprint(s.Tenant, " ", s.Spec.GetImage(), " ", s.Spec.GetImageDigest(), " ", s.Spec.GetImageOrigin(), " ", s.Spec.GetPullPolicy())
}

func (x *Executor) note(s core.Step, note string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.memory.Note(s.MemberID, note)
	x.dirty[s.Key] = true
	x.kick()
}
