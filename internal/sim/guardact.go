package sim

import (
	"context"
	"errors"
	"iter"
	"maps"
	"time"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	agent "github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/agent/volume"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/claims/gate"
	"github.com/argosy-cluster/argosy/internal/claims/guard"
	"github.com/argosy-cluster/argosy/internal/guard/machine"
	"github.com/argosy-cluster/argosy/internal/guard/port"
)

// slot is what a machine has of a token: its slice and its mount, and the record of them.
type slot struct {
	id    claims.ID
	token claims.Token
	at    volume.Volume
	gate  gate.State
	// made: there is a slice. mounted: there is a mount.
	made, mounted bool
	disk          *sharedDisk
}

func sliceOf(id claims.ID, t claims.Token) string { return string(id) + "@" + t.String() }

func keysOf[V any](m map[claims.ID]V) iter.Seq[claims.ID] { return maps.Keys(m) }

// Place says where a claim's volume is.
func (m *Machine) Place(id claims.ID, t claims.Token, v volume.Volume) error {
	name := sliceOf(id, t)
	if m.kernel.slots[name] == nil {
		m.kernel.slots[name] = &slot{id: id, token: t, at: v, disk: m.w.sharedDisk(sourceOf(v))}
	}
	return nil
}

// Show says how a claim's gate is.
func (m *Machine) Show(id claims.ID, t claims.Token) machine.Shown {
	s := m.kernel.slots[sliceOf(id, t)]
	if s == nil || s.gate != gate.Armed {
		return machine.Shown{}
	}
	return machine.Shown{Armed: true, Path: "/run/" + sliceOf(id, t), Slice: sliceOf(id, t), UUID: "uuid of " + s.disk.source, Size: 1 << 30, Free: 1 << 29}
}

// Forget drops what was placed, and of which nothing ever was on this machine.
func (m *Machine) Forget(id claims.ID, t claims.Token) error {
	if s := m.kernel.slots[sliceOf(id, t)]; s != nil && s.gate == gate.Frozen && !s.made {
		delete(m.kernel.slots, sliceOf(id, t))
	}
	return nil
}

// deed is an order that is carried out: its effect falls somewhere between its beginning and its end.
type deed struct {
	do   func()
	done bool
}

func (d *deed) happen() {
	if !d.done {
		d.done = true
		d.do()
	}
}

// order queues an order. One that waits already is not queued twice.
func (g *guardProcess) order(e guard.Effect) {
	id, _ := guard.Subject(e)
	for _, o := range g.queue[id] {
		if o == e {
			return
		}
	}
	g.queue[id] = append(g.queue[id], e)
	if g.now[id] == nil {
		g.work(id)
	}
}

// work carries out the orders of a claim one after another.
func (g *guardProcess) work(id claims.ID) {
	if len(g.queue[id]) == 0 || g.over {
		delete(g.now, id)
		return
	}
	e := g.queue[id][0]
	g.queue[id] = g.queue[id][1:]
	w, boot := g.w, g.m.boots
	total := w.span(2*time.Millisecond, 300*time.Millisecond)
	if g.m.suffers(DiskSlow) {
		total = w.span(100*time.Millisecond, 6*time.Second)
	}
	var err error
	d := &deed{do: func() {
		if g.m.boots == boot && g.m.up {
			err = g.m.obey(e)
		}
	}}
	g.now[id] = d
	w.after(w.span(0, total), d.happen)
	w.after(total, func() {
		g.run(func() {
			d.happen()
			g.answer(e, err)
			g.work(id)
		})
	})
}

// answer tells the guard how an order went.
func (g *guardProcess) answer(e guard.Effect, err error) {
	id, t := guard.Subject(e)
	fault := ""
	if err != nil {
		fault = err.Error()
	}
	switch e.(type) {
	case guard.Mount:
		g.event(guard.Mounted{Claim: id, Token: t, Fault: fault})
	case guard.Arm:
		g.port.Tell(guard.Tell{Claim: id, Token: t, Phase: guard.Armed, Why: fault})
		g.m.tellAgent()
	case guard.Clear:
		g.event(guard.Cleared{Claim: id, Token: t, Fault: fault})
	case guard.Seal:
		if err != nil {
			g.w.violate("%s: %s %v cannot be sealed: %v", g.m.Name, id, t, err)
			return
		}
		g.event(guard.Closed{Claim: id, Token: t})
	}
}

var (
	errUnplaced = errors.New("nobody said where its volume is")
	errHangs    = errors.New("the storage does not answer")
	errBusy     = errors.New("something still has it open")
)

