package core_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
)

// Each file in testdata/units is a conversation with one cluster whose machines run units:
//
//	machines          as in testdata/forecast; systemd=no is one that cannot run units
//	apply, plan       the input is a manifest; remedies is the plan's forecast
//	slow, quick NAME  the machine removes nothing, or removes again
//	lose, back NAME   the machine is silent until it is lost, or is heard of again
//	delete APP
//	ps                each replica: its machine, its state, what it waits for
//	told NAME         what the machine was told to run and to remove
func TestUnitTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/units", func(t *testing.T, path string) {
		w := newTown(t)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "machines":
				for line := range strings.SplitSeq(d.Input, "\n") {
					m := machineFrom(t, line)
					if m.SystemdVersion = "252"; m.Labels["systemd"] == "no" {
						m.SystemdVersion = ""
					}
					w.join(m)
				}
			case "apply":
				w.apply(specFrom(t, d.Input))
			case "plan":
				var b strings.Builder
				for _, c := range w.ahead(specFrom(t, d.Input)).Changes {
					fmt.Fprintf(&b, "%s %s>%s: %s\n", state.KeyOf(c.Key), c.FromMachine, c.ToMachine, c.GetReason().GetSummary())
				}
				return b.String()
			case "remedies":
				return forecastText(w.ahead(specFrom(t, d.Input)))
			case "slow":
				w.slow[d.CmdArgs[0].Key] = true
			case "quick":
				id := d.CmdArgs[0].Key
				w.slow[id] = false
				w.receive(w.sessions[id], &argosyv1.Report{Replicas: w.owed[id]})
				delete(w.owed, id)
				w.settle()
			case "lose":
				w.lose(d.CmdArgs[0].Key)
			case "back":
				w.back(d.CmdArgs[0].Key)
			case "delete":
				app := w.view().App("default", d.CmdArgs[0].Key)
				app = &argosyv1.App{Tenant: app.Tenant, Name: app.Name, Uid: app.Uid, Revision: app.Revision, IncarnationFloor: app.IncarnationFloor, Deleting: true}
				w.put(store.AppKey("default", app.Name), app)
				w.settle()
			case "ps":
				return psText(w)
			case "told":
				return toldText(w, d.CmdArgs[0].Key)
			default:
				t.Fatalf("unknown command %s", d.Cmd)
			}
			return ""
		})
	})
}

func psText(w *town) string {
	var b strings.Builder
	for _, s := range w.view().Statuses("", "") {
		r := s.Replica
		fmt.Fprintf(&b, "%s i%d", state.KeyOf(r.Key), r.Incarnation)
		if r.Machine != "" {
			fmt.Fprintf(&b, " on %s", r.Machine)
		}
		fmt.Fprintf(&b, " %s", strings.ToLower(strings.TrimPrefix(s.State.String(), "REPLICA_STATE_")))
		for _, p := range r.Past {
			fmt.Fprintf(&b, ", i%d leaves %s: %s", p.Incarnation, p.Machine, p.Why)
		}
		if s.Message != "" {
			b.WriteString(": " + s.Message)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func toldText(w *town, machine string) string {
	var b strings.Builder
	for _, k := range w.c.Assigned(machine) {
		if a := w.c.Assignment(machine, k); a != nil {
			fmt.Fprintf(&b, "%s i%d %s\n", k, a.Incarnation, strings.ToLower(strings.TrimPrefix(a.Goal.String(), "REPLICA_GOAL_")))
		}
	}
	return b.String()
}

// TestDisplacingEnds: whatever replaces what, and whatever happens to machines, it comes to rest, and no machine has a unit beside
// one that it replaces or conflicts with (invariants 3 and 6).
func TestDisplacingEnds(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e"}
	rapid.Check(t, func(t *rapid.T) {
		w := newTown(t)
		for i := range 3 {
			w.join(&argosyv1.Machine{Id: fmt.Sprint("m", i), Name: fmt.Sprint("m", i), BootId: "b", SystemdVersion: "252",
				Labels: map[string]string{}, Capacity: &argosyv1.Capacity{CpuMilli: 4000, Memory: 4 << 30}})
		}
		rules, lost := map[string][]string{}, ""
		for range rapid.IntRange(1, 12).Draw(t, "changes") {
			switch rapid.IntRange(0, 5).Draw(t, "change") {
			case 0:
				if lost == "" {
					lost = fmt.Sprint("m", rapid.IntRange(0, 2).Draw(t, "lost"))
					w.lose(lost)
				} else {
					w.back(lost)
					lost = ""
				}
			default:
				name := rapid.SampledFrom(names).Draw(t, "name")
				kind := rapid.SampledFrom([]string{"Replaces", "Replaces", "Conflicts"}).Draw(t, "kind")
				others := rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 2, rapid.ID[string]).Draw(t, "others")
				unit := "[Service]\nExecStart=/bin/true\n[X-Fleet]\n"
				rules[name] = nil
				for _, o := range others {
					if o != name {
						unit += kind + "=" + o + ".service\n"
						rules[name] = append(rules[name], o)
					}
				}
				if m := rapid.IntRange(0, 5).Draw(t, "where"); m < 3 {
					unit += fmt.Sprintf("MachineMetadata=machine=m%d\n", m)
				}
				w.apply(&argosyv1.AppSpec{Name: name, Units: []*argosyv1.Unit{{Name: name + ".service", Content: unit}},
					Stacks: []*argosyv1.StackSpec{{Name: "u", Units: []string{name + ".service"}}}, Cluster: []*argosyv1.ClusterEntry{{Stack: "u", Count: 1}}})
			}
			at := map[string]string{}
			for _, r := range w.view().Replicas("default") {
				at[r.Key.App] = r.Machine
				app := w.view().App("default", r.Key.App)
				if r.Revision != app.Revision { // it waits for a place that its new rules allow, and says so
					delete(at, r.Key.App)
				}
			}
			for name, others := range rules {
				for _, o := range others {
					if at[name] != "" && at[name] == at[o] {
						t.Fatalf("%s is on %s beside %s, which it keeps away", name, at[name], o)
					}
				}
			}
		}
	})
}
