package leader

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/dispatcher"
	"github.com/argosy-cluster/argosy/internal/leader/core"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
)

// ErrNotLeading says that this server does not lead, or not yet: ask again, or ask the leader.
var ErrNotLeading = errors.New("this server does not lead the cluster now")

// View is the cluster as the leader sees it.
type View = core.View

// NotFoundError says that something is not in the cluster.
type NotFoundError = core.NotFoundError

// MaxLossLabels is how many labels PlanAhead takes.
const MaxLossLabels = core.MaxLossLabels

// Proposal is a change that somebody asks for. Its operations are committed in one transaction together with its
// transitions, which the leader numbers and, where they have no time, dates.
type Proposal = core.Proposal

// Change lists what changed for people who watch.
type Change = core.Change

// Config is what a leader needs. Store, Election, ServerID and Log must be set.
type Config struct {
	Store    store.Store
	Election store.Election
	ServerID string
	Log      *slog.Logger
	// Now is the clock, time.Now when nil.
	Now func() time.Time
	// SealSecret and SealCredential open a record of the store and seal its content to a machine's sealing key. They are
	// called when an assignment is made and the record or the machine's key differs from the last time. They must be
	// quick, and must not call the leader.
	SealSecret     func(m *argosyv1.Machine, s *storev1.Secret) ([]byte, error)
	SealCredential func(m *argosyv1.Machine, s *storev1.Secret) ([]byte, error)
	// Diff says in lines what a spec changes of another (manifest.Diff); plans show them. It may be nil.
	Diff func(before, after *argosyv1.AppSpec) []string
	// Greet is what a machine is told while this server does not lead. With it, sessions are held all the same: beats are
	// taken, so that this server knows the ages of its machines if it leads next, and a session goes on as the leader's.
	// Nil turns machines away meanwhile.
	Greet func(machine string) *argosyv1.Welcome
	// Prepare is called at the beginning of each term, before the state is read; when it fails, so does the term. May be nil.
	Prepare func(ctx context.Context, term int64) error
	// Stored is the number up to which every server has history in its own database (history.DB.Last); what the store
	// holds beyond that and beyond some thousands more is deleted from it. Nil keeps everything. It must not block.
	Stored func() uint64
	// Meter, when not nil, is told how long things took.
	Meter Meter
}

// Meter counts what a leader does. Its methods must be quick and must not call the leader.
type Meter interface {
	// Decided is told of each decision.
	Decided(took time.Duration)
	// Committed is told of each transaction: of how many operations, and why the store did not take it: conflict, deposed or
	// unavailable, or nothing.
	Committed(took time.Duration, operations int, why string)
}

type noMeter struct{}

func (noMeter) Decided(time.Duration)                {}
func (noMeter) Committed(time.Duration, int, string) {}

// Leader leads when it is its turn. Its methods may be called from many goroutines.
type Leader struct {
	cfg  Config
	poke chan struct{}
	// renew receives when the term under way is to be followed by another of this server's.
	renew chan struct{}

	mu sync.Mutex
	// reign is the term under way, nil when this server does not lead or has not its state yet.
	reign *reign
	subs  map[*Subscription]struct{}
	// begun is closed when a reign begins, and replaced.
	begun     chan struct{}
	heard     heard
	confirmed confirmed
	// watchers is how many watch what machines use. Some outlast a term.
	watchers int
}

// reign is one term. Its fields but term and done are guarded by the leader's mutex.
type reign struct {
	term      int64 // guards its transactions
	core      *core.Core
	proposals []*proposal
	wakes     map[*dispatcher.Session]chan struct{}
	done      <-chan struct{}
}

// proposal waits to be decided and committed.
type proposal struct {
	ctx    context.Context
	about  state.AppKey // the only app that it reads and writes, or zero
	decide func(now time.Time, v *View) (Proposal, error)
	result chan error
}

// New makes a leader that does nothing until it runs.
func New(c Config) *Leader {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Meter == nil {
		c.Meter = noMeter{}
	}
	return &Leader{cfg: c, poke: make(chan struct{}, 1), renew: make(chan struct{}, 1), subs: map[*Subscription]struct{}{}, begun: make(chan struct{}),
		heard: heard{last: map[string]time.Time{}, sessions: map[string]int{}}}
}

// retryPause is the time between terms after a failure.
const retryPause = 200 * time.Millisecond

// Run leads whenever the election says so, until ctx ends.
func (l *Leader) Run(ctx context.Context) error {
	if l.cfg.Greet != nil {
		go l.watchClock(ctx)
	}
	for {
		err := store.Lead(ctx, l.cfg.Store, l.cfg.Election, l.cfg.ServerID, l.lead)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		l.cfg.Log.Warn("leading failed; beginning again", "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retryPause):
		}
	}
}

