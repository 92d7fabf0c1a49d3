package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/argosy-cluster/argosy/internal/store"
)

// Subject is a new, empty store, and what the suite does to it from outside. It is cleaned up by the test it was made
// for.
type Subject struct {
	Store store.Store
	// Compact forgets the history up to a revision.
	Compact func(ctx context.Context, revision int64) error
	// Break makes the store unavailable for good.
	Break func()
}

// patience bounds everything that should happen at once; only failing tests wait for it, and a busy machine may take long.
const patience = 2 * time.Minute

// Run runs the whole suite, each part on a store of its own. Parts run side by side if open has them do so.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	parts := []struct {
		name string
		run  func(*testing.T, context.Context, Subject)
	}{
		{"Reads", testReads},
		{"EmptyValue", testEmptyValue},
		{"Revisions", testRevisions},
		{"Refused", testRefused},
		{"Compares", testCompares},
		{"TermGuard", testTermGuard},
		{"AcquireTerm", testAcquireTerm},
		{"AllOrNothing", testAllOrNothing},
		{"BigTransaction", testBigTransaction},
		{"WatchFollows", testWatchFollows},
		{"WatchPast", testWatchPast},
		{"WatchBatches", testWatchBatches},
		{"WatchPrefix", testWatchPrefix},
		{"WatchStops", testWatchStops},
		{"ListThenWatch", testListThenWatch},
		{"Compaction", testCompaction},
		{"Cancelled", testCancelled},
		{"Unavailable", testUnavailable},
		{"ConcurrentCounters", testConcurrentCounters},
		{"ConcurrentTerms", testConcurrentTerms},
		{"Migration", testMigration},
		{"MigrationDeposed", testMigrationDeposed},
		{"Model", testModel},
	}
	for _, p := range parts {
		t.Run(p.name, func(t *testing.T) {
			subject := open(t)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			p.run(t, ctx, subject)
		})
	}
}

func put(key, value string) store.Op { return store.Op{Key: key, Value: []byte(value)} }

func mustCommit(t *testing.T, ctx context.Context, s store.Store, txn store.Txn) int64 {
	t.Helper()
	rev, err := s.Commit(ctx, txn)
	if err != nil {
		t.Fatalf("commit: %v", err)
	}
	return rev
}

func mustPut(t *testing.T, ctx context.Context, s store.Store, key, value string) int64 {
	t.Helper()
	return mustCommit(t, ctx, s, store.Txn{Ops: []store.Op{put(key, value)}})
}

func mustList(t *testing.T, ctx context.Context, s store.Store, prefix string) store.Snapshot {
	t.Helper()
	snap, err := s.List(ctx, prefix)
	if err != nil {
		t.Fatalf("list %s: %v", prefix, err)
	}
	return snap
}

// take reads n batches of a watch.
func take(ctx context.Context, s store.Store, prefix string, from int64, n int) ([]store.Batch, error) {
	var got []store.Batch
	if n == 0 {
		return got, nil
	}
	for b, err := range s.Watch(ctx, prefix, from) {
		if err != nil {
			return got, err
		}
		if got = append(got, b); len(got) == n {
			return got, nil
		}
	}
	return got, fmt.Errorf("the watch ended after %d of %d batches", len(got), n)
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("%s (-want +got):\n%s", what, d)
	}
}

