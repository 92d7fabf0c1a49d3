package server

import (
	"context"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// TestWatchUsage: a watcher is told everything once and then only what is not as it was.
func TestWatchUsage(t *testing.T) {
	t.Parallel()
	c := own(t, shortDir(t), nil)
	f := facts()
	agent := c.machine(t, f)
	agent.connect(t)
	c.apply(t, spec("used", 2))
	c.apply(t, spec("other", 1))
	for _, app := range []string{"used", "other"} {
		c.assigned(t, app)
	}
	report := func(cpu ...int64) {
		u := &argosyv1.UsageReport{Machine: &argosyv1.MachineUsage{CpuMilli: 700}}
		for i, n := range cpu {
			u.Members = append(u.Members, &argosyv1.MemberUsage{Key: &argosyv1.ReplicaKey{Tenant: "default", App: "used", Stack: "web", Number: uint32(i + 1)},
				Member: "web", CpuMilli: n, Memory: 1 << 20, Rate: &argosyv1.Traffic{NetworkSent: 5}})
		}
		if err := agent.send(&argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Usage{Usage: u}}); err != nil {
			t.Fatal(err)
		}
	}
	stream, err := c.local.cluster.WatchUsage(t.Context(), connect.NewRequest(&argosyv1.WatchUsageRequest{App: "used", Every: durationpb.New(time.Millisecond)}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	next := func() *argosyv1.WatchUsageResponse {
		t.Helper()
		if !stream.Receive() {
			t.Fatal(stream.Err())
		}
		return stream.Msg()
	}
	if m := next(); !m.Full || len(m.Machines)+len(m.Replicas) != 0 {
		t.Errorf("before anybody reported: %v", m)
	}
	report(100, 200)
	if m := next(); m.Full || len(m.Machines) != 1 || m.Machines[0].Name != f.Name || m.Machines[0].Usage.CpuMilli != 700 || m.Machines[0].Age == nil ||
		len(m.Replicas) != 2 || m.Replicas[0].Rate.NetworkSent != 5 || len(m.Replicas[0].Members) != 0 {
		t.Errorf("the first report: %v", m)
	}
	report(100, 300)
	if m := next(); len(m.Machines) != 1 || len(m.Replicas) != 1 || m.Replicas[0].CpuMilli != 300 {
		t.Errorf("one of two changed: %v", m)
	}
	report(100)
	if m := next(); len(m.Replicas) != 1 || m.Replicas[0].Key.Number != 2 || m.Replicas[0].CpuMilli != 0 || m.Replicas[0].Rate != nil {
		t.Errorf("one uses nothing any more: %v", m)
	}

	one, err := c.local.cluster.WatchUsage(t.Context(), connect.NewRequest(&argosyv1.WatchUsageRequest{App: "used", Stack: "web", Number: 1, Members: true}))
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	if !one.Receive() || len(one.Msg().Replicas) != 1 || len(one.Msg().Replicas[0].Members) != 1 {
		t.Errorf("with members: %v, %v", one.Msg(), one.Err())
	}
	none, err := c.local.cluster.WatchUsage(t.Context(), connect.NewRequest(&argosyv1.WatchUsageRequest{Machine: "nobody"}))
	if err == nil {
		none.Receive()
		err = none.Err()
	}
	wantError(t, err, connect.CodeNotFound, "no machine is called")
}

// TestWatchUsagePace: machines report often while somebody watches, and as they like once nobody does.
func TestWatchUsagePace(t *testing.T) {
	t.Parallel()
	c := own(t, shortDir(t), nil)
	agent := c.machine(t, facts())
	agent.connect(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := c.local.cluster.WatchUsage(ctx, connect.NewRequest(&argosyv1.WatchUsageRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	agent.told(t, 2*time.Second)
	late := c.machine(t, facts())
	late.connect(t)
	late.told(t, 2*time.Second)
	cancel()
	agent.told(t, 0)
	late.told(t, 0)
}