// Leading reports whether this server leads and has its state.
func (l *Leader) Leading() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reign != nil
}

// Propose runs decide against the current state, alone, and commits what it returns; when it returns nil, the change is
// committed and every Read shows it. An error of decide is returned as it is, and nothing is committed; so is a
// [*store.ConflictError]. An error that wraps [ErrNotLeading], [store.ErrUnavailable], [store.ErrDeposed] or context's means
// that it is not known whether the proposal was committed: idempotency keys are for that. decide must be quick and must not
// call the leader; it may be called more than once only by being proposed more than once.
func (l *Leader) Propose(ctx context.Context, decide func(now time.Time, v *View) (Proposal, error)) error {
	return l.ProposeAbout(ctx, state.AppKey{}, decide)
}

// ProposeAbout is Propose for a change of one app, whose decide looks at no other app and writes none. Such proposals about different
// apps that wait are committed together: their decide may be called more than once, and what it said last counts.
func (l *Leader) ProposeAbout(ctx context.Context, app state.AppKey, decide func(now time.Time, v *View) (Proposal, error)) error {
	p := &proposal{ctx: ctx, about: app, decide: decide, result: make(chan error, 1)}
	l.mu.Lock()
	r := l.reign
	if r == nil {
		l.mu.Unlock()
		return ErrNotLeading
	}
	r.proposals = append(r.proposals, p)
	l.mu.Unlock()
	l.nudge()
	select {
	case err := <-p.result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-r.done:
		select {
		case err := <-p.result:
			return err
		default:
			return fmt.Errorf("%w: its term ended before it answered", ErrNotLeading)
		}
	}
}

// Read runs f with the current state. It must be quick, must not call the leader, and keep nothing but records.
func (l *Leader) Read(f func(now time.Time, v *View)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reign == nil {
		return ErrNotLeading
	}
	now := l.cfg.Now()
	f(now, l.reign.core.View(now))
	return nil
}

// confirmTime is how long a majority may take to confirm that this server leads. Without one it does not for long.
const confirmTime = 2 * time.Second

// Confirm returns nil once the store has said, with a majority and after Confirm was called, that the term is still on. What
// Read shows after that is no older than the call, even in a process that stood still for minutes and does not know yet
// that another leads: until the term was over nobody else wrote.
func (l *Leader) Confirm(ctx context.Context) error {
	l.mu.Lock()
	r := l.reign
	l.mu.Unlock()
	if r == nil {
		return ErrNotLeading
	}
	ctx, cancel := context.WithTimeout(ctx, confirmTime)
	defer cancel()
	snap, err := l.cfg.Store.Get(ctx, store.TermKey)
	if err != nil {
		return fmt.Errorf("confirming that this server leads: %w", err)
	}
	if len(snap.KVs) != 1 || snap.KVs[0].ModRevision != r.term {
		return fmt.Errorf("%w: its term is over", ErrNotLeading)
	}
	return nil
}

// confirmed is when it was made sure last that a term was on. Its lock is held by who asks the store, so that others wait for
// that answer.
type confirmed struct {
	sync.Mutex
	term int64
	at   time.Time
	// failed is why it could not be made sure of last, and until when that was tried.
	failed error
	tried  time.Time
}

// Confirmed is Confirm for those who tell the same tale on and on: that the term was on within age before the call is enough.
// However many ask, the store is asked once in that time.
func (l *Leader) Confirmed(ctx context.Context, age time.Duration) error {
	called := l.cfg.Now()
	l.confirmed.Lock()
	defer l.confirmed.Unlock()
	if l.confirmed.failed != nil && l.confirmed.tried.After(called) {
		return l.confirmed.failed // it was asked while this one waited
	}
	l.mu.Lock()
	r := l.reign
	l.mu.Unlock()
	if r == nil {
		return ErrNotLeading
	}
	now := l.cfg.Now()
	if since := now.Sub(l.confirmed.at); l.confirmed.term == r.term && since >= 0 && since < age {
		return nil
	}
	err := l.Confirm(context.WithoutCancel(ctx)) // others wait for it, too
	if l.confirmed.failed, l.confirmed.tried = err, l.cfg.Now(); err == nil {
		l.confirmed.term, l.confirmed.at = r.term, now
	}
	return err
}

// SendWork hands work to a machine's agent. It fails when the machine has no session.
func (l *Leader) SendWork(machineID string, w *argosyv1.Work) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reign == nil {
		return ErrNotLeading
	}
	err := l.reign.core.Work(machineID, w)
	l.flush()
	return err
}

// WatchUsage has machines report what they use every few seconds until done is called, and for ten seconds more.
func (l *Leader) WatchUsage() (done func()) {
	l.watched(1)
	return sync.OnceFunc(func() { l.watched(-1) })
}