// obey is what the kernel does for a guard.
func (m *Machine) obey(e guard.Effect) error {
	id, t := guard.Subject(e)
	s := m.kernel.slots[sliceOf(id, t)]
	if s == nil {
		if _, seal := e.(guard.Seal); seal {
			return nil // it was sealed before
		}
		return errUnplaced
	}
	trouble := m.w.suffers(Engine) && m.w.chance(0.1)
	switch e.(type) {
	case guard.Mount:
		return m.mount(s, trouble)
	case guard.Arm:
		return s.move(gate.Armed)
	case guard.Clear:
		return m.clear(s, trouble)
	}
	if err := s.move(gate.Sealed); err != nil {
		return err
	}
	delete(m.kernel.slots, sliceOf(id, t))
	return nil
}

func (s *slot) move(to gate.State) error {
	next, ok := gate.Step(s.gate, to)
	if !ok {
		return errors.New(gate.Why(s.gate, to))
	}
	s.gate = next
	return nil
}

func (m *Machine) mount(s *slot, trouble bool) error {
	if err := s.move(gate.Frozen); err != nil {
		return err
	}
	if s.made = true; trouble && m.w.chance(0.5) {
		return errHangs
	}
	if err := s.disk.mount(m, s.token); err != nil {
		return err
	}
	s.mounted = true
	m.w.trace("%s: mounts %s with token %v", m.Name, s.disk.source, s.token)
	if trouble {
		return errHangs // though it is mounted
	}
	return nil
}

func (m *Machine) clear(s *slot, trouble bool) error {
	if err := s.move(gate.Shut); err != nil {
		return err
	}
	for _, id := range m.engine.ids() {
		if b := m.engine.containers[id]; b.slice == sliceOf(s.id, s.token) && b.State == agent.Running {
			m.engine.exit(b, 137)
			m.look(b.Owner.Key)
		}
	}
	if trouble && s.mounted {
		return errBusy
	}
	m.unmount(s)
	return nil
}

func (m *Machine) unmount(s *slot) {
	if s.mounted {
		s.mounted = false
		s.disk.unmount(m, s.token)
		m.w.trace("%s: has unmounted %s with token %v", m.Name, s.disk.source, s.token)
	}
}

// lost is what is left of a kernel when the power goes: nothing.
func (m *Machine) lostKernel() {
	for _, name := range slicesOf(m.kernel.slots) {
		m.unmount(m.kernel.slots[name])
	}
	m.kernel = &kernel{clock: m.kernel.clock, slots: map[string]*slot{}}
}

// link is a connection of the agent to the guard.
type link struct {
	g *guardProcess
	l *port.Listener
}

// keepSpeaking is what an agent says to its guard, again and again.
func (m *Machine) keepSpeaking(a *agentProcess) {
	a.after(m.w.span(900*time.Millisecond, 1100*time.Millisecond), func() {
		m.speak(a)
		m.keepSpeaking(a)
	})
}

// speak tells the guard what it has not been told.
func (m *Machine) speak(a *agentProcess) {
	if a.storage == nil || a.dead {
		return
	}
	if a.link == nil {
		if m.guard == nil {
			a.storage.Lost("it does not answer")
			return
		}
		a.link = &link{m.guard, m.guard.port.Enter()}
		a.storage.Met()
		m.tellAgent()
	}
	g := a.link.g
	for _, o := range a.storage.Orders(context.Background(), func(do func()) {
		a.after(m.w.span(time.Millisecond, 50*time.Millisecond), func() {
			do()
			m.speak(a)
		})
	}) {
		m.w.after(time.Millisecond, func() {
			g.run(func() {
				g.port.Order(o)
				m.tellAgent()
			})
		})
	}
}

// tellAgent tells the agent what it has not heard.
func (m *Machine) tellAgent() {
	a := m.agent
	if a == nil || a.link == nil || a.link.g.dead || a.link.g.stops > 0 {
		return
	}
	l := a.link
	for _, r := range l.g.port.News(l.l) {
		m.w.after(time.Millisecond, func() {
			a.run(func() {
				if a.link != l {
					return
				}
				if err := a.storage.Hear(r); err != nil {
					m.w.violate("%s: the agent does not understand its guard: %v", m.Name, err)
				}
				m.speakSoon(a, r)
			})
		})
	}
}

// speakSoon answers a guard that has said who it is.
func (m *Machine) speakSoon(a *agentProcess, r *leasev1.GuardReport) {
	if r.GetGuard() != nil {
		m.speak(a)
	}
}

// tellGuard has the agent's storage take in what is to be told.
func (m *Machine) tellGuard(a *agentProcess, steps []agent.ClaimStep) {
	for _, s := range steps {
		m.w.trace("%s: guard: %s", m.Name, s)
		a.storage.Do(s)
	}
	if len(steps) > 0 {
		a.after(time.Millisecond, func() { m.speak(a) })
	}
}

// loseGuard is what a power cut does to the guard and to all that the kernel had.
func (m *Machine) loseGuard() {
	if !m.w.guarded {
		return
	}
	if g := m.guard; g != nil {
		g.dead = true
		m.guard = nil
	}
	m.lostKernel()
}
