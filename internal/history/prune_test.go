package history

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// life is a transition of a cluster's life: two replicas of an app, three machines, as they come.
func life(t *rapid.T, seq int) *argosyv1.Transition {
	tr := &argosyv1.Transition{Seq: uint64(seq), At: timestamppb.New(epoch(seq)), Tenant: "default", App: "shop", Cause: fmt.Sprint(seq)}
	machine := rapid.SampledFrom([]string{"m1", "m2", "m3"}).Draw(t, "machine")
	one := func(kind argosyv1.TransitionKind, from string, to ...string) {
		tr.Kind, tr.From, tr.To = kind, from, rapid.SampledFrom(to).Draw(t, "to")
	}
	switch kind := rapid.IntRange(0, 9).Draw(t, "kind"); {
	case kind < 3:
		one(argosyv1.TransitionKind_TRANSITION_KIND_ASSIGNMENT, "to be removed", "assigned", "assigned", "pending", "to be removed", "gone")
	case kind < 6:
		one(argosyv1.TransitionKind_TRANSITION_KIND_REPLICA, "", "starting", "ready", "failed", "gone")
	case kind < 7:
		one(argosyv1.TransitionKind_TRANSITION_KIND_MEMBER, "", "running", "exited")
		tr.Member = rapid.SampledFrom([]string{"web", "db"}).Draw(t, "member")
	case kind < 9:
		one(argosyv1.TransitionKind_TRANSITION_KIND_MACHINE, "lost", "ready", "unreachable", "lost", "draining", "removed")
		tr.Machine, tr.App = machine, ""
		return tr
	default:
		one(argosyv1.TransitionKind_TRANSITION_KIND_APP, "", "applied", "applied", "deleted")
		return tr
	}
	tr.Machine, tr.Incarnation = machine, uint64(rapid.IntRange(1, 3).Draw(t, "incarnation"))
	tr.Replica = &argosyv1.ReplicaKey{Tenant: "default", App: "shop", Stack: "web", Number: uint32(rapid.IntRange(1, 2).Draw(t, "number"))}
	return tr
}

// TestPrunedHistorySaysTheSame: whatever is dropped, by age or by number, what ran where at a time from which on everything is known
// is told as if nothing had been.
func TestPrunedHistorySaysTheSame(t *testing.T) {
	dir, err := os.MkdirTemp("/dev/shm", "argosy-history-test") // in memory: thousands of commits are flushed, and no power fails
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		whole, err := open(filepath.Join(dir, fmt.Sprint(n, "whole")), MaxKept)
		if err != nil {
			t.Fatal(err)
		}
		defer whole.Close()
		pruned, err := open(filepath.Join(dir, fmt.Sprint(n, "pruned")), rapid.SampledFrom([]int{3, 20, MaxKept}).Draw(t, "kept"))
		if err != nil {
			t.Fatal(err)
		}
		defer pruned.Close()
		count := rapid.IntRange(1, 60).Draw(t, "count")
		for seq := 1; seq <= count; seq++ {
			tr := life(t, seq)
			for _, db := range []*DB{whole, pruned} {
				if err := db.Add(tr); err != nil {
					t.Fatal(err)
				}
			}
			if rapid.IntRange(0, 4).Draw(t, "prune") == 0 {
				if err := pruned.Prune(context.Background(), epoch(seq), time.Duration(rapid.IntRange(0, 30).Draw(t, "age"))*time.Second); err != nil {
					t.Fatal(err)
				}
			}
		}
		since, err := pruned.Since()
		if err != nil {
			t.Fatal(err)
		}
		for seq := 1; seq <= count; seq++ {
			if epoch(seq).Before(since) {
				continue
			}
			q := Query{Tenant: "default", App: "shop", Until: epoch(seq)}
			want, err := whole.At(context.Background(), q)
			if err != nil {
				t.Fatal(err)
			}
			got, err := pruned.At(context.Background(), q)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(Past{})); diff != "" {
				t.Fatalf("at %d, known since %s, what was dropped is missed: %s", seq, since, diff)
			}
		}
	})
}

