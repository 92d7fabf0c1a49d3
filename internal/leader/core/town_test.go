package core_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/dispatcher"
	"github.com/argosy-cluster/argosy/internal/leader/core"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/volumesource"
)

// town is a core with machines that come, change and go while it runs, and whose commits always succeed. Replicas are shown
// ready as soon as they are assigned.
type town struct {
	t        fataler
	c        *core.Core
	now      time.Time
	revision int64
	sessions map[string]*dispatcher.Session
	machines map[string]*argosyv1.Machine
	// slow are machines that do not come to removing anything, and owe it.
	slow map[string]bool
	// vain are machines that ask for leases in vain.
	vain map[string]bool
	// broken are machines that cannot mount, and what they say.
	broken map[string]string
	// reports are what machines said of storage last.
	reports map[string]*argosyv1.StorageReport
	owed    map[string][]*argosyv1.ReplicaObservation
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func newTown(t fataler, machines ...*argosyv1.Machine) *town {
	w := &town{t: t, now: time.Unix(1_700_000_000, 0), revision: 1, sessions: map[string]*dispatcher.Session{}, machines: map[string]*argosyv1.Machine{},
		slow: map[string]bool{}, vain: map[string]bool{}, broken: map[string]string{}, reports: map[string]*argosyv1.StorageReport{}, owed: map[string][]*argosyv1.ReplicaObservation{}}
	w.c = core.New(w.now, core.Config{Term: 1, Number: 1}, store.Snapshot{Revision: 1})
	for _, m := range machines {
		w.join(m)
	}
	return w
}

// guarded has a machine say that it has a guard, and a way to some storage.
func (w *town) guarded(id string, storage ...string) {
	w.t.Helper()
	r := &argosyv1.StorageReport{Guard: &argosyv1.Guard{Key: []byte(fmt.Sprintf("%-32s", "key of "+id))[:32]}}
	w.stores(id, r, storage...)
}

// leaving has a machine say that it is about to be shut down.
func (w *town) leaving(id string) {
	w.t.Helper()
	r := proto.CloneOf(w.reports[id])
	r.Guard.Leaving = true
	w.stores(id, r)
}

// stores has a machine report what storage it has a way to.
func (w *town) stores(id string, r *argosyv1.StorageReport, storage ...string) {
	w.t.Helper()
	w.reports[id] = r
	for _, s := range storage {
		if kind, ok := strings.CutPrefix(s, "mount "); ok {
			r.MountTypes = append(r.MountTypes, kind)
		} else {
			r.Devices = append(r.Devices, volumesource.Reach(s))
		}
	}
	if err := w.c.Receive(w.now, w.sessions[id], &argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Storage{Storage: r}}); err != nil {
		w.t.Fatalf("%v", err)
	}
	w.settle()
}

// join makes a machine's record and, unless it has one, its session.
func (w *town) join(m *argosyv1.Machine) {
	w.t.Helper()
	m = proto.CloneOf(m)
	w.machines[m.Id] = m
	w.put(store.MachineKey(m.Id), m)
	if w.sessions[m.Id] == nil {
		s, refusal := w.c.Open(w.now, m.Id, &argosyv1.Hello{BootId: "b", SessionId: fmt.Sprint("s", w.revision), SystemdVersion: m.SystemdVersion})
		if refusal != nil {
			w.t.Fatalf("%v", refusal)
		}
		w.sessions[m.Id] = s
		w.receive(s, &argosyv1.Report{Full: true})
	}
	w.settle()
}

func (w *town) put(key string, m proto.Message) {
	w.t.Helper()
	op, err := store.Put(key, m)
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	w.commit(op)
}

func (w *town) commit(ops ...store.Op) {
	w.t.Helper()
	u, err := w.c.Propose(w.now, func(time.Time, *core.View) (core.Proposal, error) { return core.Proposal{Ops: ops}, nil })
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	w.commitUnits([]core.Unit{u})
}

func (w *town) commitUnits(units []core.Unit) {
	for _, txn := range w.c.Pack(units) {
		w.revision++
		w.c.Committed(w.now, w.revision, txn)
	}
}

func (w *town) receive(s *dispatcher.Session, rep *argosyv1.Report) {
	w.t.Helper()
	if err := w.c.Receive(w.now, s, &argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Report{Report: rep}}); err != nil {
		w.t.Fatalf("%v", err)
	}
}

// settle decides and shows what was decided until nothing is left to do.
func (w *town) settle() {
	w.t.Helper()
	for range 10_000 {
		units := w.c.Step(w.now)
		w.commitUnits(units)
		if shown := w.show(); len(units) == 0 && !shown {
			return
		}
		w.now = w.now.Add(time.Millisecond)
	}
	w.t.Fatalf("it does not settle")
}

// show lets each machine that has a session do what it was told.
func (w *town) show() (any bool) {
	for _, id := range slices.Sorted(maps.Keys(w.sessions)) {
		s := w.sessions[id]
		rep := &argosyv1.Report{}
		for m := w.c.Next(s); m != nil; m = w.c.Next(s) {
			for _, a := range m.GetAssignments().GetSet() {
				st := argosyv1.ReplicaState_REPLICA_STATE_READY
				if a.Goal == argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE {
					st = argosyv1.ReplicaState_REPLICA_STATE_GONE
				}
				o := w.observe(id, a, st)
				if st == argosyv1.ReplicaState_REPLICA_STATE_GONE && w.slow[id] {
					w.owed[id] = append(w.owed[id], o)
					continue
				}
				rep.Replicas = append(rep.Replicas, o)
			}
		}
		if len(rep.Replicas) > 0 {
			w.receive(s, rep)
			any = true
		}
	}
	return any
}

