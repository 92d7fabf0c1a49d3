package tracing

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Header is the name of the W3C header that carries a trace from caller to called.
const Header = "traceparent"

// Tracer makes spans. Its methods may be called from many goroutines, and on nil.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
}

// New is a tracer for a service, or nil when the environment names no collector: OTEL_EXPORTER_OTLP_ENDPOINT or
// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, which with the other variables of OpenTelemetry say where and how. It does not wait
// for the collector, and a collector that is away delays nothing: spans that find no room are dropped.
func New(ctx context.Context, service, version string, getenv func(string) string) (*Tracer, error) {
	if getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" || getenv("OTEL_SDK_DISABLED") == "true" {
		return nil, nil
	}
	exporter, err := newExporter(ctx, getenv)
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	// What the environment says comes last, so that it wins.
	res, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", service), attribute.String("service.version", version)),
		resource.WithHost(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	p := sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(res))
	return &Tracer{p, p.Tracer("github.com/argosy-cluster/argosy", trace.WithInstrumentationVersion(version))}, nil
}

func newExporter(ctx context.Context, getenv func(string) string) (*otlptrace.Exporter, error) {
	protocol := getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
	if protocol == "" {
		protocol = getenv("OTEL_EXPORTER_OTLP_PROTOCOL")
	}
	switch protocol {
	case "", "http/protobuf":
		return otlptracehttp.New(ctx)
	case "grpc":
		return otlptracegrpc.New(ctx)
	}
	return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL is %q: it may be http/protobuf or grpc", protocol)
}

// flushTime is how long the last spans may take to be sent.
const flushTime = 3 * time.Second

// Close sends what has not been sent, as far as that goes in a few seconds.
func (t *Tracer) Close() error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	return t.provider.Shutdown(ctx)
}

// Attr says something of a span.
type Attr = attribute.KeyValue

// String is an attribute.
func String(key, value string) Attr { return attribute.String(key, value) }

// Int is an attribute.
func Int(key string, value int64) Attr { return attribute.Int64(key, value) }

// under is ctx with the span that a traceparent names as its parent; one that is none counts as no parent.
func under(ctx context.Context, parent string) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{Header: parent})
}

// Start begins a span below parent, a W3C traceparent or nothing. End is to be called once.
func (t *Tracer) Start(ctx context.Context, parent, name string, attrs ...Attr) (inside context.Context, end func(error)) {
	if t == nil {
		return under(ctx, parent), func(error) {}
	}
	ctx, span := t.tracer.Start(under(ctx, parent), name, trace.WithAttributes(attrs...))
	return ctx, func(err error) {
		fail(span, err)
		span.End()
	}
}

// Record makes a span of what is over.
func (t *Tracer) Record(parent, name string, begin, end time.Time, err error, attrs ...Attr) {
	if t == nil {
		return
	}
	_, span := t.tracer.Start(under(context.Background(), parent), name, trace.WithTimestamp(begin), trace.WithAttributes(attrs...))
	fail(span, err)
	span.End(trace.WithTimestamp(end))
}

func fail(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
}

// Parent is the traceparent of what happens in ctx; empty when it is traced by nobody.
func Parent(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier[Header]
}
