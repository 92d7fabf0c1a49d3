package manifest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// manyContainers is a manifest of n containers in stacks of ten, each as the LAMP example's.
func manyContainers(n int) []byte {
	var b strings.Builder
	b.WriteString("argosy: v1\napp: large\ncontainers:\n")
	for i := range n {
		fmt.Fprintf(&b, "  c%d:\n    image: mariadb:10.11\n    environment: {MARIADB_DATABASE: shop, NUMBER: \"%d\"}\n    secrets: [db-root]\n", i, i)
		fmt.Fprintf(&b, "    volumes: [\"data%d:/var/lib/mysql\"]\n    healthcheck: {test: [CMD, healthcheck.sh, --connect], interval: 2s}\n", i%10)
		b.WriteString("    cpus: 0.5\n    mem_limit: 256m\n    expose: [80]\n")
		if i%10 != 0 {
			fmt.Fprintf(&b, "    depends_on: {c%d: {condition: service_healthy}}\n", i-1)
		}
	}
	b.WriteString("stacks:\n")
	for i := 0; i < n; i += 10 {
		fmt.Fprintf(&b, "  s%d:\n    containers: [", i)
		for j := i; j < min(i+10, n); j++ {
			fmt.Fprintf(&b, "c%d, ", j)
		}
		b.WriteString("]\n    volumes:\n")
		for j := range 10 {
			fmt.Fprintf(&b, "      data%d: {size: 1GiB}\n", j)
		}
		b.WriteString("    placement: {require: [\"zone == edge\"], spread: [machine]}\n")
	}
	b.WriteString("cluster:\n")
	for i := 0; i < n; i += 10 {
		fmt.Fprintf(&b, "  s%d: 5\n", i)
	}
	return []byte(b.String())
}

// BenchmarkParse1000 reads and checks a manifest of 1,000 containers. The goal is less than 50 ms.
func BenchmarkParse1000(b *testing.B) {
	files := []File{{Name: "large.yaml", Data: manyContainers(1000)}}
	b.SetBytes(int64(len(files[0].Data)))
	b.ReportAllocs()
	start := processTime()
	for b.Loop() {
		if _, _, faults := Parse(files, Options{}); len(faults) > 0 {
			b.Fatal(faults.Err())
		}
	}
	ms := float64(b.Elapsed()) / float64(time.Millisecond) / float64(b.N)
	b.ReportMetric(ms, "ms/manifest")
	b.ReportMetric(float64(processTime()-start)/float64(time.Millisecond)/float64(b.N), "cpu-ms/manifest")
	b.ReportMetric(50, "goal-ms")
}
