package server

import (
	"encoding/hex"
	"testing"
	"time"

	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/tracing/tracetest"
)

// TestTraceReachesTheMachine: the trace of whoever applies goes by way of the revision to the machine that runs it.
func TestTraceReachesTheMachine(t *testing.T) {
	collector := tracetest.New(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
	c := own(t, shortDir(t), nil)
	m := c.machine(t, facts())
	m.connect(t)
	req := connect.NewRequest(&argosyv1.ApplyRequest{Spec: spec("shop", 1)})
	req.Header().Set("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	if _, err := c.local.apps.Apply(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	select {
	case a := <-m.given:
		apply := collector.Span(t, "Apply")
		want := "00-4bf92f3577b34da6a3ce929d0e0e4736-" + hex.EncodeToString([]byte(apply.ID)) + "-01"
		if a.Traceparent != want || !a.TracedUntil.AsTime().After(time.Now()) {
			t.Errorf("the assignment is traced by %q until %v, want %q", a.Traceparent, a.TracedUntil.AsTime(), want)
		}
		if apply.Parent != "\x00\xf0\x67\xaa\x0b\xa9\x02\xb7" || apply.Service != "argosy-server" || apply.Attributes["argosy.actor"] != "local" {
			t.Errorf("%+v", apply)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("nothing was assigned")
	}
}
