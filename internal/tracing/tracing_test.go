package tracing_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/argosy-cluster/argosy/internal/tracing"
	"github.com/argosy-cluster/argosy/internal/tracing/tracetest"
)

// env is an environment.
type env map[string]string

func (e env) get(key string) string { return e[key] }

const caller = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// TestSpansReachACollector: spans go where the environment says, below the span that the caller named.
func TestSpansReachACollector(t *testing.T) {
	c := tracetest.New(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	tracer, err := tracing.New(t.Context(), "argosy-test", "v1", env{"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL}.get)
	if err != nil || tracer == nil {
		t.Fatal(tracer, err)
	}
	ctx, end := tracer.Start(t.Context(), caller, "Apply", tracing.String("argosy.app", "shop"))
	tracer.Record(tracing.Parent(ctx), "pull", time.Unix(100, 0), time.Unix(103, 0), errors.New("no such image"))
	end(nil)
	if err := tracer.Close(); err != nil {
		t.Fatal(err)
	}
	apply, pull := c.Span(t, "Apply"), c.Span(t, "pull")
	if apply.Parent != "\x00\xf0\x67\xaa\x0b\xa9\x02\xb7" || apply.Service != "argosy-test" || apply.Attributes["argosy.app"] != "shop" {
		t.Errorf("Apply: %+v", apply)
	}
	if pull.Parent != apply.ID || pull.Trace != apply.Trace || pull.Took != uint64(3*time.Second) || pull.Error != "no such image" {
		t.Errorf("pull: %+v, below %+v", pull, apply)
	}
}

// TestNobodyTraces: without a collector there are no spans, and the caller's trace is passed on all the same.
func TestNobodyTraces(t *testing.T) {
	tracer, err := tracing.New(t.Context(), "argosy-test", "v1", env{}.get)
	if tracer != nil || err != nil {
		t.Fatal(tracer, err)
	}
	ctx, end := tracer.Start(t.Context(), caller, "Apply")
	tracer.Record(caller, "pull", time.Now(), time.Now(), nil)
	end(nil)
	if got := tracing.Parent(ctx); got != caller {
		t.Errorf("passed on is %q", got)
	}
	for _, junk := range []string{"", "junk", "00-0-0-01", caller + "-x"} {
		ctx, end := tracer.Start(context.Background(), junk, "Apply")
		end(errors.New("x"))
		if got := tracing.Parent(ctx); got != "" && got != caller {
			t.Errorf("of %q comes %q", junk, got)
		}
	}
	if err := tracer.Close(); err != nil {
		t.Error(err)
	}
	if _, err := tracing.New(t.Context(), "argosy-test", "v1", env{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "smoke"}.get); err == nil {
		t.Error("a protocol that there is not is accepted")
	}
}
