package main

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

func TestReadMarks(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0).UTC() }
	replica := func(machine string, incarnation uint64) *argosyv1.ReplicaStatus {
		return &argosyv1.ReplicaStatus{Replica: &argosyv1.Replica{Machine: machine, Incarnation: incarnation, Key: &argosyv1.ReplicaKey{Number: 2}}}
	}
	event := func(s int, kind argosyv1.TransitionKind, machine, to string, number uint32, incarnation uint64) *argosyv1.Transition {
		return &argosyv1.Transition{At: timestamppb.New(at(s)), Kind: kind, Machine: machine, To: to, Replica: &argosyv1.ReplicaKey{Number: number}, Incarnation: incarnation}
	}
	const (
		machine    = argosyv1.TransitionKind_TRANSITION_KIND_MACHINE
		assignment = argosyv1.TransitionKind_TRANSITION_KIND_ASSIGNMENT
		member     = argosyv1.TransitionKind_TRANSITION_KIND_MEMBER
	)
	events := []*argosyv1.Transition{
		event(1, machine, "a", "unreachable", 0, 0), event(2, machine, "b", "lost", 0, 0), event(3, machine, "a", "lost", 0, 0),
		event(4, assignment, "b", "assigned", 1, 5), event(5, assignment, "b", "assigned", 2, 6),
		event(6, member, "b", "running", 2, 5), event(7, member, "b", "pulling", 2, 6), event(8, member, "b", "waiting", 2, 6),
		event(9, member, "b", "starting", 2, 6), event(11, member, "b", "starting", 2, 6), event(12, member, "b", "running", 2, 6),
	}
	marks := readMarks(events, replica("a", 5), replica("b", 6), at(8), at(10))
	for i, want := range []int{3, 5, 7, 8, 9, 10, 12} {
		if !marks[i].Equal(at(want)) {
			t.Errorf("%s ends at %s, want %s", lossPhases[i], marks[i], at(want))
		}
	}
	marks = readMarks(events[:5], replica("a", 5), replica("b", 6), at(8), at(10))
	for _, i := range []int{2, 4, 6} { // what only the agent knows
		if !marks[i].IsZero() {
			t.Errorf("%s is said to have ended, and has not", lossPhases[i])
		}
	}
}
