package sim

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/claims/guard"
	"github.com/argosy-cluster/argosy/internal/guard/port"
	"github.com/argosy-cluster/argosy/internal/lease"
)

// guardProcess is a run of a machine's guard: what package internal/guard does around the step function.
type guardProcess struct {
	process
	m      *Machine
	id     string
	state  guard.State
	port   *port.Port
	fed    guard.Watchdog
	over   bool // the machine is being reset
	alarm  int  // counts how often the timer was set
	kept   *leasev1.LeaseServers
	asked  map[claims.ID]string // what was told last of claims that wait for a majority
	parted guard.Parting        // what was told last
	queue  map[claims.ID][]guard.Effect
	now    map[claims.ID]*deed // what is carried out now
}

// kernel is what a machine has as long as it is not booted anew, whoever runs.
type kernel struct {
	clock *clock
	// saved is the guard's state on tmpfs; nil when there is none.
	saved []byte
	slots map[string]*slot
	// bites is when the watchdog resets the machine, by the clock; 0 while it is closed.
	bites time.Duration
}

func (g *guardProcess) elapsed() time.Duration { return g.clock.elapsed() }

func (m *Machine) bootID() string { return fmt.Sprintf("%s-boot%d", m.Name, m.boots) }

var silent = slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError + 1}))

// startGuard starts the guard with what one of this boot saved.
func (m *Machine) startGuard() {
	w := m.w
	if !w.guarded || !m.up || m.guard != nil {
		return
	}
	g := &guardProcess{process: process{w: w, clock: m.kernel.clock}, m: m, id: w.id("g"), asked: map[claims.ID]string{}, queue: map[claims.ID][]guard.Effect{},
		now: map[claims.ID]*deed{}}
	g.state = guard.New(w.profile, claims.Config{})
	if m.kernel.saved != nil {
		state, err := guard.Decode(m.kernel.saved, m.bootID())
		if err != nil {
			w.violate("%s: what the guard saved cannot be read: %v", m.Name, err)
			return
		}
		g.state = state
	} else if len(m.kernel.slots) > 0 {
		w.violate("%s: a guard that saved nothing left slices", m.Name)
		return
	}
	g.port = port.New(port.Config{Guard: g, Machine: m, Servers: g.servers, Log: silent})
	m.guard = g
	w.trace("%s: guard %s starts with %d claims", m.Name, g.id, len(g.state.Claims))
	for _, c := range g.state.Claims {
		g.port.Tell(guard.Tell{Claim: c.ID, Token: c.Token, Phase: c.Phase, Why: c.Why})
	}
	g.parting(true)
	if m.kernel.saved != nil {
		g.event(guard.Restarted{})
	}
}

// guardKey is what witnesses know the guard by.
func (m *Machine) guardKey() []byte {
	key := make([]byte, 32)
	copy(key, m.ID)
	return key
}

// killGuard kills the guard at once. What it was about to do in the kernel may still happen, before another guard starts.
func (m *Machine) killGuard() {
	g := m.guard
	if g == nil {
		return
	}
	m.w.trace("%s: guard %s is killed", m.Name, g.id)
	g.dead = true
	m.guard = nil
	for _, id := range slices.Sorted(keysOf(g.now)) {
		if d := g.now[id]; m.w.chance(0.5) {
			d.happen()
		} else {
			d.done = true
		}
	}
	if a := m.agent; a != nil && a.link != nil {
		a.link = nil
		a.after(time.Millisecond, func() { a.storage.Lost("it does not answer") })
	}
}

// Want, Release and Stopped are what the agent asks for.
func (g *guardProcess) Want(id claims.ID, t claims.Token) error {
	g.event(guard.Want{Claim: id, Token: t, Fresh: claims.Session(fmt.Sprintf("%016x%016x", g.w.rng.Uint64(), g.w.rng.Uint64()))})
	return nil
}
func (g *guardProcess) Release(id claims.ID, t claims.Token) {
	g.event(guard.Release{Claim: id, Token: t})
}
func (g *guardProcess) Stopped(id claims.ID, t claims.Token) {
	g.event(guard.Stopped{Claim: id, Token: t})
}

func (g *guardProcess) Leave(patience time.Duration) { g.event(guard.Leave{Patience: patience}) }
func (g *guardProcess) Remain()                      { g.event(guard.Remain{}) }

// Leave is what a machine's guard is told before the machine is shut down.
func (m *Machine) Leave(patience time.Duration) { m.guard.Leave(patience) }

// servers takes in whom to ask for leases.
func (g *guardProcess) servers(s *leasev1.LeaseServers) error {
	c := lease.ConfigFrom(s.GetConfig())
	if err := c.Validate(); err != nil {
		return err
	}
	g.kept = s
	g.event(guard.Configure{Config: c})
	return nil
}

// event steps, and carries out what is asked for.
func (g *guardProcess) event(e guard.Event) {
	if g.dead || g.over {
		return
	}
	now := g.elapsed()
	next, effects := g.w.cfg.Rules.stepGuard(g.state, now, e)
	g.state = next
	for _, e := range effects {
		if g.carryOut(now, e); g.dead || g.over {
			return
		}
	}
	g.progress()
	g.parting(false)
	g.feed()
	g.setAlarm()
	g.m.tellAgent()
}

