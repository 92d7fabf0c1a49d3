package main

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestTable(t *testing.T) {
	var out strings.Builder
	err := writeTable(&out, []figure{
		{name: "start", atMost: 2, unit: "s", value: 0.31, note: "median of 5"},
		{name: "placements", atLeast: 500_000, unit: "/s", value: 412_345},
		{name: "agent", atMost: 40, unit: "MB", err: errors.New("no machine:\nno Docker")},
		{name: "only told", unit: "ms", value: 4.291},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := strings.TrimPrefix(`
FIGURE      GOAL          MEASURED
start       ≤ 2 s         0.310 s     reached
    median of 5
placements  ≥ 500,000 /s  412,000 /s  NOT reached
agent       ≤ 40 MB       -           not measured
    no machine:
    no Docker
only told                 4.29 ms
`, "\n")
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestVerdict(t *testing.T) {
	for _, tc := range []struct {
		f    figure
		want verdict
	}{
		{figure{atMost: 50, value: 50}, reached},
		{figure{atMost: 50, value: 50.1}, missed},
		{figure{atMost: 50, value: -3}, reached},
		{figure{atLeast: 10, value: 10}, reached},
		{figure{atLeast: 10, value: 9}, missed},
		{figure{value: 9}, told},
		{figure{atMost: 50, err: errors.New("x")}, notMeasured},
		{figure{err: errors.New("x")}, notMeasured},
	} {
		if got := tc.f.verdict(); got != tc.want {
			t.Errorf("%+v: %q, want %q", tc.f, got, tc.want)
		}
	}
}

func TestAmount(t *testing.T) {
	for v, want := range map[float64]string{
		0.0042: "0.004", 0.5: "0.500", 2: "2", 3.14159: "3.14", 50: "50", 47.23: "47.2", 237.6: "238", 9999.4: "9999",
		500_000: "500,000", 1_445_400: "1,445,000", 2_000_499: "2,000,000", 12_034_567_000: "12,034,567,000", -6.23: "-6.23",
	} {
		if got := amount(v, ""); got != want {
			t.Errorf("%v is written %s, want %s", v, got, want)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, tc := range []struct {
		values []float64
		want   float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := median(tc.values); got != tc.want {
			t.Errorf("median of %v is %v, want %v", tc.values, got, tc.want)
		}
	}
}

func TestParseGoBench(t *testing.T) {
	got := parseGoBench(`goos: linux
BenchmarkDecide/plain/machines=100-2         	  500000	      1042 ns/op	         0.5 waiting/op	    959000 placements/s
BenchmarkDecide/plain/machines=100-2         	  500000	      1042 ns/op	         0.5 waiting/op	    961000 placements/s
BenchmarkDecide/spread-apart/machines=5000   	     100	     10420 ns/op
BenchmarkBroken
PASS
`)
	if v := got["BenchmarkDecide/plain/machines=100"]["placements/s"]; len(v) != 2 || v[0] != 959000 || v[1] != 961000 {
		t.Errorf("placements/s: %v", v)
	}
	if v := got["BenchmarkDecide/spread-apart/machines=5000"]["ns/op"]; len(v) != 1 || v[0] != 10420 {
		t.Errorf("ns/op: %v", v)
	}
	if len(got) != 2 {
		t.Errorf("%d benchmarks, want 2: %v", len(got), got)
	}
}

func TestParseStat(t *testing.T) {
	own, got, err := parseStat("425 (a) b (c) S 1 425 425 0 -1 4194560 9000 0 3 0 198 136 7 3 20 0 10 0 12345 1300000000 9800")
	if err != nil || own != 3340*time.Millisecond || got != 3440*time.Millisecond {
		t.Errorf("%v, %v, %v", own, got, err)
	}
	for _, bad := range []string{"", "425", "425 (a) S 1 2", "425 (a) S 1 1 1 0 -1 0 0 0 0 0 x y 0 0 20"} {
		if _, _, err := parseStat(bad); err == nil {
			t.Errorf("%q was understood", bad)
		}
	}
}

func TestSpecHoldsWhatIsAskedFor(t *testing.T) {
	s, err := spec("fifty0", "argosy-image-test/prog:1", 50)
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "fifty0" || len(s.Containers) != 1 || len(s.Stacks) != 1 {
		t.Errorf("%v", s)
	}
}
