package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/fence"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/lease"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
)

const (
	// fencesEvery is how often it is looked whether a storage has to be told something, besides after each change.
	fencesEvery = 500 * time.Millisecond
	// leastFencePause and mostFencePause are between two tries that failed.
	leastFencePause, mostFencePause = 500 * time.Millisecond, 15 * time.Second
	// mostFences bounds how many programs run at once.
	mostFences = 32
)

// fenceKey is what is done one after the other: what concerns one machine and one volume.
type fenceKey struct {
	volume  state.VolumeKey
	machine string
}

// fenceTry is how it goes with one thing that a storage or the witnesses are to be told.
type fenceTry struct {
	work  leader.FenceWork
	busy  bool
	pause time.Duration
	next  time.Time
	// told are the servers whose witness was told what the storage confirmed.
	told map[string]bool
}

// same says whether it is about the same as before.
func (f *fenceTry) same(w leader.FenceWork) bool {
	was := f.work
	return was.Do == w.Do && was.Fence.GetAt().AsTime().Equal(w.Fence.GetAt().AsTime()) && was.Fence.GetConfirmedAt().AsTime().Equal(w.Fence.GetConfirmedAt().AsTime()) &&
		was.Fence.GetTakenBackAt().AsTime().Equal(w.Fence.GetTakenBackAt().AsTime())
}

// fencing is what this server does about fences in one term.
type fencing struct {
	s      *Server
	ctx    context.Context
	cancel context.CancelFunc
	term   int64
	tries  map[fenceKey]*fenceTry
	ended  chan fenceEnd
	// asking is set while other servers are asked whether something is under way there; asked is when they were last.
	asking atomic.Bool
	asked  time.Time
	all    sync.WaitGroup
}

// fenceEnd is how a try went.
type fenceEnd struct {
	key  fenceKey
	err  error
	told []string
}

// keepFences has storages refuse machines and take them back, and witnesses know what they confirmed, while this server leads. What there is to do,
// the leader decides; what came of it is in the store before anything follows from it.
func (s *Server) keepFences(ctx context.Context) error {
	sub := s.leader.Subscribe()
	defer sub.Close()
	tick := time.NewTicker(fencesEvery)
	defer tick.Stop()
	f := &fencing{cancel: func() {}}
	defer func() {
		f.cancel()
		f.all.Wait()
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-sub.C:
			sub.Take()
		case <-tick.C:
		case end := <-f.ended:
			f.end(end)
		}
		term, done, leading := s.leader.Reign()
		if !leading {
			continue
		}
		if term != f.term {
			f.cancel()
			f.all.Wait() // what it ran is killed; one program about a machine runs at a time
			f = s.newFencing(ctx, term, done)
		}
		f.look()
	}
}

// newFencing begins a term. What it has run is killed when that is over.
func (s *Server) newFencing(ctx context.Context, term int64, done <-chan struct{}) *fencing {
	f := &fencing{s: s, term: term, tries: map[fenceKey]*fenceTry{}, ended: make(chan fenceEnd, mostFences)}
	f.ctx, f.cancel = context.WithCancel(ctx)
	go func() {
		select {
		case <-done:
			f.cancel()
		case <-f.ctx.Done():
		}
	}()
	return f
}

// look begins what is due.
func (f *fencing) look() {
	var list []leader.FenceWork
	_ = f.s.leader.Read(func(_ time.Time, v *leader.View) { list = v.Fencing() })
	due := map[fenceKey]bool{}
	busy := 0
	for _, t := range f.tries {
		if t.busy {
			busy++
		}
	}
	f.ask(list)
	for _, w := range list {
		if w.Do == leader.FenceNothing {
			continue
		}
		k := fenceKey{w.Key, w.Fence.GetMachine()}
		due[k] = true
		t := f.tries[k]
		switch {
		case t == nil:
			t = &fenceTry{work: w, told: map[string]bool{}}
			f.tries[k] = t
		case t.busy:
			continue // one after the other: what is told last holds
		case !t.same(w):
			*t = fenceTry{work: w, told: map[string]bool{}}
		}
		if time.Now().Before(t.next) || busy >= mostFences {
			continue
		}
		t.busy, t.work = true, w
		busy++
		told := maps.Clone(t.told)
		f.all.Go(func() { f.try(k, w, told) })
	}
	for k, t := range f.tries {
		if !due[k] && !t.busy {
			delete(f.tries, k)
		}
	}
}

