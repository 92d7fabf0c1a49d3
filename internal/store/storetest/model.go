package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/argosy-cluster/argosy/internal/store"
)

// model is the store as its interface describes it, in the fewest words.
type model struct {
	now     int64
	values  map[string]string
	written map[string]int64
	batches []store.Batch
}

func (m *model) commit(txn store.Txn) (conflict string) {
	for _, c := range txn.If {
		if m.written[c.Key] != c.ModRevision {
			return c.Key
		}
	}
	b := store.Batch{Revision: m.now + 1}
	for _, op := range txn.Ops {
		_, there := m.values[op.Key]
		switch {
		case op.Value != nil:
			m.values[op.Key], m.written[op.Key] = string(op.Value), b.Revision
		case there:
			delete(m.values, op.Key)
			delete(m.written, op.Key)
		default:
			continue
		}
		b.Events = append(b.Events, store.Event(op))
	}
	if len(b.Events) > 0 {
		m.now = b.Revision
		m.batches = append(m.batches, b)
	}
	return ""
}

func (m *model) list(prefix string) store.Snapshot {
	snap := store.Snapshot{Revision: m.now}
	for _, key := range slices.Sorted(maps.Keys(m.values)) {
		if strings.HasPrefix(key, prefix) {
			snap.KVs = append(snap.KVs, store.KV{Key: key, Value: []byte(m.values[key]), ModRevision: m.written[key]})
		}
	}
	return snap
}

// Whatever transactions are tried, the store answers as the model does, and a watch from any revision replays exactly
// what the model saw.
func testModel(t *testing.T, _ context.Context, subject Subject) {
	s := subject.Store
	round := 0
	rapid.Check(t, func(t *rapid.T) {
		ctx := t.Context()
		round++
		root := fmt.Sprintf("/round%d/", round)
		start, err := s.List(ctx, root)
		if err != nil {
			t.Fatal(err)
		}
		m := &model{now: start.Revision, values: map[string]string{}, written: map[string]int64{}}
		keys := rapid.SampledFrom([]string{root + "a", root + "a/b", root + "a/c", root + "b", root + "b/a"})
		for range rapid.IntRange(1, 12).Draw(t, "transactions") {
			step(t, ctx, s, m, keys)
		}
		prefix := rapid.SampledFrom([]string{root, root + "a", root + "a/"}).Draw(t, "prefix")
		snap, err := s.List(ctx, prefix)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(m.list(prefix), snap); d != "" {
			t.Fatalf("list %s (-model +store):\n%s", prefix, d)
		}
		from := rapid.Int64Range(start.Revision+1, m.now+1).Draw(t, "from")
		var want []store.Batch
		for _, b := range m.batches {
			below := slices.DeleteFunc(slices.Clone(b.Events), func(e store.Event) bool { return !strings.HasPrefix(e.Key, prefix) })
			if b.Revision >= from && len(below) > 0 {
				want = append(want, store.Batch{Revision: b.Revision, Events: below})
			}
		}
		got, err := take(ctx, s, prefix, from, len(want))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("watch %s from %d (-model +store):\n%s", prefix, from, d)
		}
	})
}

func step(t *rapid.T, ctx context.Context, s store.Store, m *model, keys *rapid.Generator[string]) {
	txn := store.Txn{}
	for _, key := range rapid.SliceOfNDistinct(keys, 0, 2, rapid.ID).Draw(t, "if") {
		// Mostly the revision that holds, so that enough transactions go through.
		rev := m.written[key]
		if rapid.IntRange(0, 3).Draw(t, "stale") == 0 {
			rev = rapid.Int64Range(0, m.now+1).Draw(t, "revision")
		}
		txn.If = append(txn.If, store.Compare{Key: key, ModRevision: rev})
	}
	for _, key := range rapid.SliceOfNDistinct(keys, 0, 4, rapid.ID).Draw(t, "ops") {
		op := store.Delete(key)
		if rapid.IntRange(0, 2).Draw(t, "delete") > 0 {
			op.Value = []byte(rapid.StringN(0, 3, -1).Draw(t, "value"))
		}
		txn.Ops = append(txn.Ops, op)
	}
	want := m.commit(txn)
	rev, err := s.Commit(ctx, txn)
	var conflict *store.ConflictError
	switch {
	case errors.As(err, &conflict):
		if conflict.Key != want {
			t.Fatalf("a conflict at %s, want one at %q", conflict.Key, want)
		}
	case err != nil:
		t.Fatal(err)
	case want != "":
		t.Fatalf("no conflict, want one at %s", want)
	case rev != m.now:
		t.Fatalf("made revision %d, want %d", rev, m.now)
	}
}