// observe is what a machine shows of an assignment.
func (w *town) observe(id string, a *argosyv1.Assignment, st argosyv1.ReplicaState) *argosyv1.ReplicaObservation {
	var holds []*argosyv1.ClaimObservation
	for _, cl := range a.Claims {
		o := &argosyv1.ClaimObservation{Volume: cl.Volume, Token: cl.Token, Phase: argosyv1.ClaimPhase_CLAIM_PHASE_ARMED}
		switch {
		case cl.Token == nil:
			o.Phase = argosyv1.ClaimPhase_CLAIM_PHASE_ATTACHING
		case w.vain[id]:
			o.Phase, o.Message = argosyv1.ClaimPhase_CLAIM_PHASE_ASKING, "1 of 3 servers agreed"
		case w.broken[id] != "":
			o.Phase, o.Message = argosyv1.ClaimPhase_CLAIM_PHASE_OVER, w.broken[id]
		}
		if o.Phase != argosyv1.ClaimPhase_CLAIM_PHASE_ARMED && st != argosyv1.ReplicaState_REPLICA_STATE_GONE {
			st = min(st, argosyv1.ReplicaState_REPLICA_STATE_STARTING)
		}
		if a.Goal == argosyv1.ReplicaGoal_REPLICA_GOAL_RUN {
			holds = append(holds, o)
		}
	}
	return &argosyv1.ReplicaObservation{Claims: holds, Key: a.Key, AppUid: a.AppUid, Incarnation: a.Incarnation,
		Revision: a.Revision, Restart: a.Restart, State: st}
}

// again has a machine show anew all that it runs.
func (w *town) again(id string) {
	w.t.Helper()
	rep := &argosyv1.Report{}
	for _, k := range w.c.Assigned(id) {
		if a := w.c.Assignment(id, k); a.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_RUN {
			rep.Replicas = append(rep.Replicas, w.observe(id, a, argosyv1.ReplicaState_REPLICA_STATE_READY))
		}
	}
	w.receive(w.sessions[id], rep)
	w.settle()
}

// lose has machines fall silent until they are lost, while the others beat.
func (w *town) lose(ids ...string) {
	w.t.Helper()
	for _, id := range ids {
		w.c.Close(w.now, w.sessions[id])
		delete(w.sessions, id)
	}
	w.pass(state.DefaultLiveness + 2*state.DefaultUnreachable)
}

// pass lets time pass.
func (w *town) pass(d time.Duration) {
	w.t.Helper()
	for end := w.now.Add(d); w.now.Before(end); w.now = w.now.Add(state.DefaultUnreachable / 4) {
		for _, id := range slices.Sorted(maps.Keys(w.sessions)) {
			if err := w.c.Receive(w.now, w.sessions[id], &argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Beat{Beat: &argosyv1.Beat{}}}); err != nil {
				w.t.Fatalf("%v", err)
			}
		}
		w.settle()
	}
	w.settle()
}

// back has a machine be heard of again, with nothing of what it ran.
func (w *town) back(id string) {
	w.t.Helper()
	w.join(w.machines[id])
	w.pass(time.Second)
}

// apply makes a spec the app's next revision.
func (w *town) apply(spec *argosyv1.AppSpec) {
	w.t.Helper()
	old := w.view().App("default", spec.Name)
	app := &argosyv1.App{Tenant: "default", Name: spec.Name, Uid: old.GetUid(), Revision: old.GetRevision() + 1, IncarnationFloor: old.GetIncarnationFloor()}
	if old == nil {
		app.Uid = fmt.Sprint("u", w.revision)
	}
	w.put(store.RevisionKey("default", spec.Name, app.Revision), &argosyv1.Revision{Tenant: "default", App: spec.Name, AppUid: app.Uid,
		Number: app.Revision, Spec: proto.CloneOf(spec)})
	w.put(store.AppKey("default", spec.Name), app)
	w.settle()
}

func (w *town) view() *core.View { return w.c.View(w.now) }

func (w *town) ahead(spec *argosyv1.AppSpec, labels ...string) *argosyv1.PlanResponse {
	w.t.Helper()
	out, err := w.view().PlanAhead("default", spec, labels)
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	return out
}

// places says where each replica of an app is, by stack and number: a machine, or nothing.
func (w *town) places(app string) map[string]string {
	out := map[string]string{}
	for _, r := range w.view().AppReplicas(state.AppKey{Tenant: "default", App: app}) {
		out[fmt.Sprintf("%s.%d", r.Key.Stack, r.Key.Number)] = r.Machine
	}
	return out
}

// waiting counts the replicas of a stack that are on no machine.
func (w *town) waiting(app, stack string) (n int) {
	for name, machine := range w.places(app) {
		if strings.HasPrefix(name, stack+".") && machine == "" {
			n++
		}
	}
	return n
}

var _ fataler = (testing.TB)(nil)