// end takes in how a try went.
func (f *fencing) end(e fenceEnd) {
	t := f.tries[e.key]
	t.busy = false
	for _, id := range e.told {
		t.told[id] = true
	}
	t.pause, t.next = 0, time.Time{}
	if e.err != nil {
		t.pause = min(max(2*t.pause, leastFencePause), mostFencePause)
		t.next = time.Now().Add(t.pause)
	} else if t.work.Do == leader.FenceTell {
		t.next = time.Now().Add(time.Hour) // all know it
	}
}

func (f *fencing) try(k fenceKey, w leader.FenceWork, told map[string]bool) {
	e := fenceEnd{key: k}
	if w.Do == leader.FenceTell {
		e.told, e.err = f.tell(w, told)
	} else {
		e.err = f.run(w)
	}
	select {
	case f.ended <- e:
	case <-f.ctx.Done():
	}
}

// run has a storage do what it is told, and writes down that it has. That it may, is in the store before.
func (f *fencing) run(w leader.FenceWork) error {
	f.s.fenceRuns.Add(1) // from before it is sure that this server leads: whoever does asks for it
	defer f.s.fenceRuns.Add(-1)
	still := false
	err := f.propose(w, func(_ time.Time, vol *argosyv1.Volume) (next *argosyv1.Volume, _ *argosyv1.Transition) {
		next, still = leader.FenceBegun(vol, w, f.s.id)
		return next, nil
	})
	if err != nil || !still {
		return err
	}
	if err := f.s.leader.Confirm(f.ctx); err != nil {
		return err // nobody is told anything by a server that leads no more
	}
	r := fence.Request{Program: w.Fence.GetProgram(), Machine: w.Fence.GetMachine(), Name: w.Name, Address: w.Address,
		Volume: string(w.Claim), Source: w.Fence.GetSource(), Session: w.Fence.GetSession()}
	do, verb := f.s.fences.Fence, "refuse"
	if w.Do == leader.FenceBack {
		do, verb = f.s.fences.Allow, "take back"
	}
	log := f.s.log.With("volume", w.Claim, "machine", w.Name, "program", r.Program)
	log.Info("a storage is told to " + verb + " a machine")
	at := time.Now()
	err = do(f.ctx, r)
	if f.ctx.Err() != nil {
		return f.ctx.Err() // whoever leads now does it again
	}
	if err != nil {
		log.Warn("a storage did not "+verb+" a machine", "error", err)
		f.failed(w, err)
		return err
	}
	log.Info("a storage has confirmed it", "took", time.Since(at).Round(time.Millisecond))
	f.s.leader.FenceSaid(w.Key, w.Fence.GetMachine(), "")
	return f.propose(w, func(now time.Time, vol *argosyv1.Volume) (*argosyv1.Volume, *argosyv1.Transition) {
		return leader.FenceDone(now, vol, w, f.s.id)
	})
}

// failed has people know why a storage has not done what it was told. The same reason is told once.
func (f *fencing) failed(w leader.FenceWork, why error) {
	if !f.s.leader.FenceSaid(w.Key, w.Fence.GetMachine(), why.Error()) {
		return
	}
	err := f.propose(w, func(_ time.Time, vol *argosyv1.Volume) (*argosyv1.Volume, *argosyv1.Transition) {
		return nil, leader.FenceFailed(vol, w, why.Error())
	})
	if err != nil {
		f.s.log.Debug("history does not say why a storage failed", "error", err)
	}
}

func (f *fencing) propose(w leader.FenceWork, change func(time.Time, *argosyv1.Volume) (*argosyv1.Volume, *argosyv1.Transition)) error {
	return f.s.leader.Propose(f.ctx, func(now time.Time, v *leader.View) (p leader.Proposal, err error) {
		vol := v.Volume(w.Key)
		if vol == nil {
			return p, nil
		}
		next, note := change(now, vol)
		if next != nil {
			p.Ops, err = puts(record{store.VolumeKey(vol.GetReplica(), vol.GetName()), next})
		}
		if note != nil {
			p.Transitions = []*argosyv1.Transition{note}
		}
		return p, err
	})
}