func testReads(t *testing.T, ctx context.Context, subject Subject) {
	s := subject.Store
	r1 := mustPut(t, ctx, s, "/a/1", "one")
	r2 := mustCommit(t, ctx, s, store.Txn{Ops: []store.Op{put("/a/3", "three"), put("/a/2", "two"), put("/b", "b")}})
	kvs := []store.KV{
		{Key: "/a/1", Value: []byte("one"), ModRevision: r1},
		{Key: "/a/2", Value: []byte("two"), ModRevision: r2},
		{Key: "/a/3", Value: []byte("three"), ModRevision: r2},
	}
	same(t, "list", mustList(t, ctx, s, "/a/"), store.Snapshot{Revision: r2, KVs: kvs})
	same(t, "list of nothing", mustList(t, ctx, s, "/c/"), store.Snapshot{Revision: r2})
	got, err := s.Get(ctx, "/a/3", "/a/nothing", "/a/1")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "get", got, store.Snapshot{Revision: r2, KVs: []store.KV{kvs[2], kvs[0]}})
	got, err = s.Get(ctx)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "get of no key", got, store.Snapshot{Revision: r2})
	if all := mustList(t, ctx, s, ""); len(all.KVs) != 4 {
		t.Fatalf("the empty prefix lists %d of 4 keys", len(all.KVs))
	}
	// A prefix is of bytes, not of path elements, and 0xff has no successor of its own length.
	r3 := mustPut(t, ctx, s, "/z\xff\xff1", "high")
	same(t, "list", mustList(t, ctx, s, "/z\xff"),
		store.Snapshot{Revision: r3, KVs: []store.KV{{Key: "/z\xff\xff1", Value: []byte("high"), ModRevision: r3}}})
}

func testEmptyValue(t *testing.T, ctx context.Context, subject Subject) {
	s := subject.Store
	rev := mustCommit(t, ctx, s, store.Txn{Ops: []store.Op{{Key: "/empty", Value: []byte{}}}})
	snap := mustList(t, ctx, s, "/empty")
	if len(snap.KVs) != 1 || len(snap.KVs[0].Value) != 0 || snap.KVs[0].ModRevision != rev {
		t.Fatalf("an empty value reads as %+v", snap)
	}
	batches, err := take(ctx, s, "/", rev, 1)
	if err != nil {
		t.Fatal(err)
	}
	if v := batches[0].Events[0].Value; v == nil || len(v) != 0 {
		t.Fatalf("the event of an empty value has the value %v: nil would be a deletion", v)
	}
}

func testRevisions(t *testing.T, ctx context.Context, subject Subject) {
	s := subject.Store
	start := mustList(t, ctx, s, "/").Revision
	steps := []struct {
		txn  store.Txn
		made int64
	}{
		{store.Txn{Ops: []store.Op{put("/a", "1")}}, 1},
		{store.Txn{Ops: []store.Op{put("/a", "1"), put("/b", "1")}}, 2}, // an equal value is a change
		{store.Txn{}, 2},
		{store.Txn{Ops: []store.Op{store.Delete("/nothing")}}, 2},
		{store.Txn{Ops: []store.Op{store.Delete("/a"), store.Delete("/nothing")}}, 3},
		{store.Txn{Ops: []store.Op{put("/a", "2")}}, 4},
	}
	for i, step := range steps {
		if got := mustCommit(t, ctx, s, step.txn); got != start+step.made {
			t.Fatalf("step %d made revision %d, want %d", i, got-start, step.made)
		}
	}
	batches, err := take(ctx, s, "/", start+1, 4)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "deletion", batches[2], store.Batch{Revision: start + 3, Events: []store.Event{{Key: "/a"}}})
}

func testRefused(t *testing.T, ctx context.Context, subject Subject) {
	s := subject.Store
	before := mustPut(t, ctx, s, "/a", "1")
	tooMany := store.Txn{Ops: make([]store.Op, store.MaxTxnOps+1)}
	for i := range tooMany.Ops {
		tooMany.Ops[i] = put(fmt.Sprintf("/many/%d", i), "x")
	}
	for name, txn := range map[string]store.Txn{
		"a key twice":         {Ops: []store.Op{put("/a", "2"), store.Delete("/a")}},
		"no key":              {Ops: []store.Op{put("", "2")}},
		"no key to compare":   {If: []store.Compare{{Key: ""}}, Ops: []store.Op{put("/a", "2")}},
		"a negative term":     {Term: -1, Ops: []store.Op{put("/a", "2")}},
		"a negative revision": {If: []store.Compare{{Key: "/a", ModRevision: -1}}, Ops: []store.Op{put("/a", "2")}},
		"too many operations": tooMany,
		"too many bytes":      {Ops: []store.Op{{Key: "/a", Value: make([]byte, store.MaxTxnBytes)}}},
	} {
		_, err := s.Commit(ctx, txn)
		var conflict *store.ConflictError
		if err == nil || errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrDeposed) || errors.As(err, &conflict) {
			t.Errorf("%s: %v; want an error of its own", name, err)
		}
	}
	if got := mustList(t, ctx, s, "/").Revision; got != before {
		t.Errorf("refused transactions moved the revision from %d to %d", before, got)
	}
}

