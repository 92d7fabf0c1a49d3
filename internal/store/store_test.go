package store_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/memory"
)

func TestReplicaKeyRoundTrip(t *testing.T) {
	name := rapid.StringMatching(`[a-z][a-z0-9-]{0,20}`)
	rapid.Check(t, func(t *rapid.T) {
		k := &argosyv1.ReplicaKey{
			Tenant: name.Draw(t, "tenant"), App: name.Draw(t, "app"), Stack: name.Draw(t, "stack"), Number: rapid.Uint32().Draw(t, "number"),
		}
		got, err := store.ParseReplicaKey(store.ReplicaKey(k))
		if err != nil || !proto.Equal(k, got) {
			t.Fatalf("%v reads back as %v, %v", k, got, err)
		}
	})
	for _, bad := range []string{"", store.Replicas, store.Replicas + "a/b/c", store.Replicas + "a/b/c/x", store.Replicas + "a/b/c/1/2", store.Machines + "a/b/c/1"} {
		if k, err := store.ParseReplicaKey(bad); err == nil {
			t.Errorf("%q reads as %v", bad, k)
		}
	}
}

// What is numbered sorts by number.
func TestKeysSort(t *testing.T) {
	var replicas, revisions, history []string
	for _, n := range []uint32{1, 2, 9, 10, 15, 16, 100, 4096, 1 << 31} {
		replicas = append(replicas, store.ReplicaKey(&argosyv1.ReplicaKey{Tenant: "t", App: "a", Stack: "s", Number: n}))
		revisions = append(revisions, store.RevisionKey("t", "a", uint64(n)))
		history = append(history, store.HistoryKey(uint64(n)))
	}
	for _, keys := range [][]string{replicas, revisions, history} {
		if !slices.IsSorted(keys) {
			t.Errorf("not in order: %v", keys)
		}
	}
}

func TestPutEmptyMessage(t *testing.T) {
	op, err := store.Put("/k", &argosyv1.App{})
	if err != nil || op.Value == nil {
		t.Fatalf("an empty message is written as %v, %v: nil would delete the key", op.Value, err)
	}
}

func TestDecodeNamesTheRecord(t *testing.T) {
	err := store.Decode(store.KV{Key: store.AppKey("t", "a"), Value: []byte{0xff}}, &argosyv1.App{})
	if err == nil || !strings.Contains(err.Error(), store.AppKey("t", "a")) {
		t.Fatalf("%v", err)
	}
}

// turns is an election that a test holds.
type turns struct {
	mine chan chan struct{}
}

func (e turns) Await(ctx context.Context) (<-chan struct{}, error) {
	select {
	case lost := <-e.mine:
		return lost, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestLead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New()
		e := turns{make(chan chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		reigns := make(chan store.Leadership)
		boom := errors.New("boom")
		end := make(chan error)
		done := make(chan error)
		go func() {
			done <- store.Lead(ctx, s, e, "s1", func(ctx context.Context, l store.Leadership) error {
				reigns <- l
				select {
				case err := <-end:
					return err
				case <-ctx.Done():
					return ctx.Err()
				}
			})
		}()
		synctest.Wait()
		if _, rev, err := store.ReadTerm(ctx, s); err != nil || rev != 0 {
			t.Fatalf("led before it was elected: %d, %v", rev, err)
		}
		lost := make(chan struct{})
		e.mine <- lost
		first := <-reigns
		close(lost) // the election ends the reign
		lost = make(chan struct{})
		e.mine <- lost
		second := <-reigns
		end <- store.ErrDeposed // the store ends the reign
		e.mine <- nil
		third := <-reigns
		if first.Number != 1 || second.Number != 2 || third.Number != 3 || first.Term >= second.Term || second.Term >= third.Term {
			t.Errorf("reigns %v, %v, %v", first, second, third)
		}
		// Without an answer from the store it tries again, and leads when there is one.
		s.Inject(func(memory.Call) memory.Fault { return memory.Refused })
		end <- store.ErrUnavailable
		for range 3 {
			e.mine <- nil
		}
		s.Inject(nil)
		e.mine <- nil
		if fourth := <-reigns; fourth.Number != 4 {
			t.Errorf("reign %v", fourth)
		}
		end <- boom
		if err := <-done; !errors.Is(err, boom) {
			t.Errorf("Lead ended with %v", err)
		}
	})
}

func TestLeadAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		n := 0
		err := store.Lead(ctx, memory.New(), store.Alone{}, "s1", func(ctx context.Context, _ store.Leadership) error {
			n++
			<-ctx.Done()
			return ctx.Err()
		})
		if n != 1 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%d reigns, %v", n, err)
		}
	})
}
