package history

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/argosy-cluster/argosy/internal/store"
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
			got := more(<-came, came, pause.C)
			if at := time.Since(begun); len(got) != want.many || at != want.at {
				t.Errorf("writing %d has %d after %s, not %d after %s", n, len(got), at, want.many, want.at)
			}
			pause.Reset(gather)
		}
	})
}
