package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/migration"
)

// dying is a store whose leader dies at one of its writes: before that reaches the store, or before its answer comes back.
type dying struct {
	store.Store
	left   int // writes until then
	behind bool
}

var errKilled = errors.New("killed")

func (d *dying) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	if d.left--; d.left > 0 {
		return d.Store.Commit(ctx, txn)
	}
	if d.behind && d.left == 0 {
		if rev, err := d.Store.Commit(ctx, txn); err != nil {
			return rev, err
		}
	}
	return 0, errKilled
}

const migrated = 1200 // records, which take three transactions

// moving is a release of which one step moves records to other keys, and one changes their values.
func moving() migration.Known {
	const from, to = store.Root + "old/", store.Root + "new/"
	return migration.Known{Oldest: 1, Steps: []migration.Step{
		{What: "records move", Prefixes: []string{from}, Change: func(kv store.KV) ([]store.Op, error) {
			return []store.Op{store.Delete(kv.Key), {Key: to + strings.TrimPrefix(kv.Key, from), Value: kv.Value}}, nil
		}},
		{What: "values shout", Prefixes: []string{from, to}, Change: func(kv store.KV) ([]store.Op, error) {
			if bytes.HasSuffix(kv.Value, []byte("!")) {
				return nil, nil
			}
			return []store.Op{{Key: kv.Key, Value: append(kv.Value, '!')}}, nil
		}},
	}}
}

// testMigration brings a store through two layouts; the leader is killed at each of its writes, and the next goes on.
func testMigration(t *testing.T, ctx context.Context, subject Subject) {
	s, known := subject.Store, moving()
	lead := func(server string) int64 {
		term, _, err := store.AcquireTerm(ctx, s, server, time.Unix(1, 0))
		if err != nil {
			t.Fatal(err)
		}
		return term
	}
	for kill := 1; ; kill++ {
		txn := store.Txn{}
		for i := range migrated {
			txn.Ops = append(txn.Ops, put(fmt.Sprintf("%sold/%04d", store.Root, i), fmt.Sprint(i)))
		}
		for _, kv := range mustList(t, ctx, s, store.Root+"new/").KVs {
			txn.Ops = append(txn.Ops, store.Delete(kv.Key))
		}
		mustCommit(t, ctx, s, store.Txn{Ops: append(txn.Ops, store.Delete(store.LayoutKey))})
		err := known.Run(ctx, &dying{Store: s, left: kill, behind: kill%2 == 0}, lead("s1"), 3, "v3", time.Unix(2, 0))
		if err != nil && !errors.Is(err, errKilled) {
			t.Fatalf("killed at write %d: %v", kill, err)
		}
		over := err == nil
		l, _, err := migration.Read(ctx, s)
		if err != nil {
			t.Fatal(err)
		}
		if err := migration.Own().Check(l, "v1"); (err == nil) != (l.Number == 1 && l.To == 0) {
			t.Fatalf("killed at write %d: the earlier release finds layout %v and says %v", kill, l, err)
		}
		if err := known.Run(ctx, s, lead("s2"), 3, "v3", time.Unix(3, 0)); err != nil {
			t.Fatalf("after a kill at write %d: %v", kill, err)
		}
		if left := mustList(t, ctx, s, store.Root+"old/").KVs; len(left) > 0 {
			t.Fatalf("killed at write %d: %d records have not moved", kill, len(left))
		}
		moved := mustList(t, ctx, s, store.Root+"new/").KVs
		for i, kv := range moved {
			if want := fmt.Sprintf("%d!", i); string(kv.Value) != want {
				t.Fatalf("killed at write %d: %s is %q, want %q", kill, kv.Key, kv.Value, want)
			}
		}
		if l, _, err = migration.Read(ctx, s); err != nil || len(moved) != migrated || l.Number != 3 || l.To != 0 || l.Version != "v3" {
			t.Fatalf("killed at write %d: %d records, layout %v, %v", kill, len(moved), l, err)
		}
		if over {
			if kill < 9 {
				t.Fatalf("it took %d writes only: a kill between two of them was not tried", kill-1)
			}
			return
		}
	}
}

// testMigrationDeposed has a leader that was deposed go on changing the store's layout.
func testMigrationDeposed(t *testing.T, ctx context.Context, subject Subject) {
	s := subject.Store
	old, _, err := store.AcquireTerm(ctx, s, "s1", time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	mustPut(t, ctx, s, store.Root+"old/1", "1")
	if _, _, err = store.AcquireTerm(ctx, s, "s2", time.Unix(2, 0)); err != nil {
		t.Fatal(err)
	}
	before := mustList(t, ctx, s, store.Root)
	if err := moving().Run(ctx, s, old, 3, "v3", time.Unix(3, 0)); !errors.Is(err, store.ErrDeposed) {
		t.Fatalf("a deposed leader changes the layout: %v", err)
	}
	same(t, "the store", mustList(t, ctx, s, store.Root), before)
}
