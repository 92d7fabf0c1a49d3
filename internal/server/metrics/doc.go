// Package metrics is what a server tells Prometheus.
//
//	set := metrics.New(version.Version, picture)
//	leader.New(leader.Config{…, Meter: set})
//	connect.WithInterceptors(…, set.Interceptor())
//	mux.Handle("/metrics", set.Handler())
//
// There are two kinds. What is counted as it happens (commits, decisions, RPCs) costs the one who counts a few atomic
// additions. What is known anyway (machines, replicas) is asked of picture when somebody scrapes, so it costs nothing in
// between and cannot be older than the scrape; only the server that leads knows it and tells it.
//
// etcd counts in a registry of its own that it offers no other way to; what it has there is passed on.
package metrics