// fencesAsk is how often other servers are asked whether something is under way there, where that matters.
const fencesAsk = 2 * time.Second

// ask has other servers say whether a program of theirs may still tell a storage something. One that says no has none, and begins none: it does not lead.
func (f *fencing) ask(list []leader.FenceWork) {
	others := map[string][]leader.FenceWork{}
	for _, w := range list {
		for _, id := range w.Others {
			others[id] = append(others[id], w)
		}
	}
	if len(others) == 0 || time.Since(f.asked) < fencesAsk || !f.asking.CompareAndSwap(false, true) {
		return
	}
	f.asked = time.Now()
	f.all.Go(func() {
		defer f.asking.Store(false)
		for _, srv := range f.s.servers() {
			works := others[srv.GetId()]
			if len(works) == 0 {
				continue
			}
			if p := f.s.probe(f.ctx, srv); p.health == nil || p.health.GetFencing() > 0 {
				continue
			}
			for _, w := range works {
				err := f.propose(w, func(_ time.Time, vol *argosyv1.Volume) (*argosyv1.Volume, *argosyv1.Transition) {
					return leader.FenceSettled(vol, w, srv.GetId()), nil
				})
				if err != nil {
					f.s.log.Debug("it is not written down that another server has told a storage all that it had to", "server", srv.GetName(), "error", err)
				}
			}
		}
	})
}

// tell has the witnesses of all servers know that a storage refuses a machine, but for those that were told.
func (f *fencing) tell(w leader.FenceWork, before map[string]bool) (told []string, err error) {
	type answer struct {
		server string
		err    error
	}
	servers := f.s.servers()
	answers := make(chan answer, len(servers))
	asked := 0
	for _, srv := range servers {
		if before[srv.GetId()] || len(srv.GetWitnessKey()) == 0 {
			continue
		}
		asked++
		go func() { answers <- answer{srv.GetId(), f.tellOne(srv, w)} }()
	}
	for range asked {
		a := <-answers
		if a.err == nil {
			told = append(told, a.server)
			continue
		}
		err = errors.Join(err, a.err)
		f.s.log.Debug("a witness does not know yet that a storage refuses a machine", "server", a.server, "volume", w.Claim, "error", a.err)
	}
	return told, err
}

func (f *fencing) tellOne(srv *storev1.Server, w leader.FenceWork) error {
	ctx, cancel := context.WithTimeout(f.ctx, 2*time.Second)
	defer cancel()
	token := w.Fence.GetToken()
	if srv.GetId() == f.s.id {
		return f.s.fenceClaim(ctx, w.Claim, claims.Machine(w.Fence.GetMachine()), claims.Token{Generation: token.GetGeneration(), Revision: token.GetRevision()})
	}
	if len(srv.GetAddresses()) == 0 {
		return fmt.Errorf("server %s has no address", srv.GetName())
	}
	res, err := f.s.askServer(srv.GetAddresses()[0]).FenceSession(ctx, connect.NewRequest(&argosyv1.FenceSessionRequest{Claim: string(w.Claim), Session: w.Fence.GetSession(),
		Confirmed: true, Machine: w.Fence.GetMachine(), Token: token}))
	if err == nil && res.Msg.GetRefused() != "" {
		err = errors.New(res.Msg.GetRefused()) // a server of an earlier release, which goes by what its witness heard
	}
	return err
}

// fenceClaim has the witness beside this server let go of a claim whose storage refuses the machine. That is a fact and no view, so it does not
// matter when the witness heard of it last; and it concerns nothing that the machine is granted later.
func (s *Server) fenceClaim(ctx context.Context, claim claims.ID, machine claims.Machine, token claims.Token) error {
	_, err := s.witness.Order(ctx, &leasev1.Order{Order: &leasev1.Order_FenceClaim{FenceClaim: &leasev1.FenceClaim{Claim: string(claim), Machine: string(machine),
		Token: lease.StampTo(token)}}})
	if err != nil {
		return connect.NewError(connect.CodeUnavailable, err)
	}
	s.log.Info("the witness beside this server lets go of a claim, as its storage refuses the machine", "claim", clip(string(claim)), "machine", clip(string(machine)), "token", token.String())
	return nil
}
