package history

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/memory"
)

// TestGathered: what comes within gather of a writing is written together, and what comes alone waits for nothing.
func TestGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const soon = gather / 8
		came := make(chan []store.KV)
		go func() {
			defer close(came)
			for _, s := range []struct {
				after time.Duration
				many  int
			}{{time.Second, 1}, {soon, 1}, {soon, 1}, {soon, 1}, {10 * gather, 1}, {soon, batch}, {soon, 1}} {
				time.Sleep(s.after)
				came <- make([]store.KV, s.many)
			}
		}()
		pause := time.NewTimer(0)
		begun := time.Now()
		for n, want := range []struct {
			many int
			at   time.Duration
		}{
			{1, time.Second},
			{3, time.Second + gather},
			{1, time.Second + 3*soon + 10*gather},
			{batch, time.Second + 4*soon + 10*gather}, // enough for one transaction
			{1, time.Second + 5*soon + 10*gather},     // and the last, as no more comes
		} {
			got := more(<-came, came, pause.C, nil)
			if at := time.Since(begun); len(got) != want.many || at != want.at {
				t.Errorf("writing %d has %d after %s, not %d after %s", n, len(got), at, want.many, want.at)
			}
			pause.Reset(gather)
		}
	})
}

// TestCatchUp: who changed something and then asks finds it, and waits for nothing that is gathered. What the store never had is not waited
// for without end.
func TestCatchUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, db := memory.New(), openTest(t, MaxKept)
		ctx, cancel := context.WithCancel(t.Context())
		var following sync.WaitGroup
		following.Go(func() { _ = db.Follow(ctx, s, nil, slog.New(slog.NewTextHandler(io.Discard, nil))) })
		const many = 30
		begun := time.Now()
		for seq := uint64(1); seq <= many; seq++ {
			op, err := store.Put(store.HistoryKey(seq), &argosyv1.Transition{Seq: seq})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{op}}); err != nil {
				t.Fatal(err)
			}
			if err := db.CatchUp(t.Context(), seq); err != nil {
				t.Fatal(err)
			}
			if last, err := db.Last(); err != nil || last != seq {
				t.Errorf("it answers with %d, not %d: %v", last, seq, err)
			}
		}
		if took := time.Since(begun); took > 0 {
			t.Errorf("%d questions waited %s for what was gathered", many, took)
		}
		if err := db.CatchUp(t.Context(), many+1); err != nil || time.Since(begun) != catchUpTime {
			t.Errorf("what nobody has: %v after %s", err, time.Since(begun))
		}
		cancel()
		following.Wait()
	})
}
