package agent

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/tracing"
	"github.com/argosy-cluster/argosy/internal/tracing/tracetest"
)

// TestStepsAreTraced: a step is a span of the trace that asked for its revision, for a while.
func TestStepsAreTraced(t *testing.T) {
	c := tracetest.New(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	env := func(key string) string { return map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL}[key] }
	a := &agent{}
	name := "m1"
	a.name.Store(&name)
	var err error
	if a.tracer, err = tracing.New(t.Context(), "argosy-agent", "v1", env); err != nil {
		t.Fatal(err)
	}
	begin := time.Unix(1000, 0)
	step := func(kind core.StepKind, parent string, until time.Time) core.Step {
		s := core.Step{Kind: kind, Spec: &argosyv1.ContainerSpec{Name: "web", Image: "web:1"},
			Assignment: &argosyv1.Assignment{Traceparent: parent, TracedUntil: timestamppb.New(until)}}
		s.Key, s.Member = core.Key{Tenant: "default", App: "shop", Stack: "web", Number: 3}, "web"
		return s
	}
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	a.did(step(core.Stop, "", begin.Add(time.Hour)), begin, begin, nil)          // nobody traces it
	a.did(step(core.Remove, parent, begin.Add(-time.Second)), begin, begin, nil) // too late
	a.did(core.Step{Kind: core.Clean}, begin, begin, nil)                        // nobody wants it
	a.did(step(core.Pull, parent, begin.Add(time.Hour)), begin, begin.Add(time.Second), errors.New("no such image"))
	a.did(step(core.Start, parent, begin.Add(time.Hour)), begin, begin.Add(2*time.Second), nil)
	if err := a.tracer.Close(); err != nil {
		t.Fatal(err)
	}
	pull, start := c.Span(t, core.Pull.String()), c.Span(t, core.Start.String())
	if pull.Error != "no such image" || start.Error != "" || start.Took != uint64(2*time.Second) || start.Parent != "\x00\xf0\x67\xaa\x0b\xa9\x02\xb7" {
		t.Errorf("%+v, %+v", pull, start)
	}
	for key, want := range map[string]string{"argosy.machine": "m1", "argosy.replica": "shop/web.3", "argosy.container": "web", "argosy.image": "web:1"} {
		if start.Attributes[key] != want {
			t.Errorf("%s is %q, want %q", key, start.Attributes[key], want)
		}
	}
	if n := c.Len(); n != 2 {
		t.Errorf("%d spans arrived, want 2", n)
	}
}
