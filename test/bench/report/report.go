package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Results are everything that was measured, as results.json keeps it.
type Results struct {
	Begun       time.Time    `json:"begun"`
	Seconds     float64      `json:"seconds"` // in all
	Machine     Machine      `json:"machine"`
	Sizes       []int        `json:"sizes"`
	Rounds      int          `json:"rounds"`
	Contestants []Contestant `json:"contestants"` // in the order in which they are shown
	Runs        []Run        `json:"runs"`        // in the order in which they were made
	// Fresh counts by contestant how often its machine was made anew, because something had not finished.
	Fresh map[string]int `json:"fresh"`
}

// Contestant is one way to run containers.
type Contestant struct {
	Key   string `json:"key"`
	Title string `json:"title"`
	About string `json:"about"` // what is typed, and what differs
}

// Machine is what all was measured on.
type Machine struct {
	CPUs       int    `json:"cpus"`
	CPU        string `json:"cpu"`
	Memory     int64  `json:"memory"`
	Kernel     string `json:"kernel"`
	OS         string `json:"os"`
	Engine     string `json:"engine"`
	Storage    string `json:"storage"`
	Cgroups    string `json:"cgroups"`
	Argosy     string `json:"argosy"`
	LoadBefore string `json:"loadBefore"`
	LoadAfter  string `json:"loadAfter"`
}

// Run is one contestant once with N containers.
type Run struct {
	Contestant string `json:"contestant"`
	N          int    `json:"n"`
	Round      int    `json:"round"`
	Up         Leg    `json:"up"`
	Down       Leg    `json:"down"`
	// Bytes: of the processes that manage and stay, of dockerd, and of the largest command that was typed, at its peak.
	Manager int64 `json:"manager"`
	Dockerd int64 `json:"dockerd"`
	Command int64 `json:"command"`
}

// Leg is half a run: to all running, or to all gone. Times are seconds.
type Leg struct {
	Seconds float64 `json:"seconds"`
	Command float64 `json:"command"` // until what was typed had returned
	// CPU is of everything in the machine; Manager is of what manages, with what was typed; Dockerd is dockerd's.
	CPU     float64 `json:"cpu"`
	Manager float64 `json:"manager"`
	Dockerd float64 `json:"dockerd"`
	// Failed says what did not happen, empty when all did. The numbers mean nothing then.
	Failed string `json:"failed,omitempty"`
}

// Failed says whether a part of the run did not happen.
func (r Run) Failed() bool { return r.Up.Failed != "" || r.Down.Failed != "" }

// String tells of a run in a line.
func (r Run) String() string {
	switch {
	case r.Up.Failed != "":
		return r.Up.Failed
	case r.Down.Failed != "":
		return fmt.Sprintf("running in %s; then %s", number(r.Up.Seconds, "s"), r.Down.Failed)
	}
	return fmt.Sprintf("running in %s, gone in %s, %s and %s of cpu", number(r.Up.Seconds, "s"), number(r.Down.Seconds, "s"), number(r.Up.CPU, "s"), number(r.Down.CPU, "s"))
}

// Measure is something that was measured of every run.
type Measure struct {
	Name, Unit string
	About      string
	// value is of one run; ok is false when it means nothing.
	value func(Run) (v float64, ok bool)
	// parts split the value, if it is made of some; they add up to it.
	parts []part
}

type part struct {
	name  string
	value func(Run) float64
}

const mega = 1e6

