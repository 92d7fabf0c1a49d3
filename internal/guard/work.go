package guard

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/claims/guard"
)

// workers carry out orders, those of one claim one after another.
type workers struct {
	cfg    Config
	events chan<- guard.Event
	all    sync.WaitGroup

	mu    sync.Mutex
	ctx   context.Context
	queue map[claims.ID][]guard.Effect     // of those that have a worker; what it does now is not in it
	mount map[claims.ID]context.CancelFunc // of a mount that is under way
}

// sealAgain is how long after a failure slice and path are tried to be removed again.
const sealAgain = 500 * time.Millisecond

func newWorkers(cfg Config, events chan<- guard.Event) *workers {
	return &workers{cfg: cfg, events: events, queue: map[claims.ID][]guard.Effect{}, mount: map[claims.ID]context.CancelFunc{}}
}

func (w *workers) run(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ctx = ctx
}

func (w *workers) wait() { w.all.Wait() }

// order queues an order. It does not wait. An order that waits already is not queued twice.
func (w *workers) order(e guard.Effect) {
	w.mu.Lock()
	defer w.mu.Unlock()
	id, _ := guard.Subject(e)
	waiting, busy := w.queue[id]
	for _, o := range waiting {
		if o == e {
			return
		}
	}
	w.queue[id] = append(waiting, e)
	if _, ends := e.(guard.Clear); ends && w.mount[id] != nil {
		w.mount[id]() // storage that does not answer must not keep a claim from ending
	}
	if !busy {
		w.all.Go(func() { w.work(id) })
	}
}

func (w *workers) work(id claims.ID) {
	for {
		w.mu.Lock()
		waiting := w.queue[id]
		if len(waiting) == 0 || w.ctx.Err() != nil {
			delete(w.queue, id)
			w.mu.Unlock()
			return
		}
		w.queue[id] = waiting[1:]
		ctx := w.ctx
		w.mu.Unlock()
		w.act(ctx, waiting[0])
	}
}

// act carries out one order and tells how it went.
func (w *workers) act(ctx context.Context, e guard.Effect) {
	id, t := guard.Subject(e)
	fault := func(err error) string {
		if err == nil {
			return ""
		}
		return err.Error()
	}
	var answer guard.Event
	switch e.(type) {
	case guard.Mount:
		answer = guard.Mounted{Claim: id, Token: t, Fault: fault(w.mounting(ctx, id, t))}
	case guard.Arm:
		if err := w.cfg.Actuator.Arm(ctx, id, t); err != nil {
			// Nothing runs then, which is safe. The agent hears it, and gives the claim back or asks again.
			w.cfg.Log.Error("the gate cannot be opened", "claim", id, "token", t, "err", err)
			w.cfg.Tell(guard.Tell{Claim: id, Token: t, Phase: guard.Armed, Why: fmt.Sprintf("the gate cannot be opened: %v", err)})
		} else {
			w.cfg.Tell(guard.Tell{Claim: id, Token: t, Phase: guard.Armed}) // and now it is
		}
		return
	case guard.Clear:
		answer = guard.Cleared{Claim: id, Token: t, Fault: fault(w.cfg.Actuator.Clear(ctx, id, t))}
	case guard.Seal:
		for err := w.cfg.Actuator.Seal(ctx, id, t); err != nil; err = w.cfg.Actuator.Seal(ctx, id, t) {
			w.cfg.Log.Error("slice and path cannot be removed; it is tried again", "claim", id, "token", t, "err", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(sealAgain):
			}
		}
		answer = guard.Closed{Claim: id, Token: t}
	}
	select {
	case <-ctx.Done():
	case w.events <- answer:
	}
}

// mounting mounts, unless the claim is to end first.
func (w *workers) mounting(ctx context.Context, id claims.ID, t claims.Token) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.mu.Lock()
	w.mount[id] = cancel
	for _, e := range w.queue[id] {
		if _, ends := e.(guard.Clear); ends {
			cancel()
		}
	}
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.mount, id)
		w.mu.Unlock()
	}()
	return w.cfg.Actuator.Mount(ctx, id, t)
}
