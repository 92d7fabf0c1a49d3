package network

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// recorder is a Driver that fails as long as it is told to and notes when it
// was asked.
type recorder struct {
	mu    sync.Mutex
	start time.Time
	fail  error
	at    []time.Duration
	peers int
}

func (r *recorder) Apply(_ context.Context, _ Config, peers []Peer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = append(r.at, time.Since(r.start))
	r.peers = len(peers)
	return r.fail
}

func (r *recorder) Teardown(context.Context, Config) error { return nil }

func (r *recorder) set(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

func (r *recorder) take() []time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.at
	r.at = nil
	return at
}

func TestKeeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{start: time.Now()}
		k := NewKeeper(r, nil, 10*time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan error)
		go func() { stopped <- k.Run(ctx) }()

		time.Sleep(25 * time.Second)
		if at := r.take(); len(at) != 0 {
			t.Errorf("applied before anything was set: %v", at)
		}
		k.Set(labConfig(), make([]Peer, 3))
		if err := k.Wait(ctx); err != nil || r.peers != 3 {
			t.Errorf("%d peers, %v", r.peers, err)
		}
		if at := r.take(); len(at) != 1 || at[0] != 25*time.Second {
			t.Errorf("applied at %v, want at once", at)
		}
		time.Sleep(21 * time.Second)
		if at := r.take(); len(at) != 2 {
			t.Errorf("rechecked at %v, want twice", at)
		}
		k.Check()
		synctest.Wait()
		if at := r.take(); len(at) != 1 || at[0] != 46*time.Second {
			t.Errorf("nudged at 46s, applied at %v", at)
		}

		// What fails is tried again soon, then ever less often.
		broken := errors.New("broken")
		r.set(broken)
		k.Set(labConfig(), nil)
		if err := k.Wait(ctx); !errors.Is(err, broken) || !errors.Is(k.Err(), broken) {
			t.Errorf("want the failure, got %v and %v", err, k.Err())
		}
		time.Sleep(8 * time.Second)
		want := []time.Duration{46 * time.Second, 46500 * time.Millisecond, 47500 * time.Millisecond, 49500 * time.Millisecond, 53500 * time.Millisecond}
		if at := r.take(); len(at) != len(want) || at[4] != want[4] {
			t.Errorf("tried at %v, want %v", at, want)
		}
		r.set(nil)
		time.Sleep(10 * time.Second)
		if k.Err() != nil {
			t.Errorf("after it heals: %v", k.Err())
		}

		short, done := context.WithTimeout(ctx, time.Second)
		defer done()
		cancel()
		if err := <-stopped; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
		k.Set(labConfig(), nil) // nobody will apply it
		if err := k.Wait(short); err == nil {
			t.Error("Wait returned for something that was not applied")
		}
	})
}