func testCompares(t *testing.T, ctx context.Context, subject Subject) {
	s := subject.Store
	ra := mustPut(t, ctx, s, "/a", "1")
	rb := mustPut(t, ctx, s, "/b", "1")
	mustPut(t, ctx, s, "/gone", "1")
	mustCommit(t, ctx, s, store.Txn{Ops: []store.Op{store.Delete("/gone")}})
	is := func(key string, rev int64) store.Compare { return store.Compare{Key: key, ModRevision: rev} }
	cases := []struct {
		name     string
		compares []store.Compare
		conflict string
	}{
		{"holds", []store.Compare{is("/a", ra), is("/b", rb)}, ""},
		{"holds of what is not there", []store.Compare{is("/no", 0), is("/gone", 0)}, ""},
		{"first fails", []store.Compare{is("/a", rb), is("/b", rb)}, "/a"},
		{"second fails", []store.Compare{is("/a", ra), is("/b", ra)}, "/b"},
		{"both fail", []store.Compare{is("/b", ra), is("/a", rb)}, "/b"},
		{"is there", []store.Compare{is("/a", 0)}, "/a"},
		{"is not there", []store.Compare{is("/no", ra)}, "/no"},
		{"deleted", []store.Compare{is("/gone", rb+1)}, "/gone"},
	}
	for _, c := range cases {
		_, err := s.Commit(ctx, store.Txn{If: c.compares, Ops: []store.Op{put("/target", c.name)}})
		var conflict *store.ConflictError
		switch {
		case c.conflict == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.conflict != "" && (!errors.As(err, &conflict) || conflict.Key != c.conflict):
			t.Errorf("%s: %v, want a conflict at %s", c.name, err, c.conflict)
		}
		snap := mustList(t, ctx, s, "/target")
		if wrote := len(snap.KVs) == 1 && string(snap.KVs[0].Value) == c.name; wrote != (c.conflict == "") {
			t.Errorf("%s: target is %+v", c.name, snap.KVs)
		}
	}
}

