package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
)

// observer follows what an Engine says of its containers. It is the same for all contestants, and takes the Engine's own
// time of each event.
type observer struct {
	mu     sync.Mutex
	tally  tally
	change chan struct{} // 1: the tally is another
	cancel context.CancelFunc
	ended  chan error
}

// tally is which containers there are.
type tally struct {
	there, running map[string]bool
	at             time.Time // of the latest event that changed it
}

func newTally() tally { return tally{there: map[string]bool{}, running: map[string]bool{}} }

// add takes in an event and says whether it changed anything.
func (t *tally) add(action events.Action, id string, at time.Time) bool {
	switch action {
	case events.ActionCreate:
		t.there[id] = true
	case events.ActionStart:
		t.there[id], t.running[id] = true, true
	case events.ActionDie:
		delete(t.running, id)
	case events.ActionDestroy:
		delete(t.running, id)
		delete(t.there, id)
	default:
		return false
	}
	t.at = at
	return true
}

// observe begins to follow the Engine. It asks for what happens from now on, so it does not matter how soon the Engine listens.
func observe(ctx context.Context, engine *client.Client) *observer {
	ctx, cancel := context.WithCancel(ctx)
	o := &observer{tally: newTally(), change: make(chan struct{}, 1), cancel: cancel, ended: make(chan error, 1)}
	now := time.Now()
	res := engine.Events(ctx, client.EventsListOptions{
		Since:   fmt.Sprintf("%d.%09d", now.Unix(), now.Nanosecond()),
		Filters: client.Filters{}.Add("type", "container").Add("event", "create", "start", "die", "destroy"),
	})
	go func() {
		for {
			select {
			case m := <-res.Messages:
				o.mu.Lock()
				if o.tally.add(m.Action, m.Actor.ID, time.Unix(0, m.TimeNano)) {
					select {
					case o.change <- struct{}{}:
					default:
					}
				}
				o.mu.Unlock()
			case err := <-res.Err:
				o.ended <- fmt.Errorf("the Engine's events ended: %w", err)
				return
			}
		}
	}()
	return o
}

func (o *observer) close() { o.cancel() }

// wait returns the time of the event after which enough said so.
func (o *observer) wait(ctx context.Context, limit time.Duration, enough func(there, running int) bool) (time.Time, error) {
	late := time.NewTimer(limit)
	defer late.Stop()
	for {
		o.mu.Lock()
		there, running, at := len(o.tally.there), len(o.tally.running), o.tally.at
		o.mu.Unlock()
		if enough(there, running) {
			return at, nil
		}
		select {
		case <-o.change:
		case <-late.C:
			return time.Time{}, &lateError{limit, there, running}
		case err := <-o.ended:
			o.ended <- err
			return time.Time{}, err
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		}
	}
}

// lateError is that a contestant did not get there in time. It is a result, not a failure of measuring.
type lateError struct {
	limit          time.Duration
	there, running int
}

func (e *lateError) Error() string {
	return fmt.Sprintf("did not finish in %.0f s: %d containers there, %d of them running", e.limit.Seconds(), e.there, e.running)
}
