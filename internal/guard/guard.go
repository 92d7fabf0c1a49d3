package guard

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/claims/guard"
	"github.com/argosy-cluster/argosy/internal/lease"
)

// Actuator acts on this machine. Calls about one claim come one after another, and each may come again. ctx ends when the guard
// does; what was begun then is asked for again by the next one.
type Actuator interface {
	// Mount makes the token's slice, frozen, and mounts the volume at the token's path. It returns nil only when the mount was
	// verified, on the descriptor that will be bound.
	Mount(ctx context.Context, id claims.ID, t claims.Token) error
	// Arm thaws the slice.
	Arm(ctx context.Context, id claims.ID, t claims.Token) error
	// Clear shuts the gate, kills what is in the slice and unmounts. It returns nil only when quiet was verified.
	Clear(ctx context.Context, id claims.ID, t claims.Token) error
	// Seal removes slice and path.
	Seal(ctx context.Context, id claims.ID, t claims.Token) error
}

// Watchdog resets the machine when it is not fed for its time-out.
type Watchdog interface {
	Feed(timeout time.Duration) error
	// Close has it reset nothing any more.
	Close() error
}

// Config says what a guard needs.
type Config struct {
	// Dir is on tmpfs: what is in it must not outlive the boot, and must outlive the process.
	Dir     string
	Profile claims.Profile
	// Boot is the kernel's id of this boot.
	Boot     string
	Identity *lease.Identity
	Actuator Actuator
	// Watchdog may be nil: then only this process resets the machine.
	Watchdog Watchdog
	// Tell tells the agent how a claim is. It must not wait.
	Tell func(guard.Tell)
	// Parts tells how far the guard is that gives everything back, whenever that changes, and that it no longer does. It must not
	// wait, and may be nil.
	Parts func(guard.Parting)
	// Reset resets the machine at once, without writing anything out. It does not return where it works.
	Reset func(why string)
	Log   *slog.Logger
}

// Guard is one that was opened.
type Guard struct {
	cfg    Config
	clock  *lease.Clock
	state  guard.State
	events chan guard.Event
	peers  *peers
	work   *workers
	fed    guard.Watchdog
	over   bool                 // the machine is being reset
	asked  map[claims.ID]string // what was told last of claims that wait for a majority
	parted guard.Parting        // what was told last
}

// events that wait to be stepped; the witnesses' answers are dropped beyond that, and come again.
const mostEvents = 1024

// Open goes on where a guard of this boot was, or begins anew. It fails when what that one left cannot be read: nobody knows then
// until when what is armed may go on, and whoever called has to reset the machine if anything is.
func Open(cfg Config) (*Guard, error) {
	if err := cfg.Profile.Validate(); err != nil {
		return nil, err
	}
	g := &Guard{cfg: cfg, events: make(chan guard.Event, mostEvents)}
	state, moment, found, err := load(cfg.Dir, cfg.Boot)
	switch {
	case err != nil:
		return nil, err
	case found:
		// The cluster's timing may have been changed since, but not under what is held.
		if state.Profile != cfg.Profile && guard.Idle(state) {
			state.Profile = cfg.Profile
		}
		g.cfg.Profile = state.Profile
		g.state = state
		g.clock, err = lease.ResumeGuardClock(moment)
	default:
		g.state = guard.New(cfg.Profile, claims.Config{})
		g.clock, err = lease.NewGuardClock()
	}
	if err != nil {
		return nil, err
	}
	if found {
		g.events <- guard.Restarted{}
	}
	g.peers = newPeers(g.cfg, func(a claims.Ack) { g.offer(guard.Ack{Ack: a}) })
	g.work = newWorkers(g.cfg, g.events)
	return g, nil
}

// Profile is the timing that the guard uses: the configured one, or that of what it still holds.
func (g *Guard) Profile() claims.Profile { return g.cfg.Profile }

// Left are the claims of an earlier guard that this one goes on with. It is to be asked before Run.
func (g *Guard) Left() []guard.Tell {
	var all []guard.Tell
	for _, c := range g.state.Claims {
		all = append(all, guard.Tell{Claim: c.ID, Token: c.Token, Phase: c.Phase, Why: c.Why})
	}
	return all
}

// Witnesses tells the set of servers, and where each witness is.
func (g *Guard) Witnesses(c claims.Config, list []Peer) {
	g.peers.set(list)
	g.events <- guard.Configure{Config: c}
}

// Want asks for a claim that the leader granted to this machine.
func (g *Guard) Want(id claims.ID, t claims.Token) error {
	fresh := make([]byte, 16)
	if _, err := rand.Read(fresh); err != nil {
		return fmt.Errorf("making a session: %w", err)
	}
	g.events <- guard.Want{Claim: id, Token: t, Fresh: claims.Session(hex.EncodeToString(fresh))}
	return nil
}

