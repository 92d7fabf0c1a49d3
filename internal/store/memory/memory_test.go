package memory_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/memory"
	"github.com/argosy-cluster/argosy/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Subject {
		s := memory.New()
		return storetest.Subject{
			Store:   s,
			Compact: func(_ context.Context, rev int64) error { s.Compact(rev); return nil },
			Break:   func() { s.Inject(func(memory.Call) memory.Fault { return memory.Refused }) },
		}
	})
}

// A watch is idle between changes, so virtual time passes, and its batches come in the order of the commits.
func TestVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		begin := time.Now()
		go func() {
			for i := range 10 {
				time.Sleep(time.Minute)
				if _, err := s.Commit(ctx, store.Txn{Ops: []store.Op{{Key: "/k", Value: []byte(fmt.Sprint(i))}}}); err != nil {
					t.Error(err)
				}
			}
		}()
		n := 0
		for b, err := range s.Watch(ctx, "/k", 1) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; time.Since(begin) != time.Duration(n)*time.Minute || b.Revision != int64(n+1) {
				t.Fatalf("batch %d came after %v with revision %d", n, time.Since(begin), b.Revision)
			}
		}
		if n != 10 || time.Since(begin) != time.Hour {
			t.Fatalf("%d batches in %v", n, time.Since(begin))
		}
	})
}

func TestInject(t *testing.T) {
	ctx := t.Context()
	s := memory.New()
	write := func(v string) error {
		_, err := s.Commit(ctx, store.Txn{Ops: []store.Op{{Key: "/k", Value: []byte(v)}}})
		return err
	}
	value := func() string {
		snap, err := s.List(ctx, "/k")
		if err != nil || len(snap.KVs) == 0 {
			return fmt.Sprint("nothing: ", err)
		}
		return string(snap.KVs[0].Value)
	}
	if err := write("a"); err != nil {
		t.Fatal(err)
	}
	only := func(f memory.Fault) func(memory.Call) memory.Fault {
		return func(c memory.Call) memory.Fault {
			if c == memory.Commit {
				return f
			}
			return memory.None
		}
	}
	s.Inject(only(memory.Refused))
	if err := write("b"); !errors.Is(err, store.ErrUnavailable) || value() != "a" {
		t.Fatalf("refused: %v, %s", err, value())
	}
	s.Inject(only(memory.Unanswered))
	if err := write("c"); !errors.Is(err, store.ErrUnavailable) || value() != "c" {
		t.Fatalf("unanswered: %v, %s", err, value())
	}
	s.Inject(nil)
	if err := write("d"); err != nil || value() != "d" {
		t.Fatalf("healed: %v, %s", err, value())
	}
}

// What a caller does to its slices afterwards is nothing to the store.
func TestOwnsItsValues(t *testing.T) {
	s := memory.New()
	mine := []byte("mine")
	if _, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: "/k", Value: mine}}}); err != nil {
		t.Fatal(err)
	}
	mine[0] = 'X'
	for range 2 {
		snap, err := s.Get(t.Context(), "/k")
		if err != nil || string(snap.KVs[0].Value) != "mine" {
			t.Fatalf("%q, %v", snap.KVs[0].Value, err)
		}
		snap.KVs[0].Value[0] = 'Y'
	}
}