func (l *Leader) watched(more int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watchers += more
	if l.reign == nil {
		return
	}
	l.reign.core.Watched(l.cfg.Now(), l.watchers)
	l.flush()
	l.nudge() // it may have to wake earlier
}

// Witnessed takes in what the witness beside this server sees of claims. It counts only while this server leads.
func (l *Leader) Witnessed(s claims.Sights) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reign == nil {
		return
	}
	l.reign.core.Witnessed(l.cfg.Now(), s)
	l.flush()
}

// Late says that what the witness beside this server sees is awaited.
func (l *Leader) Late() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reign != nil && l.reign.core.Late()
}

// FenceSaid takes in why a storage has not done what it was told about a machine, empty when it has. It is false when that was known, or this
// server does not lead.
func (l *Leader) FenceSaid(k state.VolumeKey, machine, said string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reign == nil || !l.reign.core.FenceSaid(k, machine, said) {
		return false
	}
	l.flush()
	return true
}

// Reign is the number of the term under way and what is closed when that ends; ok is false when this server does not lead.
func (l *Leader) Reign() (term int64, done <-chan struct{}, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reign == nil {
		return 0, nil, false
	}
	return l.reign.term, l.reign.done, true
}

// FenceWork is something to be said to a storage.
type FenceWork = core.FenceWork

// What there can be to say to a storage.
const (
	FenceNothing = core.FenceNothing
	FenceRefuse  = core.FenceRefuse
	FenceTell    = core.FenceTell
	FenceBack    = core.FenceBack
)

// FenceBegun is a volume's record in which it stands that a server may have its storage do something, nil when it does already; ok is false when there
// is nothing to do any more.
func FenceBegun(v *argosyv1.Volume, w FenceWork, server string) (next *argosyv1.Volume, ok bool) {
	return core.FenceBegun(v, w, server)
}

// FenceDone is a volume's record once its storage has done what it was told about a machine, and what history says of it.
func FenceDone(now time.Time, v *argosyv1.Volume, w FenceWork, server string) (*argosyv1.Volume, *argosyv1.Transition) {
	return core.FenceDone(now, v, w, server)
}

// FenceSettled is a volume's record once another server has said that nothing of it is under way.
func FenceSettled(v *argosyv1.Volume, w FenceWork, server string) *argosyv1.Volume {
	return core.FenceSettled(v, w, server)
}

// FenceFailed is what history says of a storage that has not done what it was told.
func FenceFailed(v *argosyv1.Volume, w FenceWork, why string) *argosyv1.Transition {
	return core.FenceFailed(v, w, why)
}

// Freed is a shared volume's record once it was taken from its holder.
func Freed(v *argosyv1.Volume) *argosyv1.Volume { return core.Freed(v) }

// Plan is View.Plan on the current state.
func (l *Leader) Plan(tenant string, spec *argosyv1.AppSpec) (out *argosyv1.PlanResponse, err error) {
	if readErr := l.Read(func(_ time.Time, v *View) { out, err = v.Plan(tenant, spec) }); readErr != nil {
		return nil, readErr
	}
	return out, err
}

// PlanAhead is View.PlanAhead on the current state.
func (l *Leader) PlanAhead(tenant string, spec *argosyv1.AppSpec, labels []string) (out *argosyv1.PlanResponse, err error) {
	if readErr := l.Read(func(_ time.Time, v *View) { out, err = v.PlanAhead(tenant, spec, labels) }); readErr != nil {
		return nil, readErr
	}
	return out, err
}

// Explain is View.Explain on the current state.
func (l *Leader) Explain(key *argosyv1.ReplicaKey) (out *argosyv1.ExplainResponse, err error) {
	if readErr := l.Read(func(_ time.Time, v *View) { out, err = v.Explain(state.KeyOf(key), false) }); readErr != nil {
		return nil, readErr
	}
	return out, err
}

// Renew ends the term under way, if there is one. The next begins at once, from the store.
func (l *Leader) Renew() {
	select {
	case l.renew <- struct{}{}:
	default:
	}
}

// nudge wakes the loop.
func (l *Leader) nudge() {
	select {
	case l.poke <- struct{}{}:
	default:
	}
}

// flush passes on what the core has to say to sessions, watchers, the log and the loop. The mutex is held.
func (l *Leader) flush() {
	r := l.reign
	if r == nil {
		return
	}
	for _, s := range r.core.Wakes() {
		if wake := r.wakes[s]; wake != nil {
			select {
			case wake <- struct{}{}:
			default:
			}
		}
	}
	if ch := r.core.TakeChange(); !ch.Empty() || ch.Seq > 0 {
		for s := range l.subs {
			s.add(ch)
		}
	}
	for _, text := range r.core.Complaints() {
		l.cfg.Log.Warn(text)
	}
	if r.core.Due(l.cfg.Now()) {
		l.nudge()
	}
}
