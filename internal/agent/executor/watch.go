package executor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/agent/docker"
	"github.com/argosy-cluster/argosy/internal/agent/systemd"
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

// eye is what is known of one of those that run members: the container engine, and systemd. The executor's lock guards it.
type eye struct {
	// unit: it is systemd's, and sees units only.
	unit   bool
	glance func(ctx context.Context) ([]docker.Glimpse, error)
	watch  func(ctx context.Context, ready func(), changed func(id string)) error
	blind  string // what is said when it does not answer
	resync chan struct{}

	known   bool
	asked   bool // it was asked at least once, so what is seen may be told
	trouble string
	answers int                // how often it has begun to answer
	since   time.Time          // when it began to last
	giveUp  context.CancelFunc // ends the listing under way; nil before the first
}

// watch keeps what is known of the engine, or of systemd, fresh: by its events, by a listing now and then, by asking whether it
// lives.
func (x *Executor) watch(ctx context.Context, e *eye) {
	x.steps.Add(1)
	go func() {
		defer x.steps.Done()
		x.listings(ctx, e)
	}()
	if !e.unit { // whoever watches systemd asks that itself
		x.steps.Add(1)
		go func() {
			defer x.steps.Done()
			x.pings(ctx)
		}()
	}
	late := time.AfterFunc(firstSight, func() { x.unseen(e) })
	defer late.Stop()
	delay := 100 * time.Millisecond
	for ctx.Err() == nil {
		began := time.Now()
		err := e.watch(ctx, e.relist, func(id string) { x.hear(ctx, id) })
		if ctx.Err() != nil {
			return
		}
		x.lose(e, err)
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
func (e *eye) relist() {
	select {
	case e.resync <- struct{}{}:
	default:
	}
}

// lose notes that the engine, or systemd, does not answer.
func (x *Executor) lose(e *eye, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e.asked = true
	if e.giveUp != nil {
		e.giveUp() // so that the next listing is not behind one that hangs
	}
	x.unknown(e, err)
}

// Lose says that the engine is known not to answer, before it was asked here.
func (x *Executor) Lose(err error) { x.lose(x.engine, err) }

// unseen gives up waiting for the first sight of what runs. What is asked meanwhile goes on.
func (x *Executor) unseen(e *eye) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !e.asked {
		e.asked = true
		x.unknown(e, fmt.Errorf("it has not shown what runs within %s", firstSight))
	}
}

// unknown says that nobody knows what runs. The caller holds the lock.
func (x *Executor) unknown(e *eye, err error) {
	if !e.known && e.trouble != "" {
		return
	}
	x.cfg.Log.Warn("what runs is lost from sight", "units", e.unit, "error", err)
	e.known, e.trouble = false, e.blind
	x.everything()
	x.tellTrouble(e, e.trouble)
}

// tellTrouble passes on that the engine does not answer, or does again. The caller holds the lock.
func (x *Executor) tellTrouble(e *eye, trouble string) {
	if x.cfg.Trouble != nil && !e.unit {
		x.cfg.Trouble(trouble)
	}
}

func (x *Executor) listings(ctx context.Context, e *eye) {
	full := time.NewTicker(x.cfg.Resync)
	defer full.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-full.C:
		case <-e.resync:
		}
		x.list(ctx, e)
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
	x.mu.Lock()
	before := x.engine.answers
	x.mu.Unlock()
	err := x.cfg.Engine.Ping(ctx)
	x.mu.Lock()
	known, since := x.engine.known, x.engine.answers
	x.mu.Unlock()
	switch {
	case err != nil && since != before: // it was asked before it answered others: the next ping tells
	case err != nil && ctx.Err() != context.Canceled:
		x.lose(x.engine, err)
	case err == nil && !known:
		x.engine.relist()
	}
}

// list compares everything with what is known and looks closer where they differ.
func (x *Executor) list(all context.Context, e *eye) {
	ctx, cancel := context.WithCancel(all)
	defer cancel()
	x.mu.Lock()
	e.giveUp = cancel
	before := map[string]bool{}
	for id := range x.containers {
		if systemd.IsUnit(id) == e.unit {
			before[id] = true
		}
	}
	x.mu.Unlock()

	glimpses, err := e.glance(ctx)
	if err != nil {
		if all.Err() == nil {
			x.lose(e, err)
		}
		return
	}
	var unsure []string
	x.mu.Lock()
	there := make(map[string]bool, len(glimpses))
	for _, g := range glimpses {
		there[g.ContainerID] = true
		c, ok := x.containers[g.ContainerID]
		if !e.known || !ok || c.State != g.State || c.Health != g.Health {
			unsure = append(unsure, g.ContainerID)
		}
	}
	for id := range before {
		if !there[id] {
			x.put(id, sight{})
		}
	}
	first := !e.known
	x.mu.Unlock()

	if first {
		x.lookAtAll(all, e, unsure)
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, id := range unsure {
		x.touch(all, id)
	}
}

// lookAtAll ends a time in which the engine was not known: nothing is decided before every container was looked at.
func (x *Executor) lookAtAll(ctx context.Context, e *eye, ids []string) {
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
			x.lose(e, err)
			e.relistLater(ctx)
		}
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if e.trouble != "" {
		x.tellTrouble(e, "")
	}
	e.known, e.asked, e.trouble = true, true, ""
	e.answers++
	e.since = time.Now()
	maps.DeleteFunc(x.proved, func(id string, _ time.Time) bool {
		return x.containers[id].ContainerID == "" && systemd.IsUnit(id) == e.unit
	})
	x.everything()
}

func (e *eye) relistLater(ctx context.Context) {
	time.AfterFunc(time.Second, func() {
		if ctx.Err() == nil {
			e.relist()
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
	switch {
	case !systemd.IsUnit(id):
		s.Container, err = x.cfg.Engine.Look(ctx, id)
		s.Container = x.believe(ctx, s.Container)
	case x.cfg.Units != nil:
		s.Container, err = x.cfg.Units.Look(ctx, id)
	}
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
		delete(x.probing, id)
		delete(x.proved, id)
		if x.cfg.Processes != nil {
			x.cfg.Processes.Forget(id)
		}
		delete(x.byKey[old.Owner.Key], id)
		if len(x.byKey[old.Owner.Key]) == 0 {
			delete(x.byKey, old.Owner.Key)
		}
		c = old
	case had && s.began < x.seenAt[id] && !c.Supersedes(old):
		return
	default:
		x.sights++
		x.containers[id], x.seenAt[id] = x.withProof(c), x.sights
		if x.byKey[c.Owner.Key] == nil {
			x.byKey[c.Owner.Key] = map[string]bool{}
		}
		x.byKey[c.Owner.Key][id] = true
	}
	x.dirty[c.Owner.Key] = true
	x.kick()
}
