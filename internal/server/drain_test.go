package server

import (
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// TestLeave: a machine drains and removes itself, and nobody else; one that is not drained stays.
func TestLeave(t *testing.T) {
	c := own(t, shortDir(t), nil)
	m := c.machine(t, facts())
	m.connect(t)
	leave := func(r *argosyv1.LeaveRequest) (*argosyv1.LeaveResponse, error) {
		res, err := m.agents.Leave(t.Context(), connect.NewRequest(r))
		if err != nil {
			return nil, err
		}
		return res.Msg, nil
	}
	depart := func() error {
		_, err := m.agents.Depart(t.Context(), connect.NewRequest(&argosyv1.DepartRequest{}))
		return err
	}
	wantError(t, depart(), connect.CodeFailedPrecondition, "is not drained")
	_, err := c.local.agents.Leave(t.Context(), connect.NewRequest(&argosyv1.LeaveRequest{}))
	wantError(t, err, connect.CodePermissionDenied, "a machine's certificate")
	_, err = m.machines.DrainMachine(t.Context(), connect.NewRequest(&argosyv1.DrainMachineRequest{Machine: "any"}))
	wantError(t, err, connect.CodePermissionDenied, "the role admin")
	_, err = leave(&argosyv1.LeaveRequest{Deadline: durationpb.New(-time.Second)})
	wantError(t, err, connect.CodeInvalidArgument, "makes no sense")
	_, err = leave(&argosyv1.LeaveRequest{Reason: "one\ntwo"})
	wantError(t, err, connect.CodeInvalidArgument, "one line")

	first, err := leave(&argosyv1.LeaveRequest{Reason: "sold", Deadline: durationpb.New(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	again, err := leave(&argosyv1.LeaveRequest{Reason: "sold"})
	if err != nil {
		t.Fatal(err)
	}
	if d := again.Drain; d.GetReason() != "sold" || !d.GetSince().AsTime().Equal(first.Drain.GetSince().AsTime()) || d.GetDeadline() == nil {
		t.Errorf("asked again, the drain is %v; it was %v", d, first.Drain)
	}
	if !again.Drained || len(again.Remaining) > 0 {
		t.Errorf("nothing runs on it, and it is not drained: %v", again)
	}
	if err := depart(); err != nil {
		t.Fatal(err)
	}
	list, err := c.local.machines.ListMachines(t.Context(), connect.NewRequest(&argosyv1.ListMachinesRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(list.Msg.Machines); n != 0 {
		t.Errorf("%d machines are in the cluster after the only one has left", n)
	}
}

// TestHungEngine: a machine whose Engine does not answer says so, and takes nothing until it does.
func TestHungEngine(t *testing.T) {
	c := own(t, shortDir(t), nil)
	m := c.machine(t, facts())
	m.connect(t)
	engine := func(trouble string) {
		t.Helper()
		if err := m.send(&argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Engine{Engine: &argosyv1.EngineReport{Trouble: trouble}}}); err != nil {
			t.Fatal(err)
		}
	}
	status := func() string {
		list, err := c.local.machines.ListMachines(t.Context(), connect.NewRequest(&argosyv1.ListMachinesRequest{}))
		if err != nil || len(list.Msg.Machines) != 1 {
			t.Fatalf("machines: %v, %v", list, err)
		}
		return list.Msg.Machines[0].Message
	}
	engine("the Docker Engine of this machine does not answer")
	for !strings.Contains(status(), "does not answer") {
		if t.Context().Err() != nil {
			t.Fatal("nobody says that the Engine does not answer")
		}
	}
	c.apply(t, spec("shop", 1))
	ps, err := c.local.apps.ListReplicas(t.Context(), connect.NewRequest(&argosyv1.ListReplicasRequest{App: "shop"}))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range ps.Msg.Replicas {
		if r.MachineName != "" {
			t.Errorf("%v was given to a machine whose Engine does not answer", r.GetReplica().GetKey())
		}
	}
	engine("")
	c.assigned(t, "shop")
	if s := status(); strings.Contains(s, "does not answer") {
		t.Errorf("the Engine answers again, and the machine is still said to have a silent one: %s", s)
	}
}

// TestStrays: who administers the cluster sees all volumes that nothing names, anybody else those of the own tenant.
func TestStrays(t *testing.T) {
	c := own(t, shortDir(t), nil)
	m := c.machine(t, facts())
	m.connect(t)
	stray := func(tenant string) *argosyv1.StrayVolume {
		return &argosyv1.StrayVolume{Replica: &argosyv1.ReplicaKey{Tenant: tenant, App: "shop", Stack: "db", Number: 1}, Name: "data", EngineName: "argosy." + tenant + ".shop.db.1.data"}
	}
	report := &argosyv1.StrayReport{Volumes: []*argosyv1.StrayVolume{stray("default"), stray("acme")}}
	if err := m.send(&argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Strays{Strays: report}}); err != nil {
		t.Fatal(err)
	}
	see := func(who *clients) (names []string) {
		list, err := who.machines.ListMachines(t.Context(), connect.NewRequest(&argosyv1.ListMachinesRequest{}))
		if err != nil || len(list.Msg.Machines) != 1 {
			t.Fatalf("machines: %v, %v", list, err)
		}
		for _, v := range list.Msg.Machines[0].Strays {
			names = append(names, v.EngineName)
		}
		return names
	}
	for len(see(c.local)) == 0 {
		if t.Context().Err() != nil {
			t.Fatal("nobody says that volumes are left over")
		}
	}
	if got := see(c.local); len(got) != 2 {
		t.Errorf("an administrator sees %v, want both", got)
	}
	if got := see(c.user(t, "eve", "viewer")); len(got) != 1 || got[0] != "argosy.default.shop.db.1.data" {
		t.Errorf("somebody of the default tenant sees %v", got)
	}
}
