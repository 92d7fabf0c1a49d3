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
		times := results["BenchmarkParse1000"]["ns/op"]
		if len(times) != repeat {
			return nil, fmt.Errorf("BenchmarkParse1000 gave %d results instead of %d", len(times), repeat)
		}
		for i := range times {
			times[i] /= 1e6
		}
		want[0].value = median(times)
		want[0].note = fmt.Sprintf("median of %d runs, from %s", repeat, spread(times, "ms"))
		return want, nil
	},
}

// How replicas are grouped into apps changes what placing them costs.
var placingShapes = []struct{ suffix, means string }{{"", "10 replicas an app"}, {"-singles", "1"}, {"-large-apps", "1,000"}}

var placing = measurement{
	name: "scheduler",
	want: []figure{
		{name: "placements on 5,000 machines, plain resource fits, one core", atLeast: 500_000, unit: "/s"},
		{name: "the same with spread and anti-affinity", atLeast: 100_000, unit: "/s"},
		{name: "cost of a placement, 10,000 machines against 100, plain", atMost: 2, unit: "×"},
		{name: "the same with spread and anti-affinity", atMost: 2, unit: "×"},
	},
	run: func(ctx context.Context, b *bench, want []figure) ([]figure, error) {
		results, err := b.goBench(ctx, "./internal/scheduler", `^BenchmarkDecide$/^(plain|spread-apart)(-singles|-large-apps)?$/^machines=(100|5000|10000)$`,
			"-benchtime=0.5s", "-count=3", "-cpu=1")
		if err != nil {
			return nil, err
		}
		rate := func(kind string, machines int) (float64, error) {
			name := fmt.Sprintf("BenchmarkDecide/%s/machines=%d", kind, machines)
			v := results[name]["placements/s"]
			if len(v) == 0 {
				return 0, fmt.Errorf("%s gave no placements/s", name)
			}
			return median(v), nil
		}
		for i, kind := range []string{"plain", "spread-apart"} {
			var notes []string
			for _, s := range placingShapes {
				small, err := rate(kind+s.suffix, 100)
				if err != nil {
					return nil, err
				}
				mid, err := rate(kind+s.suffix, 5000)
				if err != nil {
					return nil, err
				}
				large, err := rate(kind+s.suffix, 10_000)
				if err != nil {
					return nil, err
				}
				if s.suffix == "" {
					want[i].value, want[i+2].value = mid, small/large
					want[i+2].note = fmt.Sprintf("the goal says nearly flat; %s at 100 machines, %s at 10,000", amount(small, "/s"), amount(large, "/s"))
				}
				notes = append(notes, s.means+": "+amount(mid, "/s"))
			}
			want[i].note = "median of 3; " + strings.Join(notes, ", ")
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
