package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/argosy-cluster/argosy/internal/store"
)

func testWatchFollows(t *testing.T, ctx context.Context, subject Subject) {
	s := subject.Store
	start := mustPut(t, ctx, s, "/w/seen", "0")
	want := make([]store.Batch, 50)
	for i := range want {
		value := fmt.Sprint(i)
		want[i] = store.Batch{Revision: start + 1 + int64(i), Events: []store.Event{{Key: "/w/" + value, Value: []byte(value)}}}
	}
	first, done := make(chan struct{}), make(chan error, 1)
	var got []store.Batch
	go func() {
		for b, err := range s.Watch(ctx, "/w/", start+1) {
			if err != nil {
				done <- err
				return
			}
			if got = append(got, b); len(got) == 1 {
				close(first)
			}
			if len(got) == len(want) {
				break
			}
		}
		done <- nil
	}()
	for i, b := range want {
		mustPut(t, ctx, s, b.Events[0].Key, string(b.Events[0].Value))
		if i == 0 {
			select {
			case <-first: // the watch is live; what follows is pushed to it
			case <-ctx.Done():
				t.Fatal("the first change did not arrive")
			}
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	same(t, "batches", got, want)
}

func testWatchPast(t *testing.T, ctx context.Context, subject Subject) {
	s := subject.Store
	var revs []int64
	for i := range 10 {
		revs = append(revs, mustPut(t, ctx, s, "/w/k", fmt.Sprint(i)))
	}
	for i, from := range revs {
		got, err := take(ctx, s, "/w/", from, len(revs)-i)
		if err != nil {
			t.Fatal(err)
		}
		for j, b := range got {
			same(t, fmt.Sprintf("from %d", from), b,
				store.Batch{Revision: revs[i+j], Events: []store.Event{{Key: "/w/k", Value: []byte(fmt.Sprint(i + j))}}})
		}
	}
	// From the beginning of time.
	got, err := take(ctx, s, "/w/", 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "first revision", got[0].Revision, revs[0])
	// From a revision that is not yet made.
	future := revs[len(revs)-1] + 3
	type result struct {
		batches []store.Batch
		err     error
	}
	answer := make(chan result, 1)
	go func() {
		b, err := take(ctx, s, "/w/", future, 1)
		answer <- result{b, err}
	}()
	for i := range 3 {
		mustPut(t, ctx, s, "/w/k", fmt.Sprintf("future %d", i))
	}
	r := <-answer
	if r.err != nil {
		t.Fatal(r.err)
	}
	same(t, "future", r.batches,
		[]store.Batch{{Revision: future, Events: []store.Event{{Key: "/w/k", Value: []byte("future 2")}}}})
}

// One transaction is one batch, in the order of its operations, whether it is read from history or pushed.
func testWatchBatches(t *testing.T, ctx context.Context, subject Subject) {
	s := subject.Store
	start := mustPut(t, ctx, s, "/other", "0") + 1
	const txns, ops = 40, 300
	commit := func(n int) {
		txn := store.Txn{}
		for i := range ops {
			key := fmt.Sprintf("/w/%03d", (i*7+n)%ops)
			if (i+n)%5 == 0 && n > 0 {
				txn.Ops = append(txn.Ops, store.Delete(key))
				continue
			}
			txn.Ops = append(txn.Ops, store.Op{Key: key, Value: bytes.Repeat([]byte{byte(n)}, 700)})
		}
		txn.Ops = append(txn.Ops, put("/w/x", fmt.Sprint(n)), put("/elsewhere", "x"))
		mustCommit(t, ctx, s, txn)
	}
	for n := range txns / 2 {
		commit(n)
	}
	count := 0
	for b, err := range s.Watch(ctx, "/w/", start) {
		if err != nil {
			t.Fatal(err)
		}
		last := b.Events[len(b.Events)-1]
		if b.Revision != start+int64(count) || last.Key != "/w/x" || string(last.Value) != fmt.Sprint(count) {
			t.Fatalf("batch %d: revision %d, %d events, the last is %s %q", count, b.Revision, len(b.Events), last.Key, last.Value)
		}
		count++
		if count == 1 {
			// The reader has fallen behind from here on: the others wait for it.
			for n := txns / 2; n < txns; n++ {
				commit(n)
			}
		}
		if count == txns {
			break
		}
	}
	if count != txns {
		t.Fatalf("%d of %d batches: %v", count, txns, ctx.Err())
	}
}

func testWatchPrefix(t *testing.T, ctx context.Context, subject Subject) {
	s := subject.Store
	start := mustList(t, ctx, s, "/").Revision + 1
	mustCommit(t, ctx, s, store.Txn{Ops: []store.Op{put("/a/1", "1"), put("/b/1", "1"), put("/a", "not below")}})
	mustPut(t, ctx, s, "/b/2", "2")
	rev := mustPut(t, ctx, s, "/a/2", "2")
	got, err := take(ctx, s, "/a/", start, 2)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "batches below /a/", got, []store.Batch{
		{Revision: start, Events: []store.Event{{Key: "/a/1", Value: []byte("1")}}},
		{Revision: rev, Events: []store.Event{{Key: "/a/2", Value: []byte("2")}}},
	})
	if got, err = take(ctx, s, "", start, 3); err != nil || len(got) != 3 {
		t.Fatalf("the empty prefix shows %d of 3 batches: %v", len(got), err)
	}
}

func testWatchStops(t *testing.T, ctx context.Context, subject Subject) {
	s := subject.Store
	rev := mustPut(t, ctx, s, "/w", "0")
	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, err := range s.Watch(stop, "/w", rev) {
		if err != nil {
			t.Fatalf("a watch that was told to end: %v", err)
		}
		cancel() // the next change never comes; the watch ends all the same
	}
	for range s.Watch(stop, "/w", rev) { //nolint:errcheck // that it goes on at all is the fault
		t.Fatal("a watch went on after its context had ended")
	}
	// A reader may leave and come again at the same place.
	for range 3 {
		if got, err := take(ctx, s, "/w", rev, 1); err != nil || got[0].Revision != rev {
			t.Fatalf("%v, %v", got, err)
		}
	}
}

// What a reader has who lists and then watches is what the store has, though others write all the time.
func testListThenWatch(t *testing.T, ctx context.Context, subject Subject) {
	s := subject.Store
	const writers, each = 4, 60
	errs := make(chan error, writers)
	for w := range writers {
		go func() {
			for i := range each {
				key := fmt.Sprintf("/w/%d", (w+i)%7)
				op := put(key, fmt.Sprintf("%d.%d", w, i))
				if i%6 == 5 {
					op = store.Delete(key)
				}
				if _, err := s.Commit(ctx, store.Txn{Ops: []store.Op{op, put("/w/count/"+fmt.Sprint(w), fmt.Sprint(i))}}); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	readers := make(chan error, 3)
	for range cap(readers) {
		go func() { readers <- mirror(ctx, s, "/w/", writers, each) }()
	}
	for range writers {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	for range cap(readers) {
		if err := <-readers; err != nil {
			t.Fatal(err)
		}
	}
}

func mirror(ctx context.Context, s store.Store, prefix string, writers, each int) error {
	snap, err := s.List(ctx, prefix)
	if err != nil {
		return err
	}
	have := map[string]string{}
	for _, kv := range snap.KVs {
		have[kv.Key] = string(kv.Value)
	}
	finished := func() bool {
		for w := range writers {
			if have[prefix+"count/"+fmt.Sprint(w)] != fmt.Sprint(each-1) {
				return false
			}
		}
		return true
	}
	last := snap.Revision
	if !finished() {
		for b, err := range s.Watch(ctx, prefix, snap.Revision+1) {
			if err != nil {
				return err
			}
			if b.Revision != last+1 {
				return fmt.Errorf("after revision %d came %d", last, b.Revision)
			}
			last = b.Revision
			for _, e := range b.Events {
				if e.Value == nil {
					delete(have, e.Key)
					continue
				}
				have[e.Key] = string(e.Value)
			}
			if finished() {
				break
			}
		}
	}
	now, err := s.List(ctx, prefix)
	if err != nil {
		return err
	}
	if len(now.KVs) != len(have) {
		return fmt.Errorf("the watch leads to %d keys, the list has %d", len(have), len(now.KVs))
	}
	for _, kv := range now.KVs {
		if have[kv.Key] != string(kv.Value) {
			return fmt.Errorf("the watch leads to %q at %s, the list has %q", have[kv.Key], kv.Key, kv.Value)
		}
	}
	return nil
}

func testCompaction(t *testing.T, ctx context.Context, subject Subject) {
	s := subject.Store
	var revs []int64
	for i := range 10 {
		revs = append(revs, mustPut(t, ctx, s, "/w/"+fmt.Sprint(i%2), fmt.Sprint(i)))
	}
	if err := subject.Compact(ctx, revs[5]); err != nil {
		t.Fatal(err)
	}
	for _, from := range []int64{0, 1, revs[0], revs[4]} {
		if got, err := take(ctx, s, "/w/", from, 1); !errors.Is(err, store.ErrCompacted) {
			t.Fatalf("watching from %d after compaction at %d: %v, %v", from, revs[5], got, err)
		}
	}
	got, err := take(ctx, s, "/w/", revs[6], 4)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "first batch after the compaction", got[0].Revision, revs[6])
	// What is there is still read, with the revisions it was written at, however old.
	snap := mustList(t, ctx, s, "/w/")
	if len(snap.KVs) != 2 || snap.KVs[0].ModRevision != revs[8] || snap.KVs[1].ModRevision != revs[9] {
		t.Fatalf("after compaction: %+v", snap)
	}
	// The cure works: list again, watch from there.
	rev := mustPut(t, ctx, s, "/w/new", "1")
	if got, err = take(ctx, s, "/w/", snap.Revision+1, 1); err != nil || got[0].Revision != rev {
		t.Fatalf("%v, %v", got, err)
	}
}

func testCancelled(t *testing.T, ctx context.Context, subject Subject) {
	s := subject.Store
	rev := mustPut(t, ctx, s, "/a", "1")
	over, cancel := context.WithCancel(ctx)
	cancel()
	_, getErr := s.Get(over, "/a")
	_, listErr := s.List(over, "/")
	_, commitErr := s.Commit(over, store.Txn{Ops: []store.Op{put("/a", "2")}})
	for name, err := range map[string]error{"Get": getErr, "List": listErr, "Commit": commitErr} {
		if !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a context that is over: %v; want both that and ErrUnavailable", name, err)
		}
	}
	if snap := mustList(t, ctx, s, "/"); snap.Revision != rev {
		t.Errorf("a transaction was applied whose context was over before it began: %+v", snap)
	}
}

func testUnavailable(t *testing.T, ctx context.Context, subject Subject) {
	s := subject.Store
	rev := mustPut(t, ctx, s, "/a", "1")
	live, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for _, err := range s.Watch(ctx, "/a", rev) {
			if err != nil {
				ended <- err
				return
			}
			close(live)
		}
		ended <- nil
	}()
	select {
	case <-live:
	case <-ctx.Done():
		t.Fatal("the watch shows nothing")
	}
	subject.Break()
	var getErr, listErr, commitErr, watchErr error
	var wg sync.WaitGroup // side by side, since each may take a while to give up
	wg.Go(func() { _, getErr = s.Get(ctx, "/a") })
	wg.Go(func() { _, listErr = s.List(ctx, "/") })
	wg.Go(func() { _, commitErr = s.Commit(ctx, store.Txn{Ops: []store.Op{put("/a", "2")}}) })
	wg.Go(func() { _, watchErr = take(ctx, s, "/a", rev, 1) })
	wg.Wait()
	for name, err := range map[string]error{
		"Get": getErr, "List": listErr, "Commit": commitErr, "Watch": watchErr, "a running Watch": <-ended,
	} {
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s of a store that is gone: %v; want ErrUnavailable", name, err)
		}
	}
}
