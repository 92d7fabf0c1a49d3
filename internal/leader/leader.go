package leader

import (
	"context"
	"errors"
	"log/slog"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	"github.com/argosy-cluster/argosy/internal/dispatcher"
	"github.com/argosy-cluster/argosy/internal/leader/core"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
)

// ErrNotLeading says that this server does not lead, or not yet: ask again, or ask the leader.
var ErrNotLeading = errors.New("this server does not lead the cluster now")

// View is the cluster as the leader sees it.
type View = core.View

// Config is what a leader needs. Store, Election, ServerID and Log must be set.
type Config struct {
	Store    store.Store
	Election store.Election
	ServerID string
	Log      *slog.Logger
	// Now is the clock, time.Now when nil.
	Now func() time.Time
	// SealSecret and SealCredential open a record of the store and seal its content to a machine's sealing key. They are
	// called when an assignment is made and when the record or the machine's key changed, never twice for the same.
	SealSecret     func(m *argosyv1.Machine, s *storev1.Secret) ([]byte, error)
	SealCredential func(m *argosyv1.Machine, s *storev1.Secret) ([]byte, error)
}

// Proposal is a change that somebody asks for. Its operations are committed in one transaction together with its
// transitions, which the leader numbers and dates.
type Proposal struct {
	If          []store.Compare
	Ops         []store.Op
	Transitions []*argosyv1.Transition
}

// Leader leads when it is its turn.
type Leader struct{}

// New makes a leader that does nothing until it runs.
func New(c Config) *Leader { return &Leader{} }

// Run leads whenever the election says so, until ctx ends.
func (l *Leader) Run(ctx context.Context) error { return nil }

// Propose runs decide against the current state, alone, and commits what it returns. An error of decide is returned as it
// is, and nothing is committed. An error that wraps store.ErrUnavailable or context's means that it is not known whether
// the proposal was committed: idempotency keys are for that.
func (l *Leader) Propose(ctx context.Context, decide func(now time.Time, v *View) (Proposal, error)) error {
	return ErrNotLeading
}

// Read runs f with the current state. It must be quick, and keep nothing but records.
func (l *Leader) Read(f func(now time.Time, v *View)) error { return ErrNotLeading }

// Leading reports whether this server leads and has its state.
func (l *Leader) Leading() bool { return false }

// Session serves a machine's stream until it ends. The machine id is the one that its certificate proved.
func (l *Leader) Session(ctx context.Context, machineID string, s dispatcher.Stream) error {
	return ErrNotLeading
}

// SendWork hands work to a machine's agent. It fails when the machine has no session.
func (l *Leader) SendWork(machineID string, w *argosyv1.Work) error { return ErrNotLeading }

// Plan is View.Plan on the current state.
func (l *Leader) Plan(tenant string, spec *argosyv1.AppSpec) (*argosyv1.PlanResponse, error) {
	return nil, ErrNotLeading
}

// Explain is View.Explain on the current state.
func (l *Leader) Explain(key *argosyv1.ReplicaKey) (*argosyv1.ExplainResponse, error) {
	return nil, ErrNotLeading
}

// Change lists what changed for people who watch.
type Change struct {
	// All says that anything may have changed: read everything again.
	All      bool
	Replicas state.Set[state.Key]
	Apps     state.Set[state.AppKey]
	Machines state.Set[string]
	// Seq is the number of the newest transition in history.
	Seq uint64
}

// Subscription tells of changes. C receives when there is something to take; changes add up until they are taken, so a
// slow reader misses nothing and holds nobody up.
type Subscription struct {
	C <-chan struct{}
}

// Take returns what changed since the last call.
func (s *Subscription) Take() Change { return Change{} }

// Close ends the subscription.
func (s *Subscription) Close() {}

// Subscribe begins to gather changes. The first Take says All.
func (l *Leader) Subscribe() *Subscription { return nil }
