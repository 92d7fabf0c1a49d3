package sim

import (
	"context"
	"fmt"
	"time"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/claims/witness"
	"github.com/argosy-cluster/argosy/internal/lease"
	"github.com/argosy-cluster/argosy/internal/leases"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
)

// witnessProcess is a run of the witness beside a server: what package internal/witness does around the lease table.
type witnessProcess struct {
	process
	state witness.State
}

// stand is where a witness runs: what outlives its process.
type stand struct {
	clock *clock
	// slots are its two files, of which one is whole whenever it dies.
	slots [2][]byte
	// guards are the machines whose guards it answers.
	guards map[string]bool
	// gone is since when claims of the table have had no volume in the store, as the server beside it knows.
	gone map[claims.ID]time.Time
	now  *witnessProcess // nil while none runs
}

func (s *server) startWitness() {
	w := s.w
	if s.beside.now != nil {
		return
	}
	p := &witnessProcess{process: process{w: w, clock: s.beside.clock}}
	table, whole, why := witness.Choose(s.beside.slots[0], s.beside.slots[1])
	state, effects := w.cfg.Rules.openWitness(p.clock.elapsed(), claims.Witness(s.name), w.profile, table, whole)
	p.state = state
	s.beside.now = p
	w.trace("%s: its witness starts, %d claims %s", s.name, len(state.Records), why)
	s.keep(effects)
	s.wakeWitness(p)
}

func (s *server) killWitness() {
	if p := s.beside.now; p != nil {
		s.w.trace("%s: its witness is killed", s.name)
		p.dead = true
		s.beside.now = nil
	}
}

// forget is what a disk does that loses the table, or the newest part of it.
func (s *server) forget() {
	newest := 0
	a, errA := witness.Decode(s.beside.slots[0])
	b, errB := witness.Decode(s.beside.slots[1])
	if errA != nil || errB == nil && a.Serial < b.Serial {
		newest = 1
	}
	switch s.w.rng.IntN(3) {
	case 0:
		s.beside.slots = [2][]byte{}
		s.beside.guards = map[string]bool{}
		s.w.trace("%s: its witness's disk is lost", s.name)
	case 1:
		s.beside.slots[newest] = nil
		s.w.trace("%s: its witness lost the file that it wrote last", s.name)
	default:
		if n := len(s.beside.slots[newest]); n > 0 {
			torn := append([]byte{}, s.beside.slots[newest]...)
			torn[s.w.rng.IntN(n)] ^= 1
			s.beside.slots[newest] = torn
		}
		s.w.trace("%s: the file that its witness wrote last is damaged", s.name)
	}
}

// keep carries out what a step asked for, and returns the answer, if there is one.
func (s *server) keep(effects []witness.Effect) (ack *claims.Ack) {
	for _, e := range effects {
		switch e := e.(type) {
		case witness.Save:
			file, err := witness.Encode(e.Table)
			if err != nil {
				s.w.violate("the lease table of %s cannot be written: %v", s.name, err)
				return nil
			}
			s.beside.slots[e.Table.Serial%2] = file
		case witness.Reply:
			ack = &e.Ack
		}
	}
	return ack
}

func (s *server) stepWitness(p *witnessProcess, e witness.Event) *claims.Ack {
	next, effects := witness.Step(p.state, p.clock.elapsed(), e)
	p.state = next
	return s.keep(effects)
}

// renew answers a renewal; a guard that is not known is not spoken to.
func (s *server) renew(p *witnessProcess, r claims.Renewal) *claims.Ack {
	if !s.beside.guards[string(r.Machine)] {
		return nil
	}
	if ack, ok := witness.Hear(&p.state, p.clock.elapsed(), r); ok {
		return &ack
	}
	return s.stepWitness(p, witness.Renewal{Renewal: r})
}

// wakeWitness steps when the table wants it to, though nothing came.
func (s *server) wakeWitness(p *witnessProcess) {
	p.after(time.Second, func() {
		if at, due := witness.Wake(p.state); due && p.clock.elapsed() >= at {
			s.stepWitness(p, witness.Tick{})
		}
		s.wakeWitness(p)
	})
}

// attend is what package leases does: a server that runs tells its witness what a majority of the store has confirmed, and a
// leader what it sees.
func (s *server) attend() {
	w := s.w
	w.after(w.span(900*time.Millisecond, 1100*time.Millisecond), func() {
		w.members()
		if !s.down && !s.paused {
			s.ask()
		}
		s.attend()
	})
}

