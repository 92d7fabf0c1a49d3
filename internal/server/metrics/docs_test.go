package metrics

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
)

var rewrite = flag.Bool("rewrite", false, "write the table in docs/metrics.md anew")

const (
	docsFile   = "../../../docs/metrics.md"
	tableBegin = "<!-- Made from the metrics themselves: go test ./internal/server/metrics -run Docs -rewrite -->\n"
	tableEnd   = "<!-- end -->\n"
)

func table(t *testing.T) string {
	t.Helper()
	own, err := Names()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("\n| metric | kind | labels | what it is |\n|---|---|---|---|\n")
	for _, f := range own {
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.GetName(), strings.ToLower(dto.MetricType_name[int32(f.GetType())]), strings.Join(labels, ", "), f.GetHelp())
	}
	return b.String() + "\n"
}

func TestDocs(t *testing.T) {
	raw, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(raw), tableBegin)
	have, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", docsFile)
	}
	want := table(t)
	if *rewrite {
		if err := os.WriteFile(docsFile, []byte(before+tableBegin+want+tableEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("%s is not what the metrics are; run it with -rewrite:\n%s", docsFile, diff)
	}
}

// TestExamples: the dashboard and the rules ask for nothing that there is not.
func TestExamples(t *testing.T) {
	own, err := Names()
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, f := range own {
		there[f.GetName()] = true
		if f.GetType() == dto.MetricType_HISTOGRAM {
			for _, part := range []string{"_bucket", "_sum", "_count"} {
				there[f.GetName()+part] = true
			}
		}
	}
	name := regexp.MustCompile(`\bargosy_[a-z_]+`)
	for _, file := range []string{"../../../docs/metrics/dashboard.json", "../../../docs/metrics/alerts.yaml"} {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found := name.FindAllString(string(raw), -1)
		if len(found) < 10 {
			t.Errorf("%s names only %d metrics", file, len(found))
		}
		for _, n := range found {
			if !there[n] {
				t.Errorf("%s asks for %s, which no server tells", file, n)
			}
		}
	}
}
