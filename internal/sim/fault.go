package sim

import (
	"slices"
	"time"
)

// Fault is a thing that goes wrong for a while.
type Fault int

// The faults. Those of machines befall one of them, those of servers one server, the others everything.
const (
	// Crash: a machine loses power, and boots again when the fault ends.
	Crash Fault = iota
	// RestartAgent and PauseAgent: an agent is killed, or stopped, and goes on when the fault ends.
	RestartAgent
	PauseAgent
	// KillServer and PauseServer: the server that leads is killed, or stopped. Without two of three nothing is committed.
	KillServer
	PauseServer
	// CutServer: the server that leads does not reach the other servers, but machines and clients reach it.
	CutServer
	// Partition: a machine reaches nobody and nobody reaches it. Deaf: nothing reaches it; Mute: nothing that it sends arrives.
	Partition
	Deaf
	Mute
	// Loss: messages are lost, and their connection with them. Delay: they take up to two seconds. Duplicate: they, requests
	// and batches of the watch come twice. Reorder: what is on its way in a connection arrives after what a newer one brings.
	Loss
	Delay
	Duplicate
	Reorder
	// DiskFull: a machine's agent records nothing, and nothing is pulled or created there. DiskSlow: all that takes seconds.
	DiskFull
	DiskSlow
	// FsyncLost: a machine's disk says that it has written what it has not, and loses it in a power cut.
	FsyncLost
	// StoreFull: the store takes nothing. StoreSlow: it takes seconds. StoreUnsure: it refuses, or its answer is lost.
	StoreFull
	StoreSlow
	StoreUnsure
	// ClockRate: a machine's or server's clock runs fast or slow. ClockStep: a machine's wall clock is set wrong, and right.
	ClockRate
	ClockStep
	// Engine: containers exit, and engines refuse to start them.
	Engine
	// KillGuard and PauseGuard: a machine's guard is killed, or stopped. CutGuard: it reaches no witness, though its agent reaches the
	// leader; MuteGuard and DeafGuard: that is so one way.
	KillGuard
	PauseGuard
	CutGuard
	MuteGuard
	DeafGuard
	// KillWitness and PauseWitness: a server's witness is killed, or stopped. ForgetWitness: it is killed, and its disk loses the
	// table, or what was written last.
	KillWitness
	PauseWitness
	ForgetWitness
	// LeaseClock: the clock of a guard or witness changes its rate, within what is allowed.
	LeaseClock
	// Shutdown: a machine is about to be shut down and its guard is told so; its power ends a moment later, or nothing comes of it.
	Shutdown

	faults
)

var faultNames = [faults]string{"crash", "restart agent", "pause agent", "kill server", "pause server", "cut server", "partition", "deaf", "mute",
	"loss", "delay", "duplicate", "reorder", "disk full", "disk slow", "fsync lost", "store full", "store slow", "store unsure",
	"clock rate", "clock step", "engine", "kill guard", "pause guard", "cut guard", "mute guard", "deaf guard",
	"kill witness", "pause witness", "forget witness", "lease clock", "shutdown"}

func (f Fault) String() string { return faultNames[f] }

// Tally counts what happened to a world, or to many.
type Tally struct {
	Seeds, Events int
	Time          time.Duration
	Machines      time.Duration // virtual time of all machines
	Injected      [faults]int
	// Guarded are the worlds with shared volumes, Mounts how often one was mounted, and Resets how often a guard or a watchdog reset
	// its machine; Dropped counts records that witnesses dropped.
	Guarded, Mounts, Resets, Dropped int
	// Fenced counts how often storage refused a machine, and Sets how often another set of servers decided about leases.
	Fenced, Sets int
	// Pairs counts how often a fault began while another was in force, the later one in order first.
	Pairs [faults][faults]int
}

// Add takes another tally in.
func (t *Tally) Add(o *Tally) {
	t.Seeds += o.Seeds
	t.Events += o.Events
	t.Guarded += o.Guarded
	t.Mounts += o.Mounts
	t.Resets += o.Resets
	t.Dropped += o.Dropped
	t.Fenced += o.Fenced
	t.Sets += o.Sets
	t.Time += o.Time
	t.Machines += o.Machines
	for f := range faults {
		t.Injected[f] += o.Injected[f]
		for g := range f + 1 {
			t.Pairs[f][g] += o.Pairs[f][g]
		}
	}
}

// Faults is how many were injected.
func (t *Tally) Faults() (n int) {
	for _, k := range t.Injected {
		n += k
	}
	return n
}

// Rarest is the pair of faults that met least often.
func (t *Tally) Rarest() (a, b Fault, n int) {
	n = t.Pairs[0][0]
	for f := range faults {
		for g := range f + 1 {
			if t.Pairs[f][g] < n {
				a, b, n = g, f, t.Pairs[f][g]
			}
		}
	}
	return a, b, n
}

// trouble is a fault that is in force.
type trouble struct {
	kind Fault
	end  func()
}

// suffers reports whether a fault is in force on a machine.
func (m *Machine) suffers(f Fault) bool { return m.force[f] > 0 }

