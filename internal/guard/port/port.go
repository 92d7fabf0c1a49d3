package port

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	"github.com/argosy-cluster/argosy/internal/agent/volume"
	"github.com/argosy-cluster/argosy/internal/claims"
	step "github.com/argosy-cluster/argosy/internal/claims/guard"
	"github.com/argosy-cluster/argosy/internal/guard/machine"
	"github.com/argosy-cluster/argosy/internal/lease"
)

// Guard is what an agent's orders go to; guard.Guard is one.
type Guard interface {
	Want(claims.ID, claims.Token) error
	Release(claims.ID, claims.Token)
	Stopped(claims.ID, claims.Token)
	Leave(patience time.Duration)
	Remain()
}

// Machine says where volumes are; machine.Machine is one.
type Machine interface {
	Place(claims.ID, claims.Token, volume.Volume) error
	Show(claims.ID, claims.Token) machine.Shown
	Forget(claims.ID, claims.Token) error
}

// Config of a Port. All of it is needed.
type Config struct {
	Guard   Guard
	Machine Machine
	// Servers takes in whom to ask for leases.
	Servers func(*leasev1.LeaseServers) error
	Log     *slog.Logger
}

// Port is the socket. Its methods may be called at any time.
type Port struct {
	cfg Config

	mu    sync.Mutex
	state *leasev1.GuardState
	known map[named]standing
	conns map[*Listener]bool
}

type named struct {
	id    claims.ID
	token claims.Token
}

func (n named) compare(o named) int { return cmp.Or(cmp.Compare(n.id, o.id), n.token.Compare(o.token)) }

// standing is what was told of a claim last.
type standing struct {
	phase   step.Phase
	refused bool
	why     string
}

// Listener is an agent that listens.
type Listener struct {
	wake  chan struct{}
	state bool
	dirty map[named]bool
}

// mostConns bounds how many agents listen. One does.
const mostConns = 8

// New makes a Port.
func New(cfg Config) *Port {
	return &Port{cfg: cfg, state: &leasev1.GuardState{}, known: map[named]standing{}, conns: map[*Listener]bool{}}
}

// State tells how the guard is.
func (p *Port) State(s *leasev1.GuardState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = s
	for c := range p.conns {
		c.state = true
		c.kick()
	}
}

// Tell tells how a claim is. Phases only grow: what is told late changes nothing.
func (p *Port) Tell(t step.Tell) {
	n := named{t.Claim, t.Token}
	p.mu.Lock()
	old, there := p.known[n]
	if there && (old.refused || t.Phase < old.phase && !t.Refused) {
		p.mu.Unlock()
		return
	}
	if t.Why == "" && old.phase >= step.Stopping {
		t.Why = old.why // for which it ends
	}
	p.known[n] = standing{t.Phase, t.Refused, t.Why}
	over := t.Refused || t.Phase == step.Sealed
	for other, s := range p.known { // of each claim the last that is over is enough
		if other.id == n.id && other.token.Less(n.token) && (s.refused || s.phase == step.Sealed) {
			delete(p.known, other)
		}
	}
	for c := range p.conns {
		c.dirty[n] = true
		c.kick()
	}
	p.mu.Unlock()
	if over {
		if err := p.cfg.Machine.Forget(t.Claim, t.Token); err != nil {
			p.cfg.Log.Warn("a record of a claim that is over stays", "claim", t.Claim, "err", err)
		}
	}
}

func (c *Listener) kick() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Serve answers agents until ctx is done.
func (p *Port) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var all sync.WaitGroup
	defer all.Wait()
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the socket for the agent: %w", err)
		}
		all.Go(func() { p.answer(ctx, c) })
	}
}

func (p *Port) answer(ctx context.Context, nc net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	defer stop()
	defer cancel()
	if err := lease.SameUser(nc); err != nil {
		p.cfg.Log.Warn("somebody else's process is not answered", "err", err)
		return
	}
	c := p.Enter()
	if c == nil {
		p.cfg.Log.Warn("too many processes listen", "most", mostConns)
		return
	}
	defer p.Leave(c)
	var hears sync.WaitGroup
	defer hears.Wait()
	hears.Go(func() {
		defer cancel()
		p.hear(nc)
	})
	defer cancel()
	for {
		for _, r := range p.News(c) {
			if lease.Write(nc, r) != nil {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		}
	}
}

// Enter begins to tell an agent, first of all that is known; nil when too many listen.
func (p *Port) Enter() *Listener {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.conns) >= mostConns {
		return nil
	}
	c := &Listener{wake: make(chan struct{}, 1), state: true, dirty: map[named]bool{}}
	for n := range p.known {
		c.dirty[n] = true
	}
	p.conns[c] = true
	return c
}

