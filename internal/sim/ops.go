package sim

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/leader/core"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
)

// AddMachine makes a machine, lets it join and boots it.
func (w *World) AddMachine(name string, labels map[string]string, cpuMilli, memory int64) *Machine {
	n := len(w.machines) + 1
	m := &Machine{w: w, ID: fmt.Sprintf("id-%s", name), Name: name, prefix: fmt.Sprintf("10.1.%d.", n), clock: w.newClock(), disk: newDisk()}
	m.kernel = &kernel{slots: map[string]*slot{}}
	if w.guarded {
		m.kernel.clock = w.leaseClock()
	}
	m.engine = newEngine(m)
	m.record = &argosyv1.Machine{
		Id: m.ID, Name: name, Labels: labels, Capacity: &argosyv1.Capacity{CpuMilli: cpuMilli, Memory: memory},
		Subnet: fmt.Sprintf("10.1.%d.0/24", n), Address: fmt.Sprintf("192.168.0.%d", n), JoinedAt: timestamppb.New(w.now),
		Condition: argosyv1.MachineCondition_MACHINE_CONDITION_READY,
	}
	w.machines = append(w.machines, m)
	w.insist(func(_ time.Time, v *core.View) (core.Proposal, error) {
		if v.Machine(m.ID) != nil {
			return core.Proposal{}, nil
		}
		return put(store.MachineKey(m.ID), m.record)
	}, func() { w.Boot(m) })
	return m
}

// Machine finds a machine by name, nil when there is none.
func (w *World) Machine(name string) *Machine {
	for _, m := range w.machines {
		if m.Name == name {
			return m
		}
	}
	return nil
}

func put(key string, m proto.Message) (core.Proposal, error) {
	op, err := store.Put(key, m)
	return core.Proposal{Ops: []store.Op{op}}, err
}

// Boot turns a machine on.
func (w *World) Boot(m *Machine) {
	if m.up {
		return
	}
	m.up = true
	m.boots++
	w.trace("%s: boots", m.Name)
	w.after(w.span(100*time.Millisecond, time.Second), m.startAgent)
	if w.guarded {
		w.after(w.span(100*time.Millisecond, time.Second), m.startGuard)
	}
}

// Crash cuts a machine's power: nobody says goodbye.
func (w *World) Crash(m *Machine) {
	if !m.up {
		return
	}
	w.trace("%s: loses power", m.Name)
	if a := m.agent; a != nil {
		for _, c := range a.conns {
			c.cut()
			c.machineOpen = false
		}
		a.conns = nil
	}
	m.killAgent()
	m.loseGuard()
	m.up = false
	m.engine.crash()
	m.lose()
}

// Isolate takes a machine off the network, and puts it back.
func (w *World) Isolate(m *Machine, off bool) {
	if m.cut == off {
		return
	}
	m.cut = off
	w.trace("%s: network %s", m.Name, map[bool]string{true: "gone", false: "back"}[off])
	if a := m.agent; off && a != nil {
		for _, c := range a.conns {
			c.cut()
		}
	}
}

// RestartAgent kills a machine's agent, and starts it again a while later.
func (w *World) RestartAgent(m *Machine) {
	m.killAgent()
	w.after(w.span(100*time.Millisecond, 2*time.Second), m.startAgent)
}

// Propose hands a proposal to whoever leads; done learns what came of it.
func (w *World) Propose(decide func(now time.Time, v *core.View) (core.Proposal, error), done func(error)) {
	l := w.leader
	if l == nil || !l.serving() {
		done(errors.New("nobody leads"))
		return
	}
	l.asked = append(l.asked, request{decide, done})
	if w.suffers(Duplicate) && w.chance(0.2) {
		l.asked = append(l.asked, request{decide, func(error) {}})
	}
	l.soon()
}

// said notes what came of a request.
func (w *World) said(what string) func(error) {
	return func(err error) {
		if err != nil {
			w.trace("%s: %v", what, err)
		}
	}
}

// insist proposes until it is committed. decide must be idempotent.
func (w *World) insist(decide func(now time.Time, v *core.View) (core.Proposal, error), then func()) {
	w.Propose(decide, func(err error) {
		if err != nil {
			w.after(200*time.Millisecond, func() { w.insist(decide, then) })
			return
		}
		if then != nil {
			then()
		}
	})
}

// Apply makes a spec the app's next revision, as the server does.
func (w *World) Apply(tenant string, spec *argosyv1.AppSpec, done func(error)) {
	uid, key := w.id("app"), state.AppKey{Tenant: tenant, App: spec.GetName()}
	deletes := w.acked.deletes[key]
	var made uint64
	w.Propose(func(now time.Time, v *core.View) (core.Proposal, error) {
		app := &argosyv1.App{Tenant: tenant, Name: spec.GetName(), Uid: uid, CreatedAt: timestamppb.New(now)}
		if old := v.App(tenant, spec.GetName()); old != nil {
			if old.GetDeleting() {
				return core.Proposal{}, fmt.Errorf("app %s is being deleted", spec.GetName())
			}
			if proto.Equal(v.AppRevision(tenant, spec.GetName(), 0).GetSpec(), spec) {
				made = old.GetRevision()
				return core.Proposal{}, nil
			}
			app = proto.CloneOf(old)
		}
		app.Revision++
		made = app.Revision
		rev := &argosyv1.Revision{Tenant: tenant, App: app.GetName(), AppUid: app.GetUid(), Number: app.Revision, Spec: spec, CreatedAt: timestamppb.New(now)}
		a, err := store.Put(store.AppKey(tenant, app.GetName()), app)
		if err != nil {
			return core.Proposal{}, err
		}
		r, err := store.Put(store.RevisionKey(tenant, app.GetName(), app.Revision), rev)
		return core.Proposal{Ops: []store.Op{a, r}, Transitions: []*argosyv1.Transition{{Kind: argosyv1.TransitionKind_TRANSITION_KIND_APP,
			Tenant: tenant, App: app.GetName(), To: fmt.Sprintf("revision %d", app.Revision)}}}, err
	}, func(err error) {
		if err == nil && deletes == w.acked.deletes[key] {
			w.acked.app(key, made)
		}
		done(err)
	})
}

