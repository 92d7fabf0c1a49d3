package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

var parsing = measurement{
	name: "manifest",
	want: []figure{{name: "manifest of 1,000 containers, parsed and validated", atMost: 50, unit: "ms"}},
	run: func(ctx context.Context, b *bench, want []figure) ([]figure, error) {
		const repeat = 5
		results, err := b.goBench(ctx, "./internal/manifest", "^BenchmarkParse1000$", "-benchtime=1s", "-count="+strconv.Itoa(repeat))
		if err != nil {
			return nil, err
		}
		spent, passed := results["BenchmarkParse1000"]["cpu-ms/manifest"], results["BenchmarkParse1000"]["ms/manifest"]
		if len(spent) != repeat || len(passed) != repeat {
			return nil, fmt.Errorf("BenchmarkParse1000 told %d and %d times instead of %d", len(spent), len(passed), repeat)
		}
		// What others do on this host makes the clock meaningless. Processor time is what a quiet host takes at the most.
		want[0].value = median(spent)
		want[0].note = fmt.Sprintf("processor time, median of %d runs, from %s; by the clock %s", repeat, spread(spent, "ms"), amount(median(passed), "ms"))
		return want, nil
	},
}

var placing = measurement{
	name: "scheduler",
	want: []figure{
		{name: "placements on 5,000 machines, plain resource fits, one core", atLeast: 1_000_000, unit: "/s"},
		{name: "the same with spread and anti-affinity", atLeast: 250_000, unit: "/s"},
		{name: "cost of a placement, 10,000 machines against 100, plain", atMost: 2, unit: "×"},
		{name: "the same with spread and anti-affinity", atMost: 2, unit: "×"},
	},
	run: func(ctx context.Context, b *bench, want []figure) ([]figure, error) {
		results, err := b.goBench(ctx, "./internal/scheduler",
			`^BenchmarkDecide$/^(plain|spread-apart)$/^machines=(100|5000|10000)$|^BenchmarkDecide$/^(plain|spread-apart)-(singles|large-apps)$/^machines=5000$`,
			"-benchtime=0.5s", "-count=3", "-cpu=1")
		if err != nil {
			return nil, err
		}
		rate := func(kind string, machines int) (float64, error) {
			name := fmt.Sprintf("BenchmarkDecide/%s/machines=%d", kind, machines)
			v := results[name]["placements/s"]
			if len(v) == 0 {
				return 0, fmt.Errorf("%s told no placements/s", name)
			}
			return median(v), nil
		}
		for i, kind := range []string{"plain", "spread-apart"} {
			var rates []float64
			for _, at := range []struct {
				kind     string
				machines int
			}{{kind, 100}, {kind, 5000}, {kind, 10_000}, {kind + "-singles", 5000}, {kind + "-large-apps", 5000}} {
				r, err := rate(at.kind, at.machines)
				if err != nil {
					return nil, err
				}
				rates = append(rates, r)
			}
			want[i].value = rates[1]
			want[i].note = fmt.Sprintf("processor time, median of 3; in apps of 10 replicas, and %s in apps of 1, %s in apps of 1,000",
				amount(rates[3], "/s"), amount(rates[4], "/s"))
			want[i+2].value = rates[0] / rates[2]
			want[i+2].note = fmt.Sprintf("nearly flat, taken as: as the logarithm does; %s with 100 machines, %s with 10,000",
				amount(1e6/rates[0], "µs"), amount(1e6/rates[2], "µs"))
		}
		return want, nil
	},
}

// goBench runs benchmarks of a package and returns, by benchmark and unit, what each run gave.
func (b *bench) goBench(ctx context.Context, pkg, pattern string, args ...string) (map[string]map[string][]float64, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-run=^$", "-timeout=5m", "-bench=" + pattern, pkg}, args...)...)
	cmd.Dir = b.root
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", cmd, err, out.String())
	}
	return parseGoBench(out.String()), nil
}

var processors = regexp.MustCompile(`-\d+$`)

// parseGoBench reads what go test prints of benchmarks: name, iterations, then pairs of value and unit.
func parseGoBench(text string) map[string]map[string][]float64 {
	out := map[string]map[string][]float64{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		name := processors.ReplaceAllString(f[0], "")
		if out[name] == nil {
			out[name] = map[string][]float64{}
		}
		for i := 2; i+1 < len(f); i += 2 {
			if v, err := strconv.ParseFloat(f[i], 64); err == nil {
				out[name][f[i+1]] = append(out[name][f[i+1]], v)
			}
		}
	}
	return out
}