func testTermGuard(t *testing.T, ctx context.Context, subject Subject) {
	s := subject.Store
	if _, err := s.Commit(ctx, store.Txn{Term: 1, Ops: []store.Op{put("/x", "early")}}); !errors.Is(err, store.ErrDeposed) {
		t.Fatalf("a term before any was written: %v", err)
	}
	first, n1, err := store.AcquireTerm(ctx, s, "s1", time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	mustCommit(t, ctx, s, store.Txn{Term: first, Ops: []store.Op{put("/x", "first")}})
	second, n2, err := store.AcquireTerm(ctx, s, "s2", time.Unix(2, 0))
	if err != nil {
		t.Fatal(err)
	}
	if n1 != 1 || n2 != 2 || second <= first {
		t.Fatalf("terms %d (%d) and %d (%d) do not grow", first, n1, second, n2)
	}
	// A deposed leader learns that it is deposed, whatever else is wrong.
	_, err = s.Commit(ctx, store.Txn{Term: first, If: []store.Compare{{Key: "/x"}}, Ops: []store.Op{put("/x", "late")}})
	if !errors.Is(err, store.ErrDeposed) {
		t.Fatalf("a deposed leader's transaction: %v", err)
	}
	mustCommit(t, ctx, s, store.Txn{Term: second, Ops: []store.Op{put("/y", "second")}})
	snap := mustList(t, ctx, s, "/x")
	if string(snap.KVs[0].Value) != "first" {
		t.Fatalf("a deposed leader wrote %q", snap.KVs[0].Value)
	}
	// Without its key no term holds.
	mustCommit(t, ctx, s, store.Txn{Ops: []store.Op{store.Delete(store.TermKey)}})
	if _, err := s.Commit(ctx, store.Txn{Term: second, Ops: []store.Op{put("/y", "z")}}); !errors.Is(err, store.ErrDeposed) {
		t.Fatalf("a transaction after the term was deleted: %v", err)
	}
}

func testAcquireTerm(t *testing.T, ctx context.Context, subject Subject) {
	s := subject.Store
	rev, number, err := store.AcquireTerm(ctx, s, "s1", time.Unix(100, 0))
	if err != nil {
		t.Fatal(err)
	}
	term, at, err := store.ReadTerm(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	if at != rev || term.GetNumber() != number || term.GetServer() != "s1" || term.GetSince().GetSeconds() != 100 {
		t.Fatalf("term %v at %d, acquired %d at %d", term, at, number, rev)
	}
	mustPut(t, ctx, s, store.TermKey, "\xff not a message")
	if _, _, err := store.AcquireTerm(ctx, s, "s2", time.Unix(101, 0)); err == nil {
		t.Fatal("a term that cannot be read was overwritten")
	}
}

func testAllOrNothing(t *testing.T, ctx context.Context, subject Subject) {
	s := subject.Store
	rev := mustCommit(t, ctx, s, store.Txn{Ops: []store.Op{put("/a", "1"), put("/b", "1")}})
	_, err := s.Commit(ctx, store.Txn{
		If:  []store.Compare{{Key: "/a", ModRevision: rev}, {Key: "/b", ModRevision: rev - 1}},
		Ops: []store.Op{store.Delete("/a"), put("/c", "1")},
	})
	var conflict *store.ConflictError
	if !errors.As(err, &conflict) {
		t.Fatalf("%v, want a conflict", err)
	}
	snap := mustList(t, ctx, s, "/")
	if snap.Revision != rev || len(snap.KVs) != 2 {
		t.Fatalf("a transaction that failed left %+v", snap)
	}
}

func testBigTransaction(t *testing.T, ctx context.Context, subject Subject) {
	s := subject.Store
	const n = 5000
	txn := store.Txn{}
	for i := range n {
		key := fmt.Sprintf("/big/%05d", i)
		txn.If = append(txn.If, store.Compare{Key: key})
		txn.Ops = append(txn.Ops, store.Op{Key: key, Value: bytes.Repeat([]byte{'v'}, 1000)})
	}
	rev := mustCommit(t, ctx, s, txn)
	snap := mustList(t, ctx, s, "/big/")
	if len(snap.KVs) != n || snap.KVs[n-1].ModRevision != rev {
		t.Fatalf("%d of %d keys", len(snap.KVs), n)
	}
	// The last of many comparisons is named too.
	for i := range txn.If {
		txn.If[i].ModRevision = rev
	}
	txn.If[n-1].ModRevision = 0
	_, err := s.Commit(ctx, txn)
	var conflict *store.ConflictError
	if !errors.As(err, &conflict) || conflict.Key != txn.If[n-1].Key {
		t.Fatalf("%v, want a conflict at the last key", err)
	}
	batches, err := take(ctx, s, "/big/", rev, 1)
	if err != nil {
		t.Fatal(err)
	}
	if b := batches[0]; b.Revision != rev || len(b.Events) != n || !slices.IsSortedFunc(b.Events, byKey) {
		t.Fatalf("a transaction of %d operations came as %d events at %d", n, len(b.Events), b.Revision)
	}
}

func byKey(a, b store.Event) int { return bytes.Compare([]byte(a.Key), []byte(b.Key)) }
