package compose

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/leader/core"
	"github.com/argosy-cluster/argosy/internal/manifest"
	"github.com/argosy-cluster/argosy/internal/store"
)

// waiting are the replicas that have no place on three machines, and a word of the reason.
var waiting = map[string]string{
	"swarm-stack/vote.2": "port 5000",
}

// TestProjectsArePlanned has a leader with three machines say where each replica of each project would go.
func TestProjectsArePlanned(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	leader := threeMachines(t, now)
	for _, p := range projects(t) {
		if !p.opts.Partial {
			p.opts.Partial = true // what is refused is judged by the golden files
		}
		t.Run(p.name, func(t *testing.T) {
			t.Chdir(filepath.Join("testdata/projects", p.name))
			res := p.run(t)
			if res.Manifest == nil {
				t.Fatal(res.Faults.Err())
			}
			lookup := func(name string) (string, bool) {
				if v, ok := p.env[name]; ok {
					return v, true
				}
				return "1", strings.Contains(string(res.Manifest), "export "+name+"=")
			}
			spec, _, faults := manifest.Parse([]manifest.File{{Name: "argosy.yaml", Data: res.Manifest}}, manifest.Options{LookupEnv: lookup, ReadFile: manifest.FilesBelow})
			if len(faults) > 0 {
				t.Fatal(faults.Err())
			}
			if err := manifest.Verify(spec, manifest.Grants{}); err != nil {
				t.Errorf("a server would refuse it: %v", err)
			}
			plan, err := leader.View(now).Plan("default", spec)
			if err != nil {
				t.Fatal(err)
			}
			placed(t, p.name, spec, plan)
		})
	}
}

func placed(t *testing.T, project string, spec *argosyv1.AppSpec, plan *argosyv1.PlanResponse) {
	t.Helper()
	want := 0
	for _, e := range spec.GetCluster() {
		if e.GetEachMachine() {
			want += 3
		}
		want += int(e.GetCount())
	}
	if len(plan.GetChanges()) != want {
		t.Errorf("the plan has %d replicas, want %d", len(plan.GetChanges()), want)
	}
	for _, c := range plan.GetChanges() {
		name := fmt.Sprintf("%s/%s.%d", project, c.GetKey().GetStack(), c.GetKey().GetNumber())
		why := c.GetReason().GetSummary() + strings.Join(c.GetDetails(), "; ")
		if word, waits := waiting[name]; waits {
			if c.GetToMachine() != "" || !strings.Contains(why, word) {
				t.Errorf("%s should wait for %s: %s %s", name, word, c.GetToMachine(), why)
			}
			continue
		}
		if c.GetKind() != argosyv1.ChangeKind_CHANGE_KIND_CREATE || !slices.Contains([]string{"m1", "m2", "m3"}, c.GetToMachine()) {
			t.Errorf("%s has no place: %s %s", name, c.GetKind(), why)
		}
	}
}

// threeMachines is a leader with machines that are there and have room.
func threeMachines(t *testing.T, now time.Time) *core.Core {
	t.Helper()
	snap := store.Snapshot{Revision: 1}
	for i := 1; i <= 3; i++ {
		id := fmt.Sprintf("m%d", i)
		op, err := store.Put(store.MachineKey(id), &argosyv1.Machine{Id: id, Name: id, Subnet: fmt.Sprintf("10.64.%d.0/24", i), BootId: "b",
			Labels:   map[string]string{"zone": "edge", "rack": id, "tier": "web", "ssd": "yes"},
			Capacity: &argosyv1.Capacity{CpuMilli: 32000, Memory: 64 << 30}})
		if err != nil {
			t.Fatal(err)
		}
		snap.KVs = append(snap.KVs, store.KV{Key: op.Key, Value: op.Value})
	}
	c := core.New(now, core.Config{Term: 1, Number: 1}, snap)
	for i := 1; i <= 3; i++ {
		s, refusal := c.Open(now, fmt.Sprintf("m%d", i), &argosyv1.Hello{BootId: "b", SessionId: "s"})
		if refusal != nil {
			t.Fatal(refusal)
		}
		report := &argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Report{Report: &argosyv1.Report{Full: true}}}
		if err := c.Receive(now, s, report); err != nil {
			t.Fatal(err)
		}
	}
	revision := int64(1)
	for units := c.Step(now); len(units) > 0; units = c.Step(now) {
		for _, tx := range c.Pack(units) {
			revision++
			c.Committed(now, revision, tx)
		}
	}
	return c
}
