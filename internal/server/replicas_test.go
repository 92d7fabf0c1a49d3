package server

import (
	"context"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// TestBrief: a brief list says the same without what looks closer, and leaves the cluster's own records whole.
func TestBrief(t *testing.T) {
	c := shared(t)
	c.machine(t, facts()).connect(t)
	c.apply(t, spec("brief", 2))
	c.assigned(t, "brief")
	list := func(brief bool) *argosyv1.ListReplicasResponse {
		res, err := c.local.apps.ListReplicas(t.Context(), connect.NewRequest(&argosyv1.ListReplicasRequest{App: "brief", Brief: brief}))
		if err != nil {
			t.Fatal(err)
		}
		return res.Msg
	}
	short, long := list(true), list(false)
	if len(long.Replicas) != 2 || long.Replicas[0].GetReplica().GetReason().GetSummary() == "" {
		t.Fatalf("the whole list is not whole: %v", long)
	}
	if proto.Size(short) >= proto.Size(long) {
		t.Errorf("the brief list takes %d bytes, the whole one %d", proto.Size(short), proto.Size(long))
	}
	for _, r := range long.Replicas {
		have := r.Replica
		r.Observation = nil
		r.Replica = &argosyv1.Replica{Key: have.Key, Incarnation: have.Incarnation, Revision: have.Revision, Restart: have.Restart, Goal: have.Goal}
	}
	if d := cmp.Diff(long, short, protocmp.Transform(), protocmp.IgnoreFields(&argosyv1.ReplicaStatus{}, "age", "state", "message")); d != "" {
		t.Errorf("the brief list says something else (-whole +brief):\n%s", d)
	}
}

// TestExplainNamesMachines: who reads an explanation need not ask what its machines are called.
func TestExplainNamesMachines(t *testing.T) {
	c := own(t, shortDir(t), nil)
	f := facts()
	agent := c.machine(t, f)
	agent.connect(t)
	c.apply(t, spec("named", 1))
	c.assigned(t, "named")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var res *connect.Response[argosyv1.ExplainResponse]
	for res == nil || len(res.Msg.History) == 0 { // it comes to be known soon after
		var err error
		if res, err = c.local.apps.Explain(ctx, connect.NewRequest(&argosyv1.ExplainRequest{Key: replicaKey("named", 1)})); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(map[string]string{agent.m.MachineID: f.Name}, res.Msg.MachineNames); d != "" {
		t.Errorf("machines' names (-want +got):\n%s", d)
	}
}