func (g *guardProcess) carryOut(now time.Duration, e guard.Effect) {
	switch e := e.(type) {
	case guard.Save:
		file, err := guard.Encode(g.state, g.m.bootID())
		if err != nil {
			g.w.violate("%s: the guard's state cannot be written: %v", g.m.Name, err)
			return
		}
		g.m.kernel.saved = file
	case guard.Watchdog:
		if g.fed = e; !e.On {
			g.m.kernel.bites = 0
		}
	case guard.Send:
		e.Renewal.Machine = claims.Machine(g.m.ID)
		g.send(e.Witness, e.Renewal)
	case guard.Tell:
		g.w.trace("%s: guard: %s %v is %v %s", g.m.Name, e.Claim, e.Token, e.Phase, e.Why)
		g.port.Tell(e)
	case guard.AskStop:
		g.port.Tell(guard.Tell{Claim: e.Claim, Token: e.Token, Phase: guard.Stopping, Why: "it is to stop"})
	case guard.Mount, guard.Arm, guard.Clear, guard.Seal:
		g.order(e)
	case guard.Reset:
		g.over = true
		g.w.after(g.w.span(0, g.w.profile.Slack), func() { g.m.reset(g.m.boots, e.Why) })
	}
}

// progress tells how many of the servers agreed to what is asked for, where that changed.
func (g *guardProcess) progress() {
	tells, told := guard.Progress(g.state, g.asked)
	for _, t := range tells {
		g.port.Tell(t)
	}
	g.asked = told
}

// parting tells how the guard is, where it is told for the first time, or that it gives everything back has changed.
func (g *guardProcess) parting(first bool) {
	p := guard.PartingOf(g.state)
	if !p.Leaving {
		p = guard.Parting{}
	}
	if first || p != g.parted {
		g.port.State(&leasev1.GuardState{Version: "1", Key: g.m.guardKey(), Profile: g.state.Profile.Name, Watchdog: "softdog",
			Leaving: p.Leaving, Exposed: uint32(p.Exposed), Untold: uint32(p.Untold)})
	}
	g.parted = p
}

// feed feeds the watchdog, as long as it may be.
func (g *guardProcess) feed() {
	if now := g.elapsed(); g.fed.On && now < g.fed.Until {
		g.m.kernel.bites = now + g.w.profile.Watchdog()
		g.m.watch()
	}
}

// setAlarm has the guard step when its state wants to, or the watchdog wants to be fed.
func (g *guardProcess) setAlarm() {
	now, wait := g.elapsed(), time.Hour
	if at, ok := guard.Wake(g.state); ok {
		wait = min(wait, at-now)
	}
	if g.fed.On && now < g.fed.Until {
		wait = min(wait, g.state.Profile.Watchdog()/4)
	}
	g.alarm++
	if wait == time.Hour {
		return
	}
	n := g.alarm
	g.after(max(wait, time.Millisecond), func() {
		if g.alarm == n {
			g.event(guard.Tick{})
		}
	})
}

// watch has the watchdog bite when its time has come.
func (m *Machine) watch() {
	k, boot, bites := m.kernel, m.boots, m.kernel.bites
	m.w.after(k.clock.lasts(bites-k.clock.elapsed()), func() {
		if m.kernel == k && k.bites == bites && bites > 0 {
			m.reset(boot, "the watchdog was not fed")
		}
	})
}

// reset is what a guard or a watchdog does to a machine: it ends at once, writes nothing out, and boots.
func (m *Machine) reset(boot int, why string) {
	if m.boots != boot || !m.up {
		return
	}
	m.w.tally.Resets++
	m.w.trace("%s: is reset: %s", m.Name, why)
	m.w.Crash(m)
	m.w.after(m.w.span(time.Second, 20*time.Second), func() { m.w.Boot(m) })
}

// timed has timers go by a clock whose rate has changed.
func (m *Machine) timed() {
	if m.kernel.bites > 0 {
		m.watch()
	}
	if g := m.guard; g != nil && !g.over {
		g.setAlarm()
	}
}

// reaches reports whether a guard's renewals arrive, and heard whether answers do.
func (m *Machine) reaches() bool {
	return m.up && m.speaks() && !m.suffers(CutGuard) && !m.suffers(MuteGuard)
}
func (m *Machine) heard() bool {
	return m.up && m.hears() && !m.suffers(CutGuard) && !m.suffers(DeafGuard)
}

// send has a renewal on its way to a witness, and the answer back.
func (g *guardProcess) send(to claims.Witness, r claims.Renewal) {
	w := g.w
	i := slices.IndexFunc(w.servers, func(s *server) bool { return s.name == string(to) })
	if i < 0 || !slices.ContainsFunc(g.kept.GetServers(), func(s *leasev1.LeaseServer) bool { return s.GetId() == string(to) }) {
		return
	}
	s := w.servers[i]
	w.carry(g.m.reaches, func() {
		p := s.beside.now
		if p == nil {
			return
		}
		p.run(func() {
			ack := s.renew(p, r)
			if ack == nil {
				return
			}
			a := *ack
			w.carry(g.m.heard, func() { g.run(func() { g.event(guard.Ack{Ack: a}) }) })
		})
	})
}

// carry has something arrive that one end of a connection sent: late or twice or never, and where the network lets nothing
// through, when it does, unless the connection was given up by then.
func (w *World) carry(through func() bool, arrive func()) {
	if w.suffers(Loss) && w.chance(0.1) {
		return
	}
	copies := 1
	if w.suffers(Duplicate) && w.chance(0.2) {
		copies = 2
	}
	for range copies {
		d := w.span(200*time.Microsecond, 3*time.Millisecond)
		switch {
		case w.suffers(Delay) && w.chance(0.1):
			d = w.span(0, 2*time.Second)
		case w.suffers(Reorder) && w.chance(0.1):
			d = w.span(0, 5*time.Second)
		}
		w.deliver(w.now.Add(w.profile.Lease), d, through, arrive)
	}
}

func (w *World) deliver(last time.Time, d time.Duration, through func() bool, arrive func()) {
	w.after(d, func() {
		switch {
		case through():
			arrive()
		case w.now.Before(last):
			w.deliver(last, w.span(100*time.Millisecond, 2*time.Second), through, arrive)
		}
	})
}
