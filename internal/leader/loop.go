package leader

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/argosy-cluster/argosy/internal/dispatcher"
	"github.com/argosy-cluster/argosy/internal/leader/core"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
)

// commitTimeout is how long a transaction may take before its outcome counts as unknown.
const commitTimeout = 10 * time.Second

// lead is one term: it ends with ctx or with an error.
func (l *Leader) lead(ctx context.Context, term store.Leadership) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	select {
	case <-l.renew: // this is the next
	default:
	}
	if l.cfg.Prepare != nil {
		if err := l.cfg.Prepare(ctx, term.Term); err != nil {
			return fmt.Errorf("preparing the term: %w", err)
		}
	}
	snap, err := l.cfg.Store.List(ctx, store.Root)
	if err != nil {
		return fmt.Errorf("reading the cluster's state: %w", err)
	}
	watch := l.watch(ctx, snap.Revision+1)
	l.begin(ctx, term, snap)
	defer l.end()
	go l.stayAwake(ctx)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if !l.awake() {
			return fmt.Errorf("%w: this process stood still for more than %s, and what machines said meanwhile is of unknown age", store.ErrUnavailable, core.Stall)
		}
		if err := l.work(ctx); err != nil {
			return err
		}
		timer.Reset(l.untilWake())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.poke:
		case <-l.renew:
			return fmt.Errorf("%w: it begins another term", store.ErrDeposed)
		case <-timer.C:
		case w := <-watch:
			if w.err != nil {
				return w.err
			}
			if err := l.apply(w.batch); err != nil {
				return err
			}
		}
	}
}

// watched is a batch of the watch, or the error that ended it.
type watched struct {
	batch store.Batch
	err   error
}

func (l *Leader) watch(ctx context.Context, from int64) <-chan watched {
	out := make(chan watched, 256)
	send := func(w watched) bool {
		select {
		case out <- w:
			return true
		case <-ctx.Done():
			return false
		}
	}
	go func() {
		for batch, err := range l.cfg.Store.Watch(ctx, store.Root, from) {
			if err != nil {
				err = fmt.Errorf("watching the cluster's state: %w", err)
			}
			if !send(watched{batch, err}) || err != nil {
				return
			}
		}
		send(watched{err: fmt.Errorf("%w: the watch ended", store.ErrUnavailable)})
	}()
	return out
}

func (l *Leader) begin(ctx context.Context, term store.Leadership, snap store.Snapshot) {
	cfg := core.Config{Term: term.Term, Number: term.Number, Server: l.cfg.ServerID, SealSecret: l.cfg.SealSecret, SealCredential: l.cfg.SealCredential,
		Diff: l.cfg.Diff, Heard: l.inherit()}
	r := &reign{term: term.Term, core: core.New(l.cfg.Now(), cfg, snap), wakes: map[*dispatcher.Session]chan struct{}{}, done: ctx.Done()}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reign = r
	r.core.Watched(l.cfg.Now(), l.watchers)
	close(l.begun)
	l.begun = make(chan struct{})
	l.flush()
	l.cfg.Log.Info("leading", "term", term.Number, "revision", snap.Revision)
}

// end drops the term. Proposals that were not decided learn it from done.
func (l *Leader) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.reign
	l.reign = nil
	for _, p := range r.proposals {
		p.result <- fmt.Errorf("%w: its term ended", ErrNotLeading)
	}
	all := core.NewChange()
	all.All = true
	for s := range l.subs {
		s.add(all)
	}
}

// awake notes that this process runs, and reports whether it did all the time.
func (l *Leader) awake() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reign == nil || l.reign.core.Awake(l.cfg.Now())
}

// stayAwake notes again and again that this process runs, until ctx ends; the loop is woken when it did not.
func (l *Leader) stayAwake(ctx context.Context) {
	tick := time.NewTicker(clockTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !l.awake() {
			l.nudge()
			return
		}
	}
}

func (l *Leader) untilWake() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := l.reign.core.NextWake()
	return max(next.Sub(l.cfg.Now()), time.Millisecond)
}

// apply takes in a batch of the watch. It fails when that says that another server leads.
func (l *Leader) apply(b store.Batch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reign.core.Apply(l.cfg.Now(), b)
	l.flush()
	v := l.reign.core.View(l.cfg.Now())
	if n := v.Term().GetNumber(); n != v.Number() {
		return fmt.Errorf("%w: term %d is over, the store is at %d", store.ErrDeposed, v.Number(), n)
	}
	return nil
}

