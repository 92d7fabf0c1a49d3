package core_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/manifest"
)

// Each file in testdata/forecast is a conversation with one cluster:
//
//	machines            each line of the input: NAME [cpu=CORES] [mem=MIB] [LABEL=VALUE…]; a second time is a change
//	apply               the input is a manifest; answers where its replicas are
//	plan [loss=LABEL]   the input is a manifest; answers what waits, and the forecast
//	lose NAME…          machines are silent until they are lost
func TestForecastTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/forecast", func(t *testing.T, path string) {
		w := newTown(t)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "machines":
				for _, line := range strings.Split(d.Input, "\n") {
					w.join(machineFrom(t, line))
				}
				return ""
			case "apply":
				spec := specFrom(t, d.Input)
				w.apply(spec)
				return placesText(w, spec.Name)
			case "lose":
				for _, a := range d.CmdArgs {
					w.lose(a.Key)
				}
				return ""
			case "plan":
				var labels []string
				for _, a := range d.CmdArgs {
					labels = append(labels, a.Vals...)
				}
				return forecastText(w.ahead(specFrom(t, d.Input), labels...))
			}
			t.Fatalf("unknown command %s", d.Cmd)
			return ""
		})
	})
}

func machineFrom(t *testing.T, line string) *argosyv1.Machine {
	fields := strings.Fields(line)
	m := &argosyv1.Machine{Id: fields[0], Name: fields[0], BootId: "b", Labels: map[string]string{}, Capacity: &argosyv1.Capacity{CpuMilli: 4000, Memory: 4 << 30}}
	for _, f := range fields[1:] {
		k, v, _ := strings.Cut(f, "=")
		n, err := strconv.ParseInt(v, 10, 64)
		switch {
		case k != "cpu" && k != "mem":
			m.Labels[k] = v
		case err != nil:
			t.Fatal(err)
		case k == "cpu":
			m.Capacity.CpuMilli = 1000 * n
		default:
			m.Capacity.Memory = n << 20
		}
	}
	return m
}

func specFrom(t *testing.T, text string) *argosyv1.AppSpec {
	t.Helper()
	spec, _, faults := manifest.Parse([]manifest.File{{Name: "m.yaml", Data: []byte("argosy: v1\n" + text)}}, manifest.Options{})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return spec
}

func placesText(w *town, app string) string {
	var b strings.Builder
	places := w.places(app)
	for _, r := range w.view().Replicas("default") {
		if name := fmt.Sprintf("%s.%d", r.Key.Stack, r.Key.Number); r.Key.App == app {
			fmt.Fprintf(&b, "%s on %s\n", name, places[name])
		}
	}
	return b.String()
}

func forecastText(p *argosyv1.PlanResponse) string {
	var b strings.Builder
	f := p.Forecast
	for _, s := range f.Shortfalls {
		fmt.Fprintf(&b, "%s %v waits: %s of %d machines\n", s.Stack, s.Numbers, rulesText(s.Rules), s.Machines)
		if n := s.Nearest; n != nil {
			fmt.Fprintf(&b, "  nearest %s: %s\n", n.Machine, n.Text)
		}
		for _, r := range s.Remedies {
			fmt.Fprintf(&b, "  %s (gives up %d‰)\n", r.Text, r.GivenUp)
		}
	}
	for _, l := range f.Losses {
		fmt.Fprintf(&b, "without %s %s%s:", l.Label, l.Value, map[bool]string{true: " (halted)"}[l.Halted != ""])
		for _, s := range l.Stacks {
			fmt.Fprintf(&b, " %s", s.Stack)
			for _, of := range []struct {
				word    string
				numbers []uint32
			}{{"moves", s.Moved}, {"waits for data", s.WaitForData}, {"does not fit", s.DoNotFit}, {"belongs there", s.BelongThere}, {"stays", s.Halted}} {
				if len(of.numbers) > 0 {
					fmt.Fprintf(&b, " %s%v", of.word, of.numbers)
				}
			}
			if s.Why != "" {
				fmt.Fprintf(&b, " (%s)", s.Why)
			}
		}
		b.WriteString("\n")
	}
	for _, s := range f.Survival {
		fmt.Fprintf(&b, "%s survives any %s: %v (%d losses, worst %q)\n", s.Stack, s.Label, s.Survives, s.Losses, s.Worst)
	}
	for _, h := range f.Headroom {
		fmt.Fprintf(&b, "room for %d %s", h.More, h.Stack)
		if h.AtLeast {
			b.WriteString(" and more")
		} else {
			fmt.Fprintf(&b, ", then %s: %s", h.Ends, rulesText(h.Rules))
		}
		b.WriteString("\n")
	}
	for _, s := range f.LeftOut {
		fmt.Fprintf(&b, "left out: %s\n", s)
	}
	return b.String()
}

func rulesText(list []*argosyv1.RuleCount) string {
	var parts []string
	for _, r := range list {
		parts = append(parts, fmt.Sprintf("%s %d", r.Rule, r.Machines))
	}
	return strings.Join(parts, ", ")
}
