package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// maxNamed is how many stacks one line of a forecast names; the rest is counted.
const maxNamed = 6

// showForecast prints what would follow a plan, a line for each thing worth knowing.
func (a *app) showForecast(f *argosyv1.Forecast) error {
	if f == nil {
		return nil
	}
	t := &table{}
	for _, s := range f.Shortfalls[:min(len(f.Shortfalls), maxNamed)] {
		t.add(cell{"  does not fit", red}, text(numbered(s.Stack, s.Numbers)+": "+whyShort(s)))
		for i, r := range s.Remedies[:min(len(s.Remedies), 3)] {
			word := "  or"
			if i == 0 {
				word = "  smallest change"
			}
			t.add(text(word), text(r.Text))
		}
	}
	if n := len(f.Shortfalls) - maxNamed; n > 0 {
		t.add(cell{"  does not fit", red}, text(plural(uint32(n), "more stack")+": -o json names them"))
	}
	for _, label := range lossLabels(f) {
		for _, line := range survivalOf(f, label) {
			t.add(text("  "+lossName(label)), line)
		}
	}
	if line := headroomOf(f.Headroom); line != "" {
		t.add(text("  room for"), text(line))
	}
	for _, s := range f.LeftOut {
		t.add(cell{"  left out", yellow}, text(s))
	}
	if t.n == 0 {
		return nil
	}
	fmt.Fprintln(a.sys.Out, "\nForecast")
	return t.write(a.sys.Out, a.colorful(a.sys.Out), false)
}

// numbered names replicas of a stack: lamp.3, lamp.4 and 5 more.
func numbered(stack string, numbers []uint32) string {
	const most = 4
	var names []string
	for _, n := range numbers[:min(len(numbers), most)] {
		names = append(names, stack+"."+strconv.FormatUint(uint64(n), 10))
	}
	out := strings.Join(names, ", ")
	if more := len(numbers) - most; more > 0 {
		out += fmt.Sprintf(" and %d more", more)
	}
	return out
}

func whyShort(s *argosyv1.Shortfall) string {
	var parts []string
	if n := s.Nearest; n != nil {
		parts = append(parts, fmt.Sprintf("nearest is %s, %s", n.Machine, n.Text))
	}
	if s.Machines == 0 {
		parts = append(parts, "no machine has joined the cluster")
	}
	var rules []string
	for _, r := range s.Rules {
		rules = append(rules, fmt.Sprintf("%s %d", r.Rule, r.Machines))
	}
	if len(rules) > 0 && s.Machines > 1 {
		parts = append(parts, "in the way on machines: "+strings.Join(rules, ", "))
	}
	if len(s.Remedies) == 0 && s.Machines > 0 {
		parts = append(parts, "no single change that was tried makes it fit")
	}
	return strings.Join(parts, "; ")
}

// lossLabels lists what the forecast looked at, in its order.
func lossLabels(f *argosyv1.Forecast) []string {
	var out []string
	for _, s := range f.Survival {
		if !slices.Contains(out, s.Label) {
			out = append(out, s.Label)
		}
	}
	return out
}

func lossName(label string) string { return "loss of any one " + label }

// survivalOf says which stacks survive any loss, and of the others what is worst.
func survivalOf(f *argosyv1.Forecast, label string) []cell {
	var survive []string
	var lines []cell
	failing := 0
	for _, s := range f.Survival {
		switch {
		case s.Label != label || s.Losses == 0:
		case s.Survives:
			survive = append(survive, s.Stack)
		default:
			if failing++; failing <= maxNamed {
				lines = append(lines, cell{s.Stack + " does not survive: without " + s.Worst + ", " + lossText(s), red})
			}
		}
	}
	if failing > maxNamed {
		lines = append(lines, cell{plural(uint32(failing-maxNamed), "more stack") + " do not survive: -o json names them", red})
	}
	if len(survive) > 0 {
		verb := " survive"
		if len(survive) == 1 {
			verb = " survives"
		}
		lines = append([]cell{{named(survive) + verb, green}}, lines...)
	}
	for _, l := range f.Losses {
		if l.Label == label && l.Halted != "" {
			return append(lines, cell{fmt.Sprintf("without %s nothing is moved: %s", l.Value, l.Halted), yellow})
		}
	}
	return lines
}

func lossText(s *argosyv1.Survival) string {
	l := s.StackLoss
	var parts []string
	add := func(numbers []uint32, one, many string) {
		switch n := len(numbers); n {
		case 0:
		case 1:
			parts = append(parts, "1 "+one)
		default:
			parts = append(parts, fmt.Sprintf("%d %s", n, many))
		}
	}
	add(l.WaitForData, "waits for its data", "wait for their data")
	add(l.DoNotFit, "fits nowhere else", "fit nowhere else")
	add(l.Halted, "is not moved", "are not moved")
	add(l.BelongThere, "waits, since it belongs there", "wait, since they belong there")
	add(l.Moved, "runs elsewhere", "run elsewhere")
	out := strings.Join(parts, ", ") + fmt.Sprintf(" (of %d)", s.Placed)
	if l.Why != "" {
		out += ": " + strings.TrimPrefix(l.Why, "waits: ")
	}
	return out
}

func headroomOf(list []*argosyv1.Headroom) string {
	var parts []string
	for _, h := range list[:min(len(list), maxNamed)] {
		part := fmt.Sprintf("%d more %s", h.More, h.Stack)
		if h.AtLeast {
			part = "more than " + part
		} else if h.Ends != "" {
			part += " (" + h.Ends + ")"
		}
		parts = append(parts, part)
	}
	out := strings.Join(parts, ", ")
	if n := len(list) - maxNamed; n > 0 {
		out += fmt.Sprintf("; -o json has %d others", n)
	}
	return out
}

// named lists names, the first few when there are many.
func named(names []string) string {
	if n := len(names) - maxNamed; n > 1 {
		return strings.Join(names[:maxNamed], ", ") + fmt.Sprintf(" and %d others", n)
	}
	return strings.Join(names, ", ")
}
