package sim

import (
	"time"

	"github.com/argosy-cluster/argosy/internal/claims/guard"
)

// The faults that befall guards, witnesses and their clocks.

func (w *World) beginGuard(f Fault, m *Machine) func() {
	g := m.guard
	if !w.guarded || g == nil || g.over {
		return nil
	}
	switch f {
	case KillGuard:
		m.killGuard()
		return m.startGuard
	case PauseGuard:
		w.trace("%s: guard %s is stopped", m.Name, g.id)
		g.stop()
		return func() {
			w.trace("%s: guard %s goes on", m.Name, g.id)
			g.cont()
			m.tellAgent() // who came while it stood
		}
	}
	w.trace("%s: %s", m.Name, f)
	m.force[f]++
	return func() { m.force[f]-- }
}

func (w *World) beginWitness(f Fault) func() {
	if !w.guarded {
		return nil
	}
	s := w.servers[w.pick(len(w.servers))]
	p := s.beside.now
	if p == nil {
		return nil
	}
	if f == PauseWitness {
		w.trace("%s: its witness is stopped", s.name)
		p.stop()
		return p.cont
	}
	s.killWitness()
	if f == ForgetWitness {
		s.forget()
	}
	return s.startWitness
}

// beginLeaseClock has the clock of a machine's guard, or that of a witness, run at another rate.
func (w *World) beginLeaseClock(m *Machine) func() {
	if !w.guarded {
		return nil
	}
	if w.chance(0.4) {
		s := w.servers[w.pick(len(w.servers))]
		s.beside.clock.run(w.leaseRate())
		w.trace("%s: the clock of its witness runs at %.4f", s.name, s.beside.clock.rate)
		return func() { s.beside.clock.run(w.leaseRate()) }
	}
	change := func() {
		m.kernel.clock.run(w.leaseRate())
		w.trace("%s: the clock of its guard runs at %.4f", m.Name, m.kernel.clock.rate)
		m.timed()
	}
	change()
	return change
}

// beginShutdown has a machine's guard give everything back, and the machine's power end when it may have, or before. A shutdown that
// has not come to that when the fault ends is called off.
func (w *World) beginShutdown(m *Machine) func() {
	g := m.guard
	if !w.guarded || !m.up || g == nil || g.over {
		return nil
	}
	boot, off := m.boots, false
	patience := w.span(0, 15*time.Second)
	w.trace("%s: is about to be shut down, in %s", m.Name, patience)
	g.run(func() { g.Leave(patience) })
	w.after(w.span(0, patience+10*time.Second), func() {
		if !off && m.boots == boot {
			w.Crash(m)
		}
	})
	return func() {
		off = true
		w.Boot(m)
		m.remain(boot)
	}
}

// remain has the guard of a boot take claims again, whichever runs: it is told until it does.
func (m *Machine) remain(boot int) {
	if m.boots != boot || !m.up {
		return
	}
	if g := m.guard; g != nil {
		g.run(g.Remain)
	}
	m.w.after(100*time.Millisecond, func() {
		if g := m.guard; g == nil || g.stops > 0 || guard.PartingOf(g.state).Leaving {
			m.remain(boot)
		}
	})
}
