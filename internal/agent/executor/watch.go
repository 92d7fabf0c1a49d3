package executor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/argosy-cluster/argosy/internal/agent/core"
	"golang.org/x/sync/errgroup"
)

const (
	// pingEvery and pingTime together are below ten seconds: so soon a hanging engine is reported.
	pingEvery   = 3 * time.Second
	pingTime    = 6 * time.Second
	rewatchMost = 5 * time.Second
	// firstSight is how long an engine may take to show what runs before that is called unknown. Until then nothing is told
	// at all, and a machine of which nothing is heard counts as lost before long.
	firstSight = 4 * time.Second
)

// watch keeps what is known of the engine fresh: by its events, by a listing now and then, by asking whether it lives.
func (x *Executor) watch(ctx context.Context) {
	x.steps.Add(2)
	go func() {
		defer x.steps.Done()
		x.listings(ctx)
	}()
	go func() {
		defer x.steps.Done()
		x.pings(ctx)
	}()
	late := time.AfterFunc(firstSight, x.unseen)
	defer late.Stop()
	delay := 100 * time.Millisecond
	for ctx.Err() == nil {
		began := time.Now()
		err := x.cfg.Engine.Watch(ctx, x.relist, func(id string) { x.hear(ctx, id) })
		if ctx.Err() != nil {
			return
		}
		x.lose(err)
		if time.Since(began) > rewatchMost {
			delay = 100 * time.Millisecond
		}
		pause(ctx, delay)
		delay = min(delay*2, rewatchMost)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// relist asks for a listing soon.
func (x *Executor) relist() {
	select {
	case x.resync <- struct{}{}:
	default:
	}
}

// lose notes that the engine does not answer.
func (x *Executor) lose(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.asked = true
	if x.giveUp != nil {
		x.giveUp() // so that the next listing is not behind one that hangs
	}
	x.blind(err)
}

// Lose says that the engine is known not to answer, before it was asked here.
func (x *Executor) Lose(err error) { x.lose(err) }

// unseen gives up waiting for the first sight of what runs. What is asked meanwhile goes on.
func (x *Executor) unseen() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.asked {
		x.asked = true
		x.blind(fmt.Errorf("it has not shown what runs within %s", firstSight))
	}
}

// blind says that nobody knows what runs. The caller holds the lock.
func (x *Executor) blind(err error) {
	if !x.known && x.trouble != "" {
		return
	}
	x.cfg.Log.Warn("the container engine is lost from sight", "error", err)
	x.known, x.trouble = false, "the Docker Engine of this machine does not answer, so nobody knows what runs on it"
	x.everything()
	x.tellTrouble(x.trouble)
}

// tellTrouble passes on that the engine does not answer, or does again. The caller holds the lock.
func (x *Executor) tellTrouble(trouble string) {
	if x.cfg.Trouble != nil {
		x.cfg.Trouble(trouble)
	}
}

func (x *Executor) listings(ctx context.Context) {
	full := time.NewTicker(x.cfg.Resync)
	defer full.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-full.C:
		case <-x.resync:
		}
		x.list(ctx)
	}
}

// pings go on while a listing hangs.
func (x *Executor) pings(ctx context.Context) {
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ping.C:
			x.ping(ctx)
		}
	}
}

// ping notices an engine that hangs with its connections open.
func (x *Executor) ping(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, pingTime)
	defer cancel()
	err := x.cfg.Engine.Ping(ctx)
	x.mu.Lock()
	known := x.known
	x.mu.Unlock()
	switch {
	case err != nil && ctx.Err() != context.Canceled:
		x.lose(err)
	case err == nil && !known:
		x.relist()
	}
}

