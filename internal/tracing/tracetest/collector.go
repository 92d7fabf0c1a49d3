// Package tracetest is a collector of OpenTelemetry's protocol for tests.
//
//	c := tracetest.New(t)
//	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
//	…
//	c.Span("Apply")
package tracetest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/protobuf/proto"
)

// Span is one that arrived. Ids are raw bytes.
type Span struct {
	Name, Trace, ID, Parent, Service, Error string
	Attributes                              map[string]string
	// Nanoseconds that it took.
	Took uint64
}

// Collector takes spans until its test ends.
type Collector struct {
	URL string

	mu      sync.Mutex
	spans   []Span
	arrived chan struct{} // closed and replaced when something arrives
}

// New starts a collector.
func New(t testing.TB) *Collector {
	c := &Collector{arrived: make(chan struct{})}
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		req := &collector.ExportTraceServiceRequest{}
		if err == nil {
			err = proto.Unmarshal(raw, req)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		c.take(req)
	}))
	t.Cleanup(srv.Close)
	c.URL = srv.URL
	return c
}

func text(list []*common.KeyValue) map[string]string {
	out := map[string]string{}
	for _, a := range list {
		out[a.GetKey()] = a.GetValue().GetStringValue()
	}
	return out
}

func (c *Collector) take(req *collector.ExportTraceServiceRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rs := range req.GetResourceSpans() {
		service := text(rs.GetResource().GetAttributes())["service.name"]
		for _, scope := range rs.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c.spans = append(c.spans, Span{
					Name: s.GetName(), Trace: string(s.GetTraceId()), ID: string(s.GetSpanId()), Parent: string(s.GetParentSpanId()), Service: service,
					Error: s.GetStatus().GetMessage(), Attributes: text(s.GetAttributes()), Took: s.GetEndTimeUnixNano() - s.GetStartTimeUnixNano(),
				})
			}
		}
	}
	close(c.arrived)
	c.arrived = make(chan struct{})
}

// Span waits for one of that name.
func (c *Collector) Span(t testing.TB, name string) Span {
	t.Helper()
	for {
		c.mu.Lock()
		arrived := c.arrived
		for _, s := range c.spans {
			if s.Name == name {
				c.mu.Unlock()
				return s
			}
		}
		c.mu.Unlock()
		select {
		case <-arrived:
		case <-t.Context().Done():
			t.Fatalf("no span %q arrived", name)
		}
	}
}

// Len is how many spans arrived.
func (c *Collector) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.spans)
}
