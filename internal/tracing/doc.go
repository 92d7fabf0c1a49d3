// Package tracing sends spans to an OpenTelemetry collector, when the environment names one.
//
//	t, err := tracing.New(ctx, "argosy-server", version.Version, os.Getenv)
//	defer t.Close()
//	ctx, end := t.Start(ctx, r.Header.Get(tracing.Header), "Apply", tracing.String("argosy.app", "shop"))
//	revision.Traceparent = tracing.Parent(ctx)
//	…
//	end(err)
//
// A trace begins with whoever asks for a change: a program that passes the W3C header traceparent, argosy with the variable
// TRACEPARENT, or the server. The revision carries it to assignments, and so to the agents, whose steps are its last spans.
// A nil *Tracer is one that nobody wants: its methods do nothing.
package tracing