// list compares everything with what is known and looks closer where they differ.
func (x *Executor) list(all context.Context) {
	ctx, cancel := context.WithCancel(all)
	defer cancel()
	x.mu.Lock()
	x.giveUp = cancel
	before := map[string]bool{}
	for id := range x.containers {
		before[id] = true
	}
	x.mu.Unlock()

	glimpses, err := x.cfg.Engine.Glance(ctx)
	if err != nil {
		if all.Err() == nil {
			x.lose(err)
		}
		return
	}
	var unsure []string
	x.mu.Lock()
	there := make(map[string]bool, len(glimpses))
	for _, g := range glimpses {
		there[g.ContainerID] = true
		c, ok := x.containers[g.ContainerID]
		if !x.known || !ok || c.State != g.State || c.Health != g.Health {
			unsure = append(unsure, g.ContainerID)
		}
	}
	for id := range before {
		if !there[id] {
			x.put(id, sight{})
		}
	}
	first := !x.known
	x.mu.Unlock()

	if first {
		x.lookAtAll(all, unsure)
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, id := range unsure {
		x.touch(all, id)
	}
}

// lookAtAll ends a time in which the engine was not known: nothing is decided before every container was looked at.
func (x *Executor) lookAtAll(ctx context.Context, ids []string) {
	var g errgroup.Group
	g.SetLimit(8)
	for _, id := range ids {
		g.Go(func() error {
			s, err := x.look(ctx, id)
			if err != nil {
				return err
			}
			x.mu.Lock()
			defer x.mu.Unlock()
			x.put(id, s)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		if ctx.Err() == nil {
			x.lose(err)
			x.relistLater(ctx)
		}
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.trouble != "" {
		x.tellTrouble("")
	}
	x.known, x.asked, x.trouble = true, true, ""
	x.everything()
}

func (x *Executor) relistLater(ctx context.Context) {
	time.AfterFunc(time.Second, func() {
		if ctx.Err() == nil {
			x.relist()
		}
	})
}

// hear takes in that something happened to a container. While a step of ours is under way on it, the step's end looks.
func (x *Executor) hear(ctx context.Context, id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	c, known := x.containers[id]
	x.events[id]++
	if f, ok := x.flying[core.MemberID{ID: c.Owner, Member: c.Member}]; known && ok && f.step.ContainerID == id {
		return
	}
	x.touch(ctx, id)
}

// touch looks at a container in a goroutine of its own, one at a time for each container. The caller holds the lock.
func (x *Executor) touch(ctx context.Context, id string) {
	if _, busy := x.looking[id]; busy {
		x.looking[id] = true
		return
	}
	x.looking[id] = false
	x.steps.Add(1)
	go func() {
		defer x.steps.Done()
		for {
			var s sight
			err := x.looks.do(ctx, func() (err error) {
				s, err = x.look(ctx, id)
				return err
			})
			x.mu.Lock()
			if err == nil {
				x.put(id, s)
			}
			again := x.looking[id] && ctx.Err() == nil
			if !again {
				delete(x.looking, id)
				x.mu.Unlock()
				return
			}
			x.looking[id] = false
			x.mu.Unlock()
		}
	}()
}

// sight is what a look at a container showed; found is false when it does not exist or is nobody's business.
type sight struct {
	core.Container
	found bool
	// began is how many sights had been taken in when the look began.
	began uint64
}

// look asks the engine about one container.
func (x *Executor) look(ctx context.Context, id string) (s sight, err error) {
	if id == "" {
		return sight{}, nil
	}
	x.mu.Lock()
	s.began = x.sights
	x.mu.Unlock()
	s.Container, err = x.cfg.Engine.Look(ctx, id)
	var f *core.Fault
	if errors.As(err, &f) && f.Kind == core.FaultGone {
		return sight{began: s.began}, nil
	}
	s.found = err == nil && s.ContainerID != ""
	return s, err
}

// put notes what is known of a container and marks its group when that is news. Of looks that overlapped, what they showed
// says which is newer; one that began when the last had been taken in is, whatever the clock said meanwhile. The caller holds
// the lock.
func (x *Executor) put(id string, s sight) {
	old, had := x.containers[id]
	c := s.Container
	switch {
	case !s.found && !had:
		delete(x.events, id)
		return
	case !s.found:
		delete(x.containers, id)
		delete(x.events, id)
		delete(x.seenAt, id)
		delete(x.byKey[old.Owner.Key], id)
		if len(x.byKey[old.Owner.Key]) == 0 {
			delete(x.byKey, old.Owner.Key)
		}
		c = old
	case had && s.began < x.seenAt[id] && !c.Supersedes(old):
		return
	default:
		x.sights++
		x.containers[id], x.seenAt[id] = c, x.sights
		if x.byKey[c.Owner.Key] == nil {
			x.byKey[c.Owner.Key] = map[string]bool{}
		}
		x.byKey[c.Owner.Key][id] = true
	}
	x.dirty[c.Owner.Key] = true
	x.kick()
}
