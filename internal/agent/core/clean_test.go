package core_test

import (
	"testing"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
)

// TestCleanWaitsForWhatIsUnderWay: a volume that is just being made for a replica that is to be removed would outlive it,
// were the replica cleaned before the volume is there.
func TestCleanWaitsForWhatIsUnderWay(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	a := &argosyv1.Assignment{
		Key: &argosyv1.ReplicaKey{Tenant: "default", App: "shop", Stack: "db", Number: 1}, AppUid: "u", Incarnation: 1, Revision: 1,
		Goal: argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE, RemoveVolumes: true,
	}
	prepare := core.Step{Kind: core.Prepare, MemberID: core.MemberID{ID: core.IDOf(a), Member: "mysql"}, Assignment: a, Spec: &argosyv1.ContainerSpec{Name: "mysql"}}
	mem := core.Memory{Complete: true}
	mem.Begin(now, prepare)
	decide := func() core.StepKind {
		t.Helper()
		steps := core.Decide(now, []*argosyv1.Assignment{a}, core.Seen{Known: true}, mem)
		if len(steps) != 1 {
			t.Fatalf("steps: %v", steps)
		}
		return steps[0].Kind
	}
	if k := decide(); k != core.Wait {
		t.Errorf("while a volume is being made: %s", k)
	}
	mem.Done(now, prepare, nil)
	if k := decide(); k != core.Clean {
		t.Errorf("after it was made: %s", k)
	}
}