// Leave ends that.
func (p *Port) Leave(c *Listener) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// News is what an agent has not heard yet, in the order of claims.
func (p *Port) News(c *Listener) []*leasev1.GuardReport {
	p.mu.Lock()
	var out []*leasev1.GuardReport
	var state *leasev1.GuardState
	if c.state {
		c.state, state = false, proto.CloneOf(p.state)
	}
	dirty := map[named]standing{}
	for n := range c.dirty {
		if s, there := p.known[n]; there {
			dirty[n] = s
		}
	}
	clear(c.dirty)
	p.mu.Unlock()
	for _, n := range slices.SortedFunc(maps.Keys(dirty), named.compare) {
		out = append(out, &leasev1.GuardReport{Report: &leasev1.GuardReport_Claim{Claim: p.claim(n, dirty[n])}})
	}
	if state != nil { // after the claims: then an agent that has just come knows that these were all
		out = append(out, &leasev1.GuardReport{Report: &leasev1.GuardReport_Guard{Guard: state}})
	}
	return out
}

// claim is what is said of one.
func (p *Port) claim(n named, s standing) *leasev1.ClaimState {
	m := &leasev1.ClaimState{Claim: string(n.id), Token: lease.StampTo(n.token), Why: s.why, Phase: leasev1.Phase(s.phase) + leasev1.Phase_PHASE_ASKING}
	switch {
	case s.refused:
		m.Phase = leasev1.Phase_PHASE_REFUSED
	case s.phase == step.Armed:
		shown := p.cfg.Machine.Show(n.id, n.token)
		if !shown.Armed { // it is about to be
			m.Phase = leasev1.Phase_PHASE_MOUNTING
			return m
		}
		m.Path, m.Slice, m.Group, m.Uuid = shown.Path, shown.Slice, shown.Group, shown.UUID
		m.Size, m.Free = shown.Size, shown.Free
	}
	return m
}

// hear takes in an agent's orders until it goes away.
func (p *Port) hear(nc net.Conn) {
	for {
		order := &leasev1.GuardOrder{}
		if lease.Read(nc, order) != nil {
			return
		}
		p.Order(order)
	}
}

// Order takes in one of an agent's orders.
func (p *Port) Order(order *leasev1.GuardOrder) {
	switch o := order.GetOrder().(type) {
	case *leasev1.GuardOrder_Want:
		p.want(o.Want)
	case *leasev1.GuardOrder_Release:
		p.cfg.Guard.Release(claims.ID(o.Release.GetClaim()), lease.StampFrom(o.Release.GetToken()))
	case *leasev1.GuardOrder_Stopped:
		p.cfg.Guard.Stopped(claims.ID(o.Stopped.GetClaim()), lease.StampFrom(o.Stopped.GetToken()))
	case *leasev1.GuardOrder_Servers:
		if err := p.cfg.Servers(o.Servers); err != nil {
			p.cfg.Log.Error("the list of servers is not taken", "err", err)
		}
	case *leasev1.GuardOrder_Leave:
		p.cfg.Log.Info("the machine is about to be shut down: everything is given back")
		p.cfg.Guard.Leave(time.Duration(o.Leave.GetPatience()))
	case *leasev1.GuardOrder_Remain:
		p.cfg.Guard.Remain()
	default:
		p.cfg.Log.Warn("the agent asks for what this guard does not know: it is of a later release; install the guard of that")
	}
}

// want passes a want on, once it is known where the volume is. One of a token that is over, or that was refused, came late: nothing is kept of
// where its volume is, and it stays as it is.
func (p *Port) want(w *leasev1.Want) {
	id, token := claims.ID(w.GetClaim()), lease.StampFrom(w.GetToken())
	v := volume.Volume{Name: w.GetClaim(), UUID: w.GetUuid()}
	var err error
	switch at := w.GetWhere().(type) {
	case *leasev1.Want_Device:
		v.Device = &volume.Device{Source: at.Device.GetSource(), Create: at.Device.GetCreate(), Options: at.Device.GetOptions()}
	case *leasev1.Want_Mounted:
		v.Mount = &volume.Mount{Type: at.Mounted.GetType(), Source: at.Mounted.GetSource(), Options: at.Mounted.GetOptions()}
	default:
		err = fmt.Errorf("nobody said where volume %s is, in words that this guard knows; install the guard of the agent's release", w.GetClaim())
	}
	if err == nil {
		err = volume.CheckName(v.Name)
	}
	if err == nil {
		err = claims.CheckToken(token)
	}
	p.mu.Lock()
	was, known := p.known[named{id, token}]
	p.mu.Unlock()
	if known && (was.refused || was.phase == step.Sealed) {
		return
	}
	if err == nil && !known {
		err = p.cfg.Machine.Place(id, token, v)
	}
	if err == nil {
		err = p.cfg.Guard.Want(id, token)
	}
	if err != nil {
		p.cfg.Log.Error("a claim is refused", "claim", id, "token", token, "err", err)
		if !known {
			p.Tell(step.Tell{Claim: id, Token: token, Refused: true, Why: err.Error()})
		}
	}
}
