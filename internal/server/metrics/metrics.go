package metrics

import (
	"errors"
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
)

// Set is everything that one server tells. Its methods may be called from many goroutines.
type Set struct {
	registry           *prometheus.Registry
	decided, committed prometheus.Histogram
	operations         prometheus.Counter
	failures           *prometheus.CounterVec
	requests           *prometheus.CounterVec
	requestTime        *prometheus.HistogramVec
	streams            *prometheus.GaugeVec
}

// quick are buckets from a tenth of a millisecond to ten seconds: decisions and commits of a healthy cluster are at the
// beginning, and what ends a term is at the end.
var quick = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// New makes a set. Picture is called at each scrape and must be quick.
func New(version string, picture func() Picture) *Set {
	s := &Set{
		registry: prometheus.NewRegistry(),
		decided: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "argosy_decision_seconds", Buckets: quick,
			Help: "Time that the leader took to decide what to do about what had changed."}),
		committed: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "argosy_commit_seconds", Buckets: quick,
			Help: "Time until the store had taken a transaction of the leader."}),
		operations: prometheus.NewCounter(prometheus.CounterOpts{Name: "argosy_commit_operations_total",
			Help: "Records that the leader wrote to the store or deleted."}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "argosy_commit_failures_total",
			Help: "Transactions of the leader that the store did not take: conflict when somebody wrote first, deposed when another server leads, unavailable when the outcome is not known."}, []string{"why"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "argosy_rpc_requests_total",
			Help: "RPCs that ended, streams included, by their Connect code; ok when they succeeded."}, []string{"procedure", "code"}),
		requestTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "argosy_rpc_seconds", Buckets: prometheus.DefBuckets,
			Help: "Time to answer an RPC that is no stream."}, []string{"procedure"}),
		streams: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "argosy_rpc_streams",
			Help: "Streams that are open now."}, []string{"procedure"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "argosy_build_info", Help: "Always 1; which version runs.",
		ConstLabels: prometheus.Labels{"version": version, "go": runtime.Version()}})
	build.Set(1)
	s.registry.MustRegister(build, s.decided, s.committed, s.operations, s.failures, s.requests, s.requestTime, s.streams,
		&collector{picture}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return s
}

// Handler answers a scrape. It must stand behind authentication: it shows what every tenant runs.
func (s *Set) Handler() http.Handler {
	return promhttp.HandlerFor(prometheus.Gatherers{s.registry, onlyEtcd{prometheus.DefaultGatherer}}, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// onlyEtcd passes on what etcd counts. Everything else in the process-wide registry is there twice or means nothing here.
type onlyEtcd struct{ all prometheus.Gatherer }

func (g onlyEtcd) Gather() ([]*dto.MetricFamily, error) {
	all, err := g.all.Gather()
	kept := all[:0]
	for _, f := range all {
		if strings.HasPrefix(f.GetName(), "etcd_") {
			kept = append(kept, f)
		}
	}
	return kept, err
}

// Decided counts one decision of the leader.
func (s *Set) Decided(took time.Duration) { s.decided.Observe(took.Seconds()) }

// Committed counts one transaction of the leader with its operations. Why says how it failed: conflict, deposed or
// unavailable; it is empty when the store took it.
func (s *Set) Committed(took time.Duration, operations int, why string) {
	if why != "" {
		s.failures.WithLabelValues(why).Inc()
		return
	}
	s.committed.Observe(took.Seconds())
	s.operations.Add(float64(operations))
}

// Names lists the metrics of Argosy's own with their help, as they are documented.
func Names() ([]*dto.MetricFamily, error) {
	s := New("", func() Picture { return example })
	s.Decided(0)
	s.Committed(0, 1, "")
	s.Committed(0, 1, "conflict")
	s.requests.WithLabelValues("", "ok")
	s.requestTime.WithLabelValues("")
	s.streams.WithLabelValues("")
	all, err := s.registry.Gather()
	if err != nil {
		return nil, err
	}
	var own []*dto.MetricFamily
	for _, f := range all {
		if strings.HasPrefix(f.GetName(), "argosy_") {
			own = append(own, f)
		}
	}
	if len(own) == 0 {
		return nil, errors.New("nothing was gathered")
	}
	return own, nil
}