// The measures, in the order in which they are shown.
var (
	Running = Measure{
		Name: "Time to all running", Unit: "s",
		About: "From the command to the moment at which the Engine started the last container, by the Engine's own events.",
		value: func(r Run) (float64, bool) { return r.Up.Seconds, r.Up.Failed == "" },
	}
	Spent = Measure{
		Name: "Processor time until all ran", Unit: "s",
		About: "Of everything in the machine, up to a second after the last container ran, in three parts: what manages, with the commands that were typed; dockerd; and the rest, which is containerd, its shims, runc and the containers. Swarm manages inside dockerd.",
		value: func(r Run) (float64, bool) { return r.Up.CPU, r.Up.Failed == "" },
		parts: []part{
			{"manager and commands", func(r Run) float64 { return r.Up.Manager }},
			{"dockerd", func(r Run) float64 { return r.Up.Dockerd }},
			{"containerd, shims, containers", func(r Run) float64 { return max(0, r.Up.CPU-r.Up.Manager-r.Up.Dockerd) }},
		},
	}
	Memory = Measure{
		Name: "Memory while all run", Unit: "MB",
		About: "Resident, shared pages counted in parts: what manages and stays, and dockerd, which is what manages with Swarm. Nothing of docker run or of Compose stays; the table below says what the largest of their commands took while it ran.",
		value: func(r Run) (float64, bool) { return float64(r.Manager+r.Dockerd) / mega, r.Up.Failed == "" },
		parts: []part{
			{"manager", func(r Run) float64 { return float64(r.Manager) / mega }},
			{"dockerd", func(r Run) float64 { return float64(r.Dockerd) / mega }},
		},
	}
	Command = Measure{
		Name: "Memory of the largest command", Unit: "MB",
		value: func(r Run) (float64, bool) { return float64(r.Command) / mega, r.Up.Failed == "" },
	}
	Gone = Measure{
		Name: "Time to all gone", Unit: "s",
		About: "From the command to the moment at which the Engine had removed the last container.",
		value: func(r Run) (float64, bool) { return r.Down.Seconds, !r.Failed() },
	}
	SpentEnding = Measure{
		Name: "Processor time until all were gone", Unit: "s",
		value: func(r Run) (float64, bool) { return r.Down.CPU, !r.Failed() },
	}
)

// Summary is what several runs of the same kind gave.
type Summary struct {
	Median, Min, Max float64
	Count            int       // runs that count
	Failed           int       // runs that did not get there
	Parts            []float64 // medians, scaled so that they add up to Median
}

// Summary of a measure for one contestant with n containers.
func (r Results) Summary(m Measure, contestant string, n int) Summary {
	var s Summary
	var values []float64
	parts := make([][]float64, len(m.parts))
	for _, run := range r.Runs {
		if run.Contestant != contestant || run.N != n {
			continue
		}
		v, ok := m.value(run)
		if !ok {
			s.Failed++
			continue
		}
		values = append(values, v)
		for i, p := range m.parts {
			parts[i] = append(parts[i], p.value(run))
		}
	}
	if s.Count = len(values); s.Count == 0 {
		return s
	}
	s.Median, s.Min, s.Max = Median(values), slices.Min(values), slices.Max(values)
	total := 0.0
	for _, p := range parts {
		s.Parts = append(s.Parts, Median(p))
		total += s.Parts[len(s.Parts)-1]
	}
	for i := range s.Parts {
		if total > 0 {
			s.Parts[i] *= s.Median / total
		}
	}
	return s
}

// Ratios are of the runs of two contestants in the same round, where both count.
func (r Results) Ratios(m Measure, one, other string, n int) []float64 {
	value := func(contestant string, round int) (float64, bool) {
		for _, run := range r.Runs {
			if run.Contestant == contestant && run.N == n && run.Round == round {
				v, ok := m.value(run)
				return v, ok && v > 0
			}
		}
		return 0, false
	}
	var out []float64
	for round := 1; round <= r.Rounds; round++ {
		a, okA := value(one, round)
		b, okB := value(other, round)
		if okA && okB {
			out = append(out, a/b)
		}
	}
	return out
}

// Median of at least one value.
func Median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	n := len(s)
	if n%2 == 1 {
		return s[n/2]
	}
	return (s[n/2-1] + s[n/2]) / 2
}

// number writes a value with as many digits as say something.
func number(v float64, unit string) string {
	var s string
	switch {
	case v >= 99.5:
		s = fmt.Sprintf("%.0f", v)
	case v >= 9.95:
		s = fmt.Sprintf("%.1f", v)
	default:
		s = fmt.Sprintf("%.2f", v)
	}
	return strings.TrimSpace(s + " " + unit)
}

// Names of the files that Write writes.
const (
	ResultsFile = "results.json"
	PageFile    = "index.html"
	TableFile   = "table.md"
)

// Write writes results into dir, for programs and for people.
func Write(dir string, r Results) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, ResultsFile), append(raw, '\n'), 0o644),
		os.WriteFile(filepath.Join(dir, PageFile), Page(r), 0o644),
		os.WriteFile(filepath.Join(dir, TableFile), []byte(Markdown(r)), 0o644),
	)
}

// Read reads the results that Write wrote.
func Read(path string) (Results, error) {
	var r Results
	raw, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return r, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}
