package history

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// TestAt tells a story, one line for each transition, and asks what held after each of some lines.
func TestAt(t *testing.T) {
	var list []*argosyv1.Transition
	second := int64(0)
	key := &argosyv1.ReplicaKey{Tenant: "default", App: "shop", Stack: "web", Number: 1}
	add := func(kind argosyv1.TransitionKind, machine string, incarnation uint64, from, to string) {
		second++
		tr := &argosyv1.Transition{Kind: kind, Seq: uint64(second), At: timestamppb.New(time.Unix(second, 0)), Machine: machine, Incarnation: incarnation,
			From: from, To: to, Cause: "because", Tenant: "default", App: "shop"}
		if kind != argosyv1.TransitionKind_TRANSITION_KIND_MACHINE && kind != argosyv1.TransitionKind_TRANSITION_KIND_APP {
			tr.Replica = key
		}
		list = append(list, tr)
	}
	decide, see, machine := argosyv1.TransitionKind_TRANSITION_KIND_ASSIGNMENT, argosyv1.TransitionKind_TRANSITION_KIND_REPLICA, argosyv1.TransitionKind_TRANSITION_KIND_MACHINE
	holds := func(want ...string) {
		t.Helper()
		var got []string
		db, err := open(filepath.Join(t.TempDir(), "history.db"), MaxKept)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := db.Add(list...); err != nil {
			t.Fatal(err)
		}
		f := newFolding()
		for _, tr := range list {
			f.take(tr)
		}
		past, err := db.At(t.Context(), Query{Tenant: "default", App: "shop", Until: time.Unix(second, 0)})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(f.result(), past, cmp.AllowUnexported(Past{})); diff != "" {
			t.Errorf("after %d the database says something else: %s", second, diff)
		}
		for _, p := range past {
			line := fmt.Sprintf("%d on %s %s since %d", p.Incarnation, p.Machine, p.State, p.Since.Unix())
			if p.Last != "" {
				line += " was " + p.Last
			}
			if p.Removing {
				line += " removing"
			}
			got = append(got, line)
		}
		if strings.Join(got, "; ") != strings.Join(want, "; ") {
			t.Errorf("after %d: %q, want %q", second, got, want)
		}
	}
	holds()
	add(decide, "", 1, "", "pending")
	holds("1 on  pending since 1")
	add(machine, "m1", 0, "not heard of yet", "ready")
	add(decide, "m1", 1, "pending", "assigned")
	holds("1 on m1 assigned since 3")
	add(see, "m1", 1, "starting", "ready")
	holds("1 on m1 ready since 4")
	add(machine, "m1", 0, "ready", "unreachable")
	holds("1 on m1 unknown since 5 was ready")
	add(machine, "m1", 0, "unreachable", "lost")
	add(machine, "m1", 0, "active", "draining") // a wish, which nobody on the machine has heard
	holds("1 on m1 unknown since 6 was ready")
	add(decide, "m2", 2, "assigned", "assigned")
	holds("1 on m1 unknown since 6 was ready", "2 on m2 assigned since 8")
	add(see, "m2", 2, "starting", "ready")
	add(machine, "m1", 0, "lost", "draining")
	add(decide, "m1", 1, "", "to be removed")
	holds("1 on m1 ready since 4 removing", "2 on m2 ready since 9")
	add(see, "m1", 1, "stopping", "gone")
	holds("2 on m2 ready since 9")
	add(see, "m1", 1, "", "ready") // nobody knows of it any more
	add(decide, "m2", 2, "revision 1", "revision 2")
	holds("2 on m2 ready since 9")
	add(decide, "m2", 2, "assigned", "to be removed")
	add(decide, "", 0, "volume data", "gone")
	holds("2 on m2 ready since 9 removing")
	add(decide, "m2", 2, "to be removed", "gone")
	holds()
	add(decide, "m2", 3, "", "assigned")
	add(machine, "m2", 0, "lost", "removed")
	holds()
	add(decide, "m3", 4, "", "assigned")
	add(argosyv1.TransitionKind_TRANSITION_KIND_APP, "", 0, "deleting", "deleted")
	holds()
}