// change alters an app's record.
func (w *World) change(k state.AppKey, alter func(*argosyv1.App), done func(error)) {
	w.Propose(func(_ time.Time, v *core.View) (core.Proposal, error) {
		app := v.App(k.Tenant, k.App)
		if app == nil || app.GetDeleting() {
			return core.Proposal{}, fmt.Errorf("there is no app %s", k)
		}
		next := proto.CloneOf(app)
		alter(next)
		return put(store.AppKey(k.Tenant, k.App), next)
	}, done)
}

// Restart asks for a restart of a stack, or of one replica of it.
func (w *World) Restart(k state.StackKey, number uint32, done func(error)) {
	w.change(k.AppKey(), func(a *argosyv1.App) {
		if number == 0 {
			if a.Restarts == nil {
				a.Restarts = map[string]uint64{}
			}
			a.Restarts[k.Stack]++
			return
		}
		if a.ReplicaRestarts == nil {
			a.ReplicaRestarts = map[string]uint64{}
		}
		a.ReplicaRestarts[fmt.Sprintf("%s.%d", k.Stack, number)]++
	}, done)
}

// Delete has an app deleted.
func (w *World) Delete(k state.AppKey, volumes bool, done func(error)) {
	w.acked.forget(k)
	w.change(k, func(a *argosyv1.App) { a.Deleting, a.DeleteVolumes = true, volumes }, done)
}

// Label changes a machine's labels.
func (w *World) Label(m *Machine, labels map[string]string, done func(error)) {
	w.machine(m, func(_ time.Time, next *argosyv1.Machine) error {
		next.Labels = labels
		return nil
	}, done)
}

// RemoveMachine takes a machine out of the cluster.
func (w *World) RemoveMachine(m *Machine, done func(error)) {
	w.Propose(func(time.Time, *core.View) (core.Proposal, error) {
		return core.Proposal{Ops: []store.Op{store.Delete(store.MachineKey(m.ID)), store.Delete(store.OutboxKey(m.ID))}}, nil
	}, done)
}

// machine changes a machine's record.
func (w *World) machine(m *Machine, alter func(now time.Time, next *argosyv1.Machine) error, done func(error)) {
	w.Propose(func(now time.Time, v *core.View) (core.Proposal, error) {
		old := v.Machine(m.ID)
		if old == nil {
			return core.Proposal{}, fmt.Errorf("there is no machine %s", m.Name)
		}
		next := proto.CloneOf(old)
		if err := alter(now, next); err != nil {
			return core.Proposal{}, err
		}
		return put(store.MachineKey(m.ID), next)
	}, done)
}

// Drain has a machine emptied; a deadline of 0 is none.
func (w *World) Drain(m *Machine, deadline time.Duration, stopAtDeadline, stopData bool, done func(error)) {
	w.machine(m, func(now time.Time, next *argosyv1.Machine) error {
		d := &argosyv1.Drain{Since: timestamppb.New(now), By: "somebody", StopAtDeadline: stopAtDeadline, StopData: stopData}
		if old := next.GetDrain(); old != nil {
			d.Since, d.EmptiedAt = old.Since, old.EmptiedAt
		}
		if deadline > 0 {
			d.Deadline = timestamppb.New(now.Add(deadline))
		}
		next.Drain = d
		return nil
	}, done)
}

// Activate takes a drain back.
func (w *World) Activate(m *Machine, done func(error)) {
	w.machine(m, func(_ time.Time, next *argosyv1.Machine) error {
		next.Drain = nil
		return nil
	}, done)
}

// DeclareLost says that a silent machine is gone.
func (w *World) DeclareLost(m *Machine, done func(error)) {
	w.Propose(func(_ time.Time, v *core.View) (core.Proposal, error) {
		if c := v.Condition(m.ID); c != argosyv1.MachineCondition_MACHINE_CONDITION_UNREACHABLE {
			return core.Proposal{}, fmt.Errorf("machine %s is %s", m.Name, c)
		}
		next := proto.CloneOf(v.Machine(m.ID))
		next.Condition = argosyv1.MachineCondition_MACHINE_CONDITION_LOST
		return put(store.MachineKey(m.ID), next)
	}, done)
}

// View is what the leader sees now; nil when nobody leads.
func (w *World) View() *core.View {
	if w.leader == nil || !w.leader.serving() {
		return nil
	}
	return w.leader.view()
}
