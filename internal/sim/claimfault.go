package sim

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