// work commits what is proposed and what the core decides, until nothing is left to do.
func (l *Leader) work(ctx context.Context) error {
	for {
		if group, txns := l.decide(); len(group) > 0 {
			if err := l.propose(ctx, group, txns); err != nil {
				return err
			}
			continue
		}
		txns := l.step()
		if len(txns) == 0 {
			txns = l.trim()
		}
		if len(txns) == 0 {
			return nil
		}
		for _, t := range txns {
			if err := l.commit(ctx, t); err != nil {
				return err
			}
		}
	}
}

// propose commits what a group of proposals comes to. Only errors that end the term are returned.
func (l *Leader) propose(ctx context.Context, group []*proposal, txns []core.Txn) (err error) {
	for _, t := range txns {
		if err = l.commit(ctx, t); err != nil {
			break
		}
	}
	for _, p := range group {
		p.result <- err
	}
	if inDoubt(err) {
		return err
	}
	return nil
}

// inDoubt reports whether an error of a commit leaves open what is in the store, or who leads.
func inDoubt(err error) bool {
	var conflict *store.ConflictError
	return err != nil && !errors.As(err, &conflict)
}

// mostTogether bounds how many proposals are decided before the first of them is committed.
const mostTogether = 64

// decide takes the next proposal that changes something and those behind it that are about other apps, and returns the transaction that
// they come to. Whoever is refused, or changes nothing, is told at once. Nobody is left when the group is empty.
func (l *Leader) decide() (group []*proposal, txns []core.Txn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, now := l.reign, l.cfg.Now()
	var units []core.Unit
	apps, ops := map[state.AppKey]bool{}, 0
	for len(r.proposals) > 0 && len(group) < mostTogether {
		p := r.proposals[0]
		if len(group) > 0 && (p.about == state.AppKey{} || apps[p.about]) {
			break
		}
		u, err := core.Unit{}, p.ctx.Err()
		if err == nil {
			u, err = r.core.Propose(now, p.decide, units...)
		}
		if errors.Is(err, core.ErrClash) || len(group) > 0 && (ops+len(u.Ops) > core.MaxOps || len(u.If) > 0) {
			break // it is decided again
		}
		r.proposals = r.proposals[1:]
		if err == nil && len(u.Ops) > 0 {
			err = core.Txn{Txn: store.Txn{If: u.If, Ops: u.Ops}}.Check()
		}
		if err != nil || len(u.Ops) == 0 {
			p.result <- err
			continue
		}
		group, units, ops = append(group, p), append(units, u), ops+len(u.Ops)
		if apps[p.about] = true; p.about == (state.AppKey{}) || len(u.If) > 0 {
			break // alone
		}
	}
	return group, r.core.Pack(units)
}

func (l *Leader) step() []core.Txn {
	l.mu.Lock()
	defer l.mu.Unlock()
	begin := time.Now()
	units := l.reign.core.Step(l.cfg.Now())
	l.flush()
	txns := l.reign.core.Pack(units)
	l.cfg.Meter.Decided(time.Since(begin))
	return txns
}

func (l *Leader) commit(ctx context.Context, t core.Txn) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	begin := time.Now()
	revision, err := l.cfg.Store.Commit(ctx, t.Txn)
	l.cfg.Meter.Committed(time.Since(begin), len(t.Ops), refused(err))
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reign.core.Committed(l.cfg.Now(), revision, t)
	l.flush()
	return nil
}

// refused says in a word why a commit failed.
func refused(err error) string {
	switch {
	case err == nil:
		return ""
	case !inDoubt(err):
		return "conflict"
	case errors.Is(err, store.ErrDeposed):
		return "deposed"
	}
	return "unavailable"
}

// History is trimmed in the store when it holds more than mostHistory transitions, down to keptHistory.
const (
	keptHistory = 2000
	mostHistory = keptHistory + 500
)

// trim deletes transitions that every server has, the oldest first.
func (l *Leader) trim() []core.Txn {
	if l.cfg.Stored == nil {
		return nil
	}
	l.mu.Lock()
	list := l.reign.core.View(l.cfg.Now()).History()
	many := len(list) > mostHistory
	var upTo uint64
	if many {
		upTo = list[len(list)-keptHistory]
	}
	l.mu.Unlock()
	if !many {
		return nil
	}
	upTo = min(upTo, l.cfg.Stored())
	l.mu.Lock()
	defer l.mu.Unlock()
	ops := l.reign.core.HistoryTrim(upTo, core.MaxOps)
	return l.reign.core.Pack([]core.Unit{{Ops: ops}})
}