func (s *server) ask() {
	status := leases.Status{Why: "it does not answer"}
	if p := s.beside.now; p != nil && p.stops == 0 {
		if s.majority() {
			s.tell(p)
		}
		status = leases.Status{Report: s.report(p)}
	}
	for _, l := range s.w.reigns {
		if l.server == s && l.serving() {
			l.run(func() {
				sights := leases.SightsOf(s.name, status)
				sights.Voting = leases.Voting(l.view().Leases(), s.w.statuses())
				l.witnessed(sights)
			})
		}
	}
}

// tell has the witness know the set of servers and the guards' keys.
func (s *server) tell(p *witnessProcess) {
	ctx := context.Background()
	if snap, err := s.w.store.Get(ctx, store.LeasesKey); err == nil {
		for _, kv := range snap.KVs {
			r := &storev1.Leases{}
			if err := store.Decode(kv, r); err != nil {
				s.w.violate("the set of servers: %v", err)
				return
			}
			if c := leases.ConfigOf(r); p.state.Config.Epoch.Less(c.Epoch) {
				s.stepWitness(p, witness.Configure{Config: c})
			}
		}
	}
	snap, err := s.w.store.List(ctx, store.Machines)
	if err != nil {
		return
	}
	guards := map[string]bool{}
	for _, kv := range snap.KVs {
		m := &argosyv1.Machine{}
		if err := store.Decode(kv, m); err == nil && len(m.GetGuardKey()) > 0 {
			guards[m.GetId()] = true
		}
	}
	s.beside.guards = guards
	s.drop(p)
}

// dropAfter is sooner than package leases has it, so that lives are long enough: it is above the waiting time.
const dropAfter = 20 * time.Second

// drop has the witness drop claims that the store has had no volume of for some time.
func (s *server) drop(p *witnessProcess) {
	snap, err := s.w.store.List(context.Background(), store.Volumes)
	if err != nil {
		return
	}
	has := map[claims.ID]bool{}
	for _, kv := range snap.KVs {
		v := &argosyv1.Volume{}
		if err := store.Decode(kv, v); err == nil && state.Shared(v) {
			r := v.GetReplica()
			has[claims.IDOf(r.GetTenant(), r.GetApp(), r.GetStack(), r.GetNumber(), v.GetName())] = true
		}
	}
	var list []claims.ID
	list, s.beside.gone = leases.Drop(s.w.now, dropAfter, func(id claims.ID) bool { return has[id] }, s.report(p).GetSights(), s.beside.gone)
	if len(list) == 0 {
		return
	}
	before := len(p.state.Records)
	s.stepWitness(p, witness.Drop{Claims: list})
	s.w.tally.Dropped += before - len(p.state.Records)
	s.w.trace("%s: its witness drops %d of %v", s.name, before-len(p.state.Records), list)
}

// Tables is what the witnesses have on record, for people.
func (w *World) Tables() string {
	text := ""
	for _, s := range w.servers {
		text += s.name + ":"
		if p := s.beside.now; p != nil {
			for _, r := range p.state.Records {
				text += fmt.Sprintf(" %s %v by %s, %v;", r.Claim, r.Token, r.Machine, r.State)
			}
			text += fmt.Sprintf(" floor %v", p.state.Floor)
		}
		text += "\n"
	}
	return text
}

// report is what a witness says to the server beside it.
func (s *server) report(p *witnessProcess) *leasev1.Report {
	now := p.clock.elapsed()
	st := p.state.Status(now)
	r := &leasev1.Report{Witness: s.name, Config: lease.ConfigTo(p.state.Config), Settled: st.Settled, Silent: st.Silent, Left: int64(st.Left)}
	for _, sight := range p.state.Sights(now) {
		r.Sights = append(r.Sights, lease.SightTo(sight.Claim, sight.Machine, sight.Session, sight.Token,
			leasev1.Holding(sight.State)+leasev1.Holding_HOLDING_HELD, sight.Age))
	}
	return r
}

// witnessed takes in what the witness beside a leader sees, and makes the next step of the set of servers, as package server does.
func (l *leaderProcess) witnessed(sights claims.Sights) {
	if !l.awake() {
		return
	}
	l.core.Witnessed(l.clock.now(), sights)
	l.flush()
	l.check()
	if l.core.Due(l.clock.now()) {
		l.soon()
	}
	if l.w.leader == l {
		l.w.changeLeases(l)
	}
	l.fence()
}
