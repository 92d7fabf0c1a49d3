package embedded_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/etcd"
)

// BenchmarkCommit writes records of 256 bytes under a term, in transactions of so many operations, with so many in
// flight. The goals: 100,000 records a second in batches, one record alone in half a millisecond (fsync included, which
// is quick where this was measured).
func BenchmarkCommit(b *testing.B) {
	for _, c := range []struct{ ops, inFlight int }{{1, 1}, {128, 1}, {128, 8}, {1000, 8}} {
		b.Run(fmt.Sprintf("ops=%d/flight=%d", c.ops, c.inFlight), func(b *testing.B) {
			s := etcd.New(start(b, b.TempDir()).Client())
			term, _, err := store.AcquireTerm(b.Context(), s, "s1", time.Now())
			if err != nil {
				b.Fatal(err)
			}
			value := bytes.Repeat([]byte{'v'}, 256)
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range c.inFlight {
				wg.Go(func() {
					for {
						n := next.Add(1)
						if n > int64(b.N) {
							return
						}
						txn := store.Txn{Term: term}
						for i := range c.ops {
							txn.Ops = append(txn.Ops, store.Op{Key: fmt.Sprintf("/bench/%06d", (int(n)*c.ops+i)%200_000), Value: value})
						}
						if _, err := s.Commit(b.Context(), txn); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N*c.ops)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// BenchmarkCommitToWatch is the time from the call of Commit to the arrival of the change at a watch. The goal: 1 ms.
func BenchmarkCommitToWatch(b *testing.B) {
	s := etcd.New(start(b, b.TempDir()).Client())
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	seen := make(chan int64)
	go func() {
		defer close(seen)
		for batch, err := range s.Watch(ctx, "/bench/", 1) {
			if err != nil {
				return
			}
			seen <- batch.Revision
		}
	}()
	commit := func() int64 {
		rev, err := s.Commit(ctx, store.Txn{Ops: []store.Op{{Key: "/bench/k", Value: []byte("v")}}})
		if err != nil {
			b.Fatal(err)
		}
		return rev
	}
	commit()
	<-seen // the watch has caught up
	for b.Loop() {
		rev := commit()
		if got := <-seen; got != rev {
			b.Fatalf("revision %d came instead of %d", got, rev)
		}
	}
	cancel()
	for range seen {
	}
}

// BenchmarkStart is the time from an empty directory to the first commit. `argosy server` has two seconds to an apply.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		m := start(b, b.TempDir())
		if _, _, err := store.AcquireTerm(b.Context(), etcd.New(m.Client()), "s1", time.Now()); err != nil {
			b.Fatal(err)
		}
		m.Stop()
	}
}

// BenchmarkConfirm reads the term as a leader does before it answers from its memory: with a majority of three members,
// one request after another and 32 at once. The goal: two milliseconds.
func BenchmarkConfirm(b *testing.B) {
	members := threeMembers(b, b.Context()).members
	s := etcd.New(members[awaitLeader(b, b.Context(), members)].Client())
	if _, _, err := store.AcquireTerm(b.Context(), s, "s1", time.Now()); err != nil {
		b.Fatal(err)
	}
	confirm := func() {
		if _, err := s.Get(b.Context(), store.TermKey); err != nil {
			b.Error(err)
		}
	}
	b.Run("alone", func(b *testing.B) {
		for b.Loop() {
			confirm()
		}
	})
	b.Run("32 at once", func(b *testing.B) {
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				confirm()
			}
		})
	})
}
