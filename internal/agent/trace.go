package agent

import (
	"time"

	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/tracing"
)

// did makes a span of a step, below whatever asked for the replica's revision, and has looked what it did to volumes.
func (a *agent) did(s core.Step, begin, end time.Time, err error) {
	if s.Kind == core.Clean || s.Kind == core.Prepare {
		a.lookForStrays()
	}
	parent := s.Assignment.GetTraceparent()
	if parent == "" || begin.After(s.Assignment.GetTracedUntil().AsTime()) {
		return
	}
	a.tracer.Record(parent, s.Kind.String(), begin, end, err,
		tracing.String("argosy.machine", *a.name.Load()), tracing.String("argosy.replica", s.Key.String()),
		tracing.String("argosy.container", s.Member), tracing.Int("argosy.incarnation", int64(s.Incarnation)),
		tracing.String("argosy.image", s.Spec.GetImage()))
}
