package report

import (
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write what is expected anew")

// sample has everything that results can have: several rounds, one that did not finish, a contestant that never did, and one
// whose title needs escaping.
func sample() Results {
	r := Results{
		Begun: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), Seconds: 754, Sizes: []int{1, 50}, Rounds: 3,
		Machine:     Machine{CPUs: 2, CPU: "Some <CPU>", Memory: 8_200_000_000, Kernel: "6.1", OS: "Debian", Engine: "20.10.24", Storage: "overlay2", Argosy: "v0-1", LoadBefore: "0.10", LoadAfter: "1.90"},
		Contestants: []Contestant{{"argosy", "Argosy", "argosy apply"}, {"bare", "docker run", "50 at a time"}, {"x", "A & <B>", "never \"done\""}},
	}
	for round := 1; round <= 3; round++ {
		for _, n := range []int{1, 50} {
			k := float64(n * round)
			r.Runs = append(r.Runs,
				Run{Contestant: "argosy", N: n, Round: round, Manager: 90e6 + int64(k), Dockerd: 80e6, Command: 31e6,
					Up: Leg{Seconds: 0.2 + k/10, CPU: 0.5 + k/5, Manager: 0.1, Dockerd: 0.2 + k/20}, Down: Leg{Seconds: k / 20, CPU: k / 10}},
				Run{Contestant: "bare", N: n, Round: round, Dockerd: 81e6, Command: 42e6,
					Up: Leg{Seconds: 0.1 + k/9, CPU: 0.5 + k/4, Manager: k / 30, Dockerd: 0.2 + k/20}, Down: Leg{Seconds: k / 15, CPU: k / 9}},
				Run{Contestant: "x", N: n, Round: round, Up: Leg{Failed: "did not finish in 110 s: <17> containers there"}})
		}
	}
	r.Runs[3].Down.Failed = "did not end" // of argosy, with 50 in the first round
	return r
}

func TestGolden(t *testing.T) {
	r := sample()
	var terminal strings.Builder
	if err := WriteTable(&terminal, r); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]string{"page.html": string(Page(r)), "table.md": Markdown(r), "table.txt": terminal.String()} {
		path := filepath.Join("testdata", name)
		if *rewrite {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s is another; judge the difference after: go test ./test/bench/report -rewrite && git diff", path)
		}
	}
}

func TestPageStandsAlone(t *testing.T) {
	page := string(Page(sample()))
	for _, bad := range []string{"http:", "https:", "<script", "url(", "@import", "<link", "A & <B>", "<17>", "ZgotmplZ", "NaN", "Inf"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page contains %q", bad)
		}
	}
	for _, word := range []string{"A &amp; &lt;B&gt;", "did not finish in 110 s", "did not end", "seconds", "megabytes"} {
		if !strings.Contains(page, word) {
			t.Errorf("the page does not contain %q", word)
		}
	}
	if len(Page(Results{})) == 0 {
		t.Error("results without anything have no page")
	}
}

func TestSummary(t *testing.T) {
	r := sample()
	s := r.Summary(Running, "argosy", 50)
	if s.Count != 3 || s.Failed != 0 || s.Min != 5.2 || s.Median != 10.2 || s.Max != 15.2 {
		t.Errorf("running: %+v", s)
	}
	if s := r.Summary(Gone, "argosy", 50); s.Count != 2 || s.Failed != 1 || s.Median != 6.25 {
		t.Errorf("gone: %+v", s)
	}
	if s := r.Summary(Running, "x", 50); s.Count != 0 || s.Failed != 3 || s.Median != 0 {
		t.Errorf("never running: %+v", s)
	}
	if s := r.Summary(Running, "nobody", 50); s.Count != 0 || s.Failed != 0 {
		t.Errorf("of nobody: %+v", s)
	}
	s = r.Summary(Spent, "bare", 50)
	if sum := s.Parts[0] + s.Parts[1] + s.Parts[2]; len(s.Parts) != 3 || math.Abs(sum-s.Median) > 1e-9 {
		t.Errorf("parts %v do not add up to %v", s.Parts, s.Median)
	}
}

func TestRatios(t *testing.T) {
	r := sample()
	got := r.Ratios(Running, "argosy", "bare", 50)
	if len(got) != 3 || fmt.Sprintf("%.3f", got[0]) != "0.919" {
		t.Errorf("%v", got)
	}
	if got := r.Ratios(Running, "argosy", "x", 50); got != nil {
		t.Errorf("against one that never finished: %v", got)
	}
	if got := r.Ratios(Gone, "argosy", "bare", 50); len(got) != 2 {
		t.Errorf("a round that did not finish counts: %v", got)
	}
}

func TestMedian(t *testing.T) {
	for _, tc := range []struct {
		values []float64
		want   float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 3, 2}, 2.5}} {
		before := slices.Clone(tc.values)
		if got := Median(tc.values); got != tc.want || !slices.Equal(before, tc.values) {
			t.Errorf("median of %v is %v, want %v", before, got, tc.want)
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0.00", 0.123: "0.12", 9.949: "9.95", 9.96: "10.0", 47.26: "47.3", 99.6: "100", 1234.5: "1234"} {
		if got := number(v, ""); got != want {
			t.Errorf("%v is written %s, want %s", v, got, want)
		}
	}
}

func TestTickStep(t *testing.T) {
	for largest, want := range map[float64]float64{0: 1, -1: 1, math.Inf(1): 1, math.NaN(): 1, 1: 0.5, 3.9: 1, 4.1: 2, 17: 5, 20: 5, 21: 10, 100: 50, 0.02: 0.005} {
		if got := tickStep(largest); math.Abs(got-want) > 1e-12 {
			t.Errorf("up to %v in steps of %v, want %v", largest, got, want)
		}
	}
}

func TestWriteAndRead(t *testing.T) {
	dir := t.TempDir()
	r := sample()
	if err := Write(dir, r); err != nil {
		t.Fatal(err)
	}
	again, err := Read(filepath.Join(dir, ResultsFile))
	if err != nil {
		t.Fatal(err)
	}
	if Markdown(again) != Markdown(r) || string(Page(again)) != string(Page(r)) {
		t.Error("what was read gives another page than what was written")
	}
	for _, name := range []string{PageFile, TableFile} {
		if raw, err := os.ReadFile(filepath.Join(dir, name)); err != nil || len(raw) == 0 {
			t.Errorf("%s: %d bytes, %v", name, len(raw), err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "bad"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(filepath.Join(dir, "bad")); err == nil {
		t.Error("half a file was read")
	}
}