// suffers reports whether a fault is in force on everything.
func (w *World) suffers(f Fault) bool { return w.force[f] > 0 }

// Inject lets a fault be in force for a while, and reports whether it could be; m is the machine that one of machines befalls.
func (w *World) Inject(f Fault, m *Machine, d time.Duration) bool {
	end := w.begin(f, m)
	if end == nil {
		return false
	}
	w.tally.Injected[f]++
	seen := [faults]bool{}
	for _, t := range w.troubles {
		seen[t.kind] = true
	}
	for g := range faults {
		if seen[g] {
			w.tally.Pairs[max(f, g)][min(f, g)]++
		}
	}
	t := &trouble{f, end}
	w.troubles = append(w.troubles, t)
	w.after(d, func() { w.over(t) })
	return true
}

// over ends a fault, if it has not ended.
func (w *World) over(t *trouble) {
	i := slices.Index(w.troubles, t)
	if i < 0 {
		return
	}
	w.troubles = slices.Delete(w.troubles, i, i+1)
	w.trace("%s ends", t.kind)
	t.end()
}

// Heal ends all faults.
func (w *World) Heal() {
	for len(w.troubles) > 0 {
		w.over(w.troubles[0])
	}
}

// begin lets a fault begin and returns what ends it, nil when it cannot begin.
func (w *World) begin(f Fault, m *Machine) func() {
	switch f {
	case Crash, RestartAgent, PauseAgent:
		return w.beginProcess(f, m)
	case KillServer, PauseServer, CutServer:
		return w.beginServer(f)
	case Partition, Deaf, Mute:
		return w.beginNetwork(f, m)
	case DiskFull, DiskSlow, FsyncLost:
		return w.beginDisk(f, m)
	case ClockRate, ClockStep:
		return w.beginClock(f, m)
	case KillGuard, PauseGuard, CutGuard, MuteGuard, DeafGuard:
		return w.beginGuard(f, m)
	case KillWitness, PauseWitness, ForgetWitness:
		return w.beginWitness(f)
	case LeaseClock:
		return w.beginLeaseClock(m)
	case Shutdown:
		return w.beginShutdown(m)
	}
	w.trace("%s", f)
	w.force[f]++
	return func() { w.force[f]-- }
}

func (w *World) beginProcess(f Fault, m *Machine) func() {
	a := m.agent
	if !m.up || a == nil {
		return nil
	}
	switch f {
	case Crash:
		w.Crash(m)
		return func() { w.Boot(m) }
	case RestartAgent:
		m.killAgent()
		return m.startAgent
	}
	w.trace("%s: agent %s is stopped", m.Name, a.id)
	a.stop()
	return func() {
		w.trace("%s: agent %s goes on", m.Name, a.id)
		a.cont()
	}
}

func (w *World) beginServer(f Fault) func() {
	l := w.leader
	if l == nil || !l.server.joined() {
		return nil
	}
	s := l.server
	w.trace("%s: %s", f, s.name)
	switch f {
	case KillServer:
		w.KillLeader()
		s.down = true
		w.election()
		return func() {
			s.down = false
			s.heard = w.now
			w.election()
		}
	case PauseServer:
		s.paused = true
		l.stop()
		w.election()
		return func() {
			s.paused = false
			s.heard = w.now
			l.cont()
			w.election()
		}
	}
	s.cut = true
	// Its own member of the store notices that it leads no majority.
	l.after(w.span(time.Second, 3*time.Second), func() {
		if s.cut {
			l.restart("it does not reach a majority")
		}
	})
	w.election()
	return func() {
		s.cut = false
		w.election()
	}
}

func (w *World) beginNetwork(f Fault, m *Machine) func() {
	w.trace("%s: network: %s", m.Name, f)
	m.force[f]++
	m.network()
	return func() {
		m.force[f]--
		m.network()
	}
}

func (w *World) beginDisk(f Fault, m *Machine) func() {
	w.trace("%s: %s", m.Name, f)
	m.force[f]++
	if f != FsyncLost {
		return func() { m.force[f]-- }
	}
	if m.synced == nil {
		m.lying()
	}
	return func() {
		if m.up && w.chance(0.7) {
			w.Crash(m)
			w.after(w.span(time.Second, 20*time.Second), func() { w.Boot(m) })
		}
		m.force[f]--
	}
}

// beginClock has a clock run fast or slow, of a machine or of whoever leads; or has somebody set a machine's wrong.
func (w *World) beginClock(f Fault, m *Machine) func() {
	if f == ClockStep {
		d := w.span(-2*time.Minute, 2*time.Minute)
		if w.chance(0.3) {
			d *= 1000
		}
		w.trace("%s: clock is set wrong by %s", m.Name, d)
		m.clock.wrong += d
		return func() { m.clock.wrong -= d }
	}
	c, who := m.clock, m.Name
	if w.leader != nil && w.chance(0.3) {
		c, who = w.leader.clock, w.leader.server.name
	}
	if c.rate != 1 {
		return nil
	}
	c.run(1 - rho + 2*rho*w.rng.Float64())
	w.trace("%s: clock runs at %.4f", who, c.rate)
	return func() { c.run(1) }
}
