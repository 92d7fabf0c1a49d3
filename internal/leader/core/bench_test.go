package core_test

import (
	"fmt"
	"testing"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/dispatcher"
	"github.com/argosy-cluster/argosy/internal/leader/core"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
)

// rig is a core with machines that have sessions, whose commits always succeed.
type rig struct {
	t        testing.TB
	c        *core.Core
	now      time.Time
	revision int64
	sessions []*dispatcher.Session
}

func newRig(t testing.TB, machines int) *rig {
	r := &rig{t: t, now: time.Unix(1_700_000_000, 0), revision: 1}
	var snap store.Snapshot
	for i := range machines {
		id := fmt.Sprintf("m%05d", i)
		op, err := store.Put(store.MachineKey(id), &argosyv1.Machine{Id: id, Name: id, Subnet: fmt.Sprintf("10.%d.%d.0/24", i/256, i%256),
			Capacity: &argosyv1.Capacity{CpuMilli: 32000, Memory: 64 << 30}, BootId: "b"})
		if err != nil {
			t.Fatal(err)
		}
		snap.KVs = append(snap.KVs, store.KV{Key: op.Key, Value: op.Value})
	}
	snap.Revision = r.revision
	r.c = core.New(r.now, core.Config{Term: 1, Number: 1}, snap)
	for i := range machines {
		s, refusal := r.c.Open(r.now, fmt.Sprintf("m%05d", i), &argosyv1.Hello{BootId: "b", SessionId: "s"})
		if refusal != nil {
			t.Fatal(refusal)
		}
		r.sessions = append(r.sessions, s)
		r.receive(s, &argosyv1.Report{Full: true})
	}
	r.settle()
	return r
}

func (r *rig) receive(s *dispatcher.Session, rep *argosyv1.Report) {
	if err := r.c.Receive(r.now, s, &argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Report{Report: rep}}); err != nil {
		r.t.Fatal(err)
	}
}

// settle steps until nothing is left to do, and sends everything; it counts assignments.
func (r *rig) settle() (assigned int) {
	for units := r.c.Step(r.now); len(units) > 0; units = r.c.Step(r.now) {
		for _, t := range r.c.Pack(units) {
			r.revision++
			r.c.Committed(r.now, r.revision, t)
		}
	}
	for _, s := range r.c.Wakes() {
		for m := r.c.Next(s); m != nil; m = r.c.Next(s) {
			assigned += len(m.GetAssignments().GetSet())
		}
	}
	return assigned
}

func (r *rig) apply(app string, image string, count uint32) {
	u, err := r.c.Propose(r.now, func(_ time.Time, v *core.View) (core.Proposal, error) {
		n := v.App("default", app).GetRevision() + 1
		rec, err := store.Put(store.AppKey("default", app), &argosyv1.App{Tenant: "default", Name: app, Uid: "u", Revision: n,
			IncarnationFloor: v.App("default", app).GetIncarnationFloor()})
		if err != nil {
			return core.Proposal{}, err
		}
		rev, err := store.Put(store.RevisionKey("default", app, n), &argosyv1.Revision{Tenant: "default", App: app, AppUid: "u", Number: n,
			Spec: &argosyv1.AppSpec{Name: app,
				Containers: []*argosyv1.ContainerSpec{{Name: "web", Image: image, Resources: &argosyv1.Resources{ReserveCpuMilli: 10, ReserveMemory: 1 << 20}}},
				Stacks:     []*argosyv1.StackSpec{{Name: "web", Containers: []string{"web"}, Placement: &argosyv1.Placement{Spread: []string{"machine"}}}},
				Cluster:    []*argosyv1.ClusterEntry{{Stack: "web", Count: count}}}})
		return core.Proposal{Ops: []store.Op{rec, rev}}, err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, t := range r.c.Pack([]core.Unit{u}) {
		r.revision++
		r.c.Committed(r.now, r.revision, t)
	}
}

// BenchmarkApply: one replica more on a cluster with so many; the cost should not follow the size.
func BenchmarkApply(b *testing.B) {
	for _, machines := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprintf("machines=%d", machines), func(b *testing.B) {
			r := newRig(b, machines)
			r.apply("filler", "web:1", uint32(machines*4))
			if n := r.settle(); n != machines*4 {
				b.Fatalf("%d of %d were assigned", n, machines*4)
			}
			b.ResetTimer()
			for i := range b.N {
				r.apply(fmt.Sprint("app", i), "web:1", 1)
				if n := r.settle(); n != 1 {
					b.Fatalf("%d were assigned", n)
				}
			}
		})
	}
}

// BenchmarkCreate: ten thousand replicas on a thousand machines, decided, packed and put into messages.
func BenchmarkCreate(b *testing.B) {
	const replicas = 10_000
	for range b.N {
		b.StopTimer()
		r := newRig(b, 1000)
		b.StartTimer()
		r.apply("shop", "web:1", replicas)
		if n := r.settle(); n != replicas {
			b.Fatalf("%d were assigned", n)
		}
	}
	b.ReportMetric(float64(replicas*b.N)/b.Elapsed().Seconds(), "replicas/s")
}

// BenchmarkBeat: a sign of life.
func BenchmarkBeat(b *testing.B) {
	r := newRig(b, 5000)
	beat := &argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Beat{Beat: &argosyv1.Beat{}}}
	b.ResetTimer()
	for i := range b.N {
		r.now = r.now.Add(200 * time.Microsecond)
		if err := r.c.Receive(r.now, r.sessions[i%len(r.sessions)], beat); err != nil {
			b.Fatal(err)
		}
		if r.c.Due(r.now) {
			r.settle()
		}
	}
}

// TestLateGone: a word of an earlier copy of a number, repeated to a new leader, does not end the present one.
func TestLateGone(t *testing.T) {
	r := newRig(t, 1)
	k := state.Key{Tenant: "default", App: "shop", Stack: "web", Number: 1}
	seen := func(incarnation uint64, s argosyv1.ReplicaState) *argosyv1.ReplicaObservation {
		return &argosyv1.ReplicaObservation{Key: k.Proto(), AppUid: "u", Incarnation: incarnation, Revision: 1, State: s}
	}
	r.apply("shop", "web:1", 1)
	r.settle()
	r.receive(r.sessions[0], &argosyv1.Report{Replicas: []*argosyv1.ReplicaObservation{seen(1, argosyv1.ReplicaState_REPLICA_STATE_READY)}})
	r.apply("shop", "web:1", 0)
	r.settle()
	late := seen(1, argosyv1.ReplicaState_REPLICA_STATE_GONE)
	r.receive(r.sessions[0], &argosyv1.Report{Replicas: []*argosyv1.ReplicaObservation{late}})
	r.settle()
	if r.c.View(r.now).Replica(k) != nil {
		t.Fatal("the record stays after nothing is left")
	}
	r.apply("shop", "web:1", 1)
	r.settle()
	now := r.c.View(r.now).Replica(k)
	if now.GetIncarnation() <= 1 {
		t.Errorf("the new copy has incarnation %d like the old one", now.GetIncarnation())
	}
	r.apply("shop", "web:1", 0)
	r.settle()
	r.receive(r.sessions[0], &argosyv1.Report{Full: true, Replicas: []*argosyv1.ReplicaObservation{late}})
	r.settle()
	if r.c.View(r.now).Replica(k) == nil {
		t.Error("a late word of the old copy ended the new one")
	}
}