func TestOldIsDropped(t *testing.T) {
	db := openTest(t, MaxKept)
	day := func(n int) time.Time { return epoch(n * 24 * 3600) }
	add := func(seq, at int, kind argosyv1.TransitionKind, to string) {
		t.Helper()
		tr := &argosyv1.Transition{Seq: uint64(seq), At: timestamppb.New(day(at)), Kind: kind, To: to, Machine: "m1", Incarnation: 1}
		if kind != argosyv1.TransitionKind_TRANSITION_KIND_MACHINE {
			tr.Replica = &argosyv1.ReplicaKey{Tenant: "default", App: "shop", Stack: "web", Number: 1}
		}
		if err := db.Add(tr); err != nil {
			t.Fatal(err)
		}
	}
	holds := func(want ...uint64) {
		t.Helper()
		got, err := db.Query(t.Context(), Query{})
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(seqs(got)) != fmt.Sprint(want) {
			t.Errorf("it has %v, want %v", seqs(got), want)
		}
	}
	decide, see, machine := argosyv1.TransitionKind_TRANSITION_KIND_ASSIGNMENT, argosyv1.TransitionKind_TRANSITION_KIND_REPLICA, argosyv1.TransitionKind_TRANSITION_KIND_MACHINE
	add(1, 0, machine, "ready")
	add(2, 0, decide, "assigned")
	add(3, 0, see, "starting")
	add(4, 1, see, "ready")
	add(5, 100, machine, "unreachable")
	add(6, 900, machine, "ready") // its clock was wrong
	add(7, 2, see, "failed")      // told late
	add(8, 150, see, "ready")
	prune := func(at int) {
		t.Helper()
		if err := db.Prune(t.Context(), day(at), 90*24*time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	prune(80)
	holds(1, 2, 3, 4, 5, 6, 7, 8)
	prune(120) // 1 to 4 are old, and all but what was seen before it was ready still holds
	holds(1, 2, 4, 5, 6, 7, 8)
	if since, err := db.Since(); err != nil || !since.Equal(day(1)) {
		t.Errorf("known since %s, %v", since, err)
	}
	prune(200)
	holds(2, 6, 7, 8)
	if since, err := db.Since(); err != nil || !since.Equal(day(100)) {
		t.Errorf("known since %s, %v", since, err)
	}
	prune(1000)
	holds(2, 6, 8)
	past, err := db.At(t.Context(), Query{Tenant: "default", App: "shop", Until: day(2000)})
	if err != nil || len(past) != 1 || past[0].State != "ready" || !past[0].Since.Equal(day(150)) {
		t.Errorf("what ran for years is %v, %v", past, err)
	}
}

// TestPruningIsDoneInParts: of a great many, each transaction looks through a batch, and all go.
func TestPruningIsDoneInParts(t *testing.T) {
	db := openTest(t, MaxKept)
	var all []*argosyv1.Transition
	for seq := 1; seq <= 3*batch+5; seq++ {
		all = append(all, &argosyv1.Transition{Seq: uint64(seq), At: timestamppb.New(epoch(seq)), Machine: "m1"})
	}
	if err := db.Add(all...); err != nil {
		t.Fatal(err)
	}
	if err := db.Prune(t.Context(), epoch(4*batch), time.Duration(4*batch-3*batch-1)*time.Second); err != nil {
		t.Fatal(err)
	}
	got, err := db.Query(t.Context(), Query{Machine: "m1"})
	if err != nil || len(got) != 5 || got[0].Seq != uint64(3*batch+1) {
		t.Errorf("%v are left, %v", seqs(got), err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := db.Prune(cancelled, epoch(1<<20), 0); err == nil {
		t.Error("it went on after its end")
	}
}
