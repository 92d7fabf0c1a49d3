package check

import (
	"time"

	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/claims/guard"
	"github.com/argosy-cluster/argosy/internal/claims/witness"
)

// Mutant is a mistake. It wraps the step functions, or is one of whatever is around them; what people run cannot have it.
type Mutant struct {
	Name     string
	Scenario string // the one that finds it
	Profile  func(*claims.Profile)
	Guard    func(guard.State, time.Duration, guard.Event) (guard.State, []guard.Effect)
	Witness  func(witness.State, time.Duration, witness.Event) (witness.State, []witness.Effect)
	Open     func(now time.Duration, next witness.State, whole bool) witness.State

	NoWatchdog, NoGate               bool
	FenceAnybody, NoSettling, AtOnce bool
	AnyTimeBack, Unbound, Unsure     bool
}

func (m *Mutant) guardStep(s guard.State, now time.Duration, e guard.Event) (guard.State, []guard.Effect) {
	if m.Guard != nil {
		return m.Guard(s, now, e)
	}
	return guard.Step(s, now, e)
}

func (m *Mutant) witnessStep(s witness.State, now time.Duration, e witness.Event) (witness.State, []witness.Effect) {
	if m.Witness != nil {
		return m.Witness(s, now, e)
	}
	return witness.Step(s, now, e)
}

func (m *Mutant) open(now time.Duration, id claims.Witness, p claims.Profile, t witness.Table, whole bool) (witness.State, []witness.Effect) {
	next, effects := witness.Open(now, id, p, t, whole)
	if m.Open != nil {
		next = m.Open(now, next, whole)
	}
	return next, effects
}
