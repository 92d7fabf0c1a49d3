package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/argosy-cluster/argosy/internal/store"
)

// write is a transaction that was acknowledged: the clock counts its begin and end among all others'.
type write struct {
	key        string
	seen, made int64 // revision it compared with, revision it made
	begin, end int64
	value      int
}

// Several writers increment counters by compare and swap, and read between. The history they acknowledged has to be that
// of one store that does one thing after another, in an order that agrees with real time.
func testConcurrentCounters(t *testing.T, ctx context.Context, subject Subject) {
	s := subject.Store
	const workers, each, keys = 6, 25, 3
	var (
		clock  atomic.Int64
		mu     sync.Mutex
		writes []write
		wg     sync.WaitGroup
	)
	errs := make(chan error, workers)
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				made, err := increment(ctx, s, &clock, fmt.Sprintf("/counter/%d", (w+i)%keys))
				if err != nil {
					errs <- err
					return
				}
				mu.Lock()
				writes = append(writes, made)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Fatal(err)
	}
	checkHistory(t, writes)
	for _, kv := range mustList(t, ctx, s, "/counter/").KVs {
		if string(kv.Value) != strconv.Itoa(workers*each/keys) {
			t.Errorf("%s counts %s, want %d", kv.Key, kv.Value, workers*each/keys)
		}
	}
}

// increment tries until its compare and swap is not disturbed.
func increment(ctx context.Context, s store.Store, clock *atomic.Int64, key string) (write, error) {
	for {
		begin := clock.Add(1)
		snap, err := s.Get(ctx, key)
		if err != nil {
			return write{}, err
		}
		w := write{key: key, begin: begin}
		if len(snap.KVs) > 0 {
			if w.value, err = strconv.Atoi(string(snap.KVs[0].Value)); err != nil {
				return write{}, err
			}
			w.seen = snap.KVs[0].ModRevision
		}
		if w.seen > snap.Revision {
			return write{}, fmt.Errorf("%s was written at %d and read at %d", key, w.seen, snap.Revision)
		}
		w.value++
		w.begin = clock.Add(1)
		w.made, err = s.Commit(ctx, store.Txn{
			If:  []store.Compare{{Key: key, ModRevision: w.seen}},
			Ops: []store.Op{put(key, strconv.Itoa(w.value))},
		})
		w.end = clock.Add(1)
		var conflict *store.ConflictError
		if errors.As(err, &conflict) {
			continue
		}
		return w, err
	}
}

func checkHistory(t *testing.T, writes []write) {
	t.Helper()
	slices.SortFunc(writes, func(a, b write) int { return int(a.made - b.made) })
	last := map[string]write{}
	latestBegin := int64(0)
	for i, w := range writes {
		if i > 0 && w.made == writes[i-1].made {
			t.Fatalf("two transactions made revision %d", w.made)
		}
		if before := last[w.key]; w.seen != before.made || w.value != before.value+1 {
			t.Fatalf("%s went from %d at %d to %d at %d, which had seen %d", w.key, before.value, before.made, w.value, w.made, w.seen)
		}
		// No transaction that had ended before another began comes after it.
		if w.end < latestBegin {
			t.Fatalf("revision %d had been made before one with a smaller number was asked for", w.made)
		}
		latestBegin = max(latestBegin, w.begin)
		last[w.key] = w
	}
}

// Leaders that depose each other while they write: what is written under a term lies between it and the next.
func testConcurrentTerms(t *testing.T, ctx context.Context, subject Subject) {
	s := subject.Store
	start := mustList(t, ctx, s, "/").Revision + 1
	const servers, reigns = 4, 8
	var wg sync.WaitGroup
	errs := make(chan error, servers)
	for n := range servers {
		wg.Go(func() {
			for range reigns {
				if err := reign(ctx, s, fmt.Sprintf("s%d", n)); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Fatal(err)
	}
	end := mustPut(t, ctx, s, "/end", "x")
	var term int64
	for b, err := range s.Watch(ctx, "", start) {
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range b.Events {
			if e.Key == store.TermKey {
				term = b.Revision
			} else if e.Key == "/led" && string(e.Value) != fmt.Sprint(term) {
				t.Fatalf("revision %d was written under the term %s, when %d ruled", b.Revision, e.Value, term)
			}
		}
		if b.Revision == end {
			return
		}
	}
	t.Fatalf("the watch did not reach revision %d: %v", end, ctx.Err())
}

func reign(ctx context.Context, s store.Store, server string) error {
	var conflict *store.ConflictError
	term, _, err := store.AcquireTerm(ctx, s, server, time.Unix(0, 0))
	if errors.As(err, &conflict) {
		return nil
	}
	for i := 0; err == nil && i < 5; i++ {
		_, err = s.Commit(ctx, store.Txn{Term: term, Ops: []store.Op{put("/led", fmt.Sprint(term))}})
	}
	if errors.Is(err, store.ErrDeposed) {
		return nil
	}
	return err
}
