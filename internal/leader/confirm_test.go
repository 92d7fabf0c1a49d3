package leader_test

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/memory"
)

// deaf is a store whose news does not arrive: what a leader knows that stood still while others went on.
type deaf struct {
	*memory.Store
	gets *atomic.Int64 // how often it was asked
}

func (d deaf) Get(ctx context.Context, keys ...string) (store.Snapshot, error) {
	d.gets.Add(1)
	return d.Store.Get(ctx, keys...)
}

func (deaf) Watch(ctx context.Context, _ string, _ int64) iter.Seq2[store.Batch, error] {
	return func(func(store.Batch, error) bool) { <-ctx.Done() }
}

// A leader that does not know yet that its term is over would answer from the past. It finds out before it does.
func TestConfirm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := deaf{memory.New(), &atomic.Int64{}}
		l := leader.New(leader.Config{Store: s, Election: store.Alone{}, ServerID: "s1", Log: slog.New(slog.DiscardHandler)})
		if err := l.Confirm(ctx); !errors.Is(err, leader.ErrNotLeading) {
			t.Errorf("before it leads: %v", err)
		}
		ended := make(chan error, 1)
		go func() { ended <- l.Run(ctx) }()
		synctest.Wait()
		if err := l.Confirm(ctx); err != nil {
			t.Errorf("while it leads: %v", err)
		}
		// Of many who tell something at the same time, one asks.
		asked := s.gets.Load()
		for range 10 {
			if err := l.Confirmed(ctx, time.Second); err != nil {
				t.Errorf("while it leads: %v", err)
			}
		}
		if n := s.gets.Load() - asked; n != 1 {
			t.Errorf("the store was asked %d times", n)
		}
		if _, _, err := store.AcquireTerm(ctx, s, "s2", time.Now()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !l.Leading() {
			t.Fatal("it knows already, so this test shows nothing")
		}
		if err := l.Confirm(ctx); !errors.Is(err, leader.ErrNotLeading) {
			t.Errorf("when another leads: %v", err)
		}
		time.Sleep(time.Second)
		if err := l.Confirmed(ctx, time.Second); !errors.Is(err, leader.ErrNotLeading) {
			t.Errorf("what was sure a second ago is sure: %v", err)
		}
		cancel()
		<-ended
	})
}
