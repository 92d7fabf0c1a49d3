package check

import (
	"flag"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

var limit = flag.Int("limit", 30000, "")
var only = flag.String("only", "", "")
var story = flag.Bool("story", false, "")

func TestModel(t *testing.T) {
	debug.SetGCPercent(400)
	for _, s := range Scenarios() {
		if !strings.Contains(s.Name, *only) {
			continue
		}
		start := time.Now()
		r := Explore(s, nil, *limit)
		t.Log(r.Tell(), r.Choices, r.Seen, time.Since(start))
		if r.Broken != "" {
			t.Fail()
		}
	}
}

func TestMutants(t *testing.T) {
	debug.SetGCPercent(400)
	for _, m := range Mutants() {
		if !strings.Contains(m.Name, *only) || m.Scenario == "old servers" {
			continue
		}
		start := time.Now()
		r := Explore(Named(m.Scenario), &m, *limit)
		t.Logf("%-55s %s %d %d %s %v", m.Name, r.Scenario, r.States, r.Depth, r.Broken, time.Since(start).Round(time.Millisecond))
		if *story {
			t.Log(r.Tell())
		}
	}
}