// Release gives a claim back.
func (g *Guard) Release(id claims.ID, t claims.Token) { g.events <- guard.Release{Claim: id, Token: t} }

// Leave gives everything back, since the machine is about to be shut down. What the agent has not stopped in time is killed.
func (g *Guard) Leave(patience time.Duration) { g.events <- guard.Leave{Patience: patience} }

// Remain takes that back.
func (g *Guard) Remain() { g.events <- guard.Remain{} }

// Stopped says that what could be asked to stop has stopped.
func (g *Guard) Stopped(id claims.ID, t claims.Token) { g.events <- guard.Stopped{Claim: id, Token: t} }

// offer hands an event over, unless too many wait already.
func (g *Guard) offer(e guard.Event) {
	select {
	case g.events <- e:
	default:
	}
}

// Run guards until ctx is done. What is armed then stays armed, and the watchdog is not closed: another guard has to go on soon.
func (g *Guard) Run(ctx context.Context) error {
	timer, err := newTimer()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		_ = timer.close()
		g.peers.close()
		g.work.wait()
	}()
	g.peers.run(ctx)
	g.work.run(ctx)
	rings := timer.rings(ctx)
	var e guard.Event = guard.Tick{}
	for {
		// The clock is read before anything is sent: this is the b_n that a lease counts from.
		now := g.clock.Now()
		next, effects := guard.Step(g.state, now, e)
		g.state = next
		if !g.over {
			g.carryOut(effects)
			g.progress()
		}
		g.parting()
		g.feed()
		if err := timer.set(g.wait()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-rings:
			if err != nil {
				return err
			}
			e = guard.Tick{}
		case e = <-g.events:
		}
	}
}

// wait is for how long nothing is to be done: until the state wants to be stepped, or the watchdog to be fed.
func (g *Guard) wait() time.Duration {
	wait := time.Hour
	now := g.clock.Now()
	if at, ok := guard.Wake(g.state); ok {
		wait = min(wait, at-now)
	}
	if g.fed.On && now < g.fed.Until {
		wait = min(wait, g.cfg.Profile.Watchdog()/4)
	}
	return max(wait, time.Millisecond)
}

func (g *Guard) carryOut(effects []guard.Effect) {
	for _, e := range effects {
		switch e := e.(type) {
		case guard.Save:
			if err := save(g.cfg.Dir, g.cfg.Boot, g.state, g.clock.Moment()); err != nil {
				g.reset(fmt.Sprintf("the guard cannot write down what it promised: %v", err))
				return
			}
		case guard.Watchdog:
			g.fed = e
			if !e.On && g.cfg.Watchdog != nil {
				if err := g.cfg.Watchdog.Close(); err != nil {
					g.cfg.Log.Error("the watchdog cannot be closed: it may reset the machine though nothing is armed", "err", err)
				}
			}
		case guard.Send:
			g.peers.send(e.Witness, e.Renewal)
		case guard.Tell:
			g.cfg.Tell(e)
		case guard.AskStop:
			g.cfg.Tell(guard.Tell{Claim: e.Claim, Token: e.Token, Phase: guard.Stopping, Why: "it is to stop"})
		case guard.Mount, guard.Arm, guard.Clear, guard.Seal:
			g.work.order(e)
		case guard.Reset:
			g.reset(e.Why)
			return
		}
	}
}

// progress tells how many of the servers agreed to what is asked for, where that changed.
func (g *Guard) progress() {
	tells, told := guard.Progress(g.state, g.asked)
	for _, t := range tells {
		g.cfg.Tell(t)
	}
	g.asked = told
}

// parting tells how far the guard is that gives everything back.
func (g *Guard) parting() {
	p := guard.PartingOf(g.state)
	if !p.Leaving {
		p = guard.Parting{}
	}
	if p != g.parted && g.cfg.Parts != nil {
		g.cfg.Parts(p)
	}
	g.parted = p
}

func (g *Guard) reset(why string) {
	g.over = true
	g.cfg.Log.Error("the machine is reset", "why", why)
	g.cfg.Reset(why)
}

// feed feeds the watchdog, as long as it may be.
func (g *Guard) feed() {
	if g.cfg.Watchdog == nil || g.over || !g.fed.On || g.clock.Now() >= g.fed.Until {
		return
	}
	if err := g.cfg.Watchdog.Feed(g.cfg.Profile.Watchdog()); err != nil && !errors.Is(err, context.Canceled) {
		g.cfg.Log.Error("the watchdog cannot be fed", "err", err)
	}
}
