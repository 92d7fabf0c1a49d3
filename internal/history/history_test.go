package history

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/memory"
)

func openTest(t testing.TB, kept int) *DB {
	t.Helper()
	db, err := open(filepath.Join(t.TempDir(), "history.db"), kept)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func epoch(s int) time.Time { return time.Unix(1_700_000_000+int64(s), 0) }

// TestQueryAgreesWithFilter compares every way through the indexes with a plain filter over all that was added.
func TestQueryAgreesWithFilter(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		db, err := open(filepath.Join(dir, fmt.Sprint(n)), MaxKept)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		var added []*argosyv1.Transition
		for seq := range rapid.IntRange(0, 40).Draw(t, "count") {
			tr := &argosyv1.Transition{Seq: uint64(seq + 1), At: timestamppb.New(epoch(seq))}
			if rapid.Bool().Draw(t, "of a replica") {
				tr.Replica = &argosyv1.ReplicaKey{Tenant: "default", App: rapid.SampledFrom([]string{"shop", "shopper"}).Draw(t, "app"), Stack: "web", Number: uint32(rapid.IntRange(1, 2).Draw(t, "number"))}
			}
			if rapid.Bool().Draw(t, "on a machine") {
				tr.Machine = rapid.SampledFrom([]string{"m1", "m2"}).Draw(t, "machine")
			}
			added = append(added, tr)
		}
		if err := db.Add(added...); err != nil {
			t.Fatal(err)
		}
		q := Query{
			Tenant: "default", App: rapid.SampledFrom([]string{"", "shop"}).Draw(t, "q.app"),
			Machine: rapid.SampledFrom([]string{"", "m1"}).Draw(t, "q.machine"),
			After:   uint64(rapid.IntRange(0, 10).Draw(t, "q.after")),
			Tail:    rapid.IntRange(0, 5).Draw(t, "q.tail"), Limit: rapid.IntRange(0, 5).Draw(t, "q.limit"),
		}
		if q.App != "" && rapid.Bool().Draw(t, "q.one") {
			q.Replica = &state.Key{Tenant: "default", App: q.App, Stack: "web", Number: 1}
		}
		var want []uint64
		for _, tr := range added {
			if q.has(tr) {
				want = append(want, tr.Seq)
			}
		}
		if q.Tail > 0 {
			want = want[max(0, len(want)-q.Tail):]
		} else if q.Limit > 0 {
			want = want[:min(len(want), q.Limit)]
		}
		got, err := db.Query(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(seqs(got)) != fmt.Sprint(want) {
			t.Fatalf("query %+v gave %v, want %v", q, seqs(got), want)
		}
	})
}

func seqs(ts []*argosyv1.Transition) []uint64 {
	var out []uint64
	for _, t := range ts {
		out = append(out, t.Seq)
	}
	return out
}

func TestOldestAreDropped(t *testing.T) {
	db := openTest(t, 10)
	for i := 1; i <= 25; i++ {
		if err := db.Add(&argosyv1.Transition{Seq: uint64(i), At: timestamppb.New(epoch(i)), Machine: "m1"}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := db.Query(context.Background(), Query{Machine: "m1"})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 10 || got[0].Seq != 16 {
		t.Fatalf("kept %v, want 16 to 25", seqs(got))
	}
}

func TestFollowTakesWhatWasAndWhatComes(t *testing.T) {
	s := memory.New()
	put := func(seq uint64) {
		op, err := store.Put(store.HistoryKey(seq), &argosyv1.Transition{Seq: seq, At: timestamppb.New(epoch(int(seq)))})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{op}}); err != nil {
			t.Fatal(err)
		}
	}
	put(1)
	db := openTest(t, MaxKept)
	changed, end := db.Subscribe()
	defer end()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- db.Follow(ctx, s, nil, slog.New(slog.NewTextHandler(io.Discard, nil))) }()
	<-changed
	put(2)
	for last := uint64(0); last < 2; {
		<-changed
		var err error
		if last, err = db.Last(); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}
