package server

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"testing"
)

// BenchmarkFleet submits units one after the other through fleet's API, to a cluster with one machine that shows nothing, and lists
// the states of all. What one costs is not to depend on how many there are.
func BenchmarkFleet(b *testing.B) {
	for _, n := range []int{200, 2000} {
		b.Run(fmt.Sprint("units=", n), func(b *testing.B) {
			dir := shortDir(b)
			path := filepath.Join(dir, "f")
			c := own(b, dir, func(cfg *Config) { cfg.FleetAPI = []string{"unix://" + path} })
			transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "unix", path)
			}}
			b.Cleanup(transport.CloseIdleConnections)
			f := fleetClient{b, &http.Client{Transport: transport}, "http://domain-sock/fleet/v1"}
			where := facts()
			where.Declared.CPUMilli, where.Declared.MemoryBytes = 1_000_000, 1<<40
			m := c.machine(b, where)
			m.connect(b)
			put := func(i int) {
				f.want(201, "PUT", fmt.Sprintf("/units/u%05d.service", i), doc{"desiredState": "launched", "options": sleeper()})
			}
			for i := range n {
				put(i)
			}
			next := n
			b.Run("put", func(b *testing.B) {
				for b.Loop() {
					put(next)
					next++
				}
			})
			b.Run("page", func(b *testing.B) {
				for b.Loop() {
					f.want(200, "GET", "/state", nil)
				}
			})
			b.Run("states", func(b *testing.B) {
				for b.Loop() {
					if items, _ := f.all("/state", "states"); len(items) < n {
						b.Fatalf("%d states of %d units", len(items), n)
					}
				}
			})
		})
	}
}
