package scheduler

import (
	"fmt"
	"strings"

	"github.com/argosy-cluster/argosy/internal/placement"
)

// Cause is why a machine cannot take a replica: the first of its faults in the
// order of these constants.
type Cause uint8

const (
	CauseNone Cause = iota
	CauseUnknown
	CauseLost
	CauseUnreachable
	CauseHung
	CauseUnconnected
	CauseDraining
	CausePin // pinned to another machine; only in verdicts
	CauseRequire
	CauseTogether
	CauseApart
	CausePort
	CauseUnit
	CauseCPU
	CauseMemory
	causes
)

var causeNames = [causes]string{"fits", "unknown", "lost", "unreachable", "engine", "network", "draining", "pin", "require", "together", "apart", "port", "unit", "cpu", "memory"}

// String is a word for programs: "require", "memory".
func (c Cause) String() string {
	if c < causes {
		return causeNames[c]
	}
	return fmt.Sprintf("cause %d", uint8(c))
}

// summary finishes "12 …" for a number of machines.
var summary = [causes]string{
	CauseUnknown: "no such machine", CauseLost: "lost", CauseUnreachable: "unreachable", CauseHung: "with a silent Docker Engine",
	CauseUnconnected: "without a network for containers", CauseDraining: "draining",
	CausePin:     "not where it is pinned to",
	CauseRequire: "not meeting a requirement", CauseTogether: "without a stack it goes together with",
	CauseApart: "with a stack it stays apart from", CausePort: "with a port taken",
	CauseUnit: "with a unit that it cannot be beside",
	CauseCPU:  "short of cpu", CauseMemory: "short of memory",
}

// MaxNear is how many rejected machines a reason names.
const MaxNear = 4

// Miss is why one machine cannot take a replica.
type Miss struct {
	Machine string    // name
	Cause   Cause     // never CauseNone
	Short   Resources // what is missing, for CauseCPU and CauseMemory
	// Detail holds more: a placement.Mismatch for CauseRequire, a Neighbour for
	// CauseTogether and CauseApart, a Holder for CausePort, a UnitClash for
	// CauseUnit, an Elsewhere for CausePin, otherwise nil.
	Detail fmt.Stringer
}

// Neighbour is a stack whose replica should be on a machine, or should not.
// Stacks of other tenants are not named.
type Neighbour struct {
	Stack   Stack
	Foreign bool // it belongs to another tenant; Stack is zero
	Missing bool // it should be there and is not
	Asks    bool // it is the other stack that wants to be apart
}

// Holder is who has a host port. Replicas of other tenants are not named.
type Holder struct {
	Port    Port
	Replica Replica
	Foreign bool   // a replica of another tenant; Replica is zero
	Outside string // something outside Argosy; Replica is zero
}

// name is the stack, where it may be named.
func (n Neighbour) name() string {
	if n.Foreign {
		return "another tenant's stack"
	}
	return n.Stack.String()
}

func (n Neighbour) String() string {
	name := n.name()
	switch {
	case n.Missing:
		return name + " is not there to go together with"
	case n.Asks:
		return name + " is there and wants to be apart"
	default:
		return name + " is there, to stay apart from"
	}
}

func (h Holder) String() string {
	by := h.Outside
	switch {
	case h.Foreign:
		by = "another tenant's replica"
	case by == "" && h.Replica == (Replica{}):
		by = "something outside Argosy"
	case by == "":
		by = h.Replica.String()
	}
	return fmt.Sprintf("port %s taken by %s", h.Port, by)
}

// String is for example "m1: memory 120 MiB short".
func (m Miss) String() string { return m.Machine + ": " + m.Text() }

// Text is String without the machine.
func (m Miss) Text() string {
	if m.Detail != nil {
		return m.Detail.String()
	}
	if m.Cause != CauseCPU && m.Cause != CauseMemory {
		return summary[min(m.Cause, causes-1)]
	}
	var parts []string
	if m.Short.CPU > 0 {
		parts = append(parts, "cpu "+FormatCPU(m.Short.CPU)+" short")
	}
	if m.Short.Memory > 0 {
		parts = append(parts, "memory "+FormatMemory(m.Short.Memory)+" short")
	}
	return strings.Join(parts, ", ")
}

// FormatCPU spells thousandths of a core as cores: "0.25", "2".
func FormatCPU(milli int64) string {
	s := fmt.Sprintf("%d.%03d", milli/1000, milli%1000)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// FormatMemory spells bytes in the largest unit that leaves at least 10 of it,
// or divides them, rounded up: "120 MiB", "2 GiB", "4 KiB".
func FormatMemory(b int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	u, size := 0, int64(1)
	for u+1 < len(units) && (b >= 10*size<<10 || b >= size<<10 && b%(size<<10) == 0) {
		u++
		size <<= 10
	}
	n := b / size
	if b%size != 0 {
		n++
	}
	return fmt.Sprintf("%d %s", n, units[u])
}

// RequireCount is how many machines fail one require of the shape first.
type RequireCount struct {
	Require  placement.Expr
	Machines int
}

// Rejections sums up the machines that could not take a replica. It is shared
// by decisions and never changes.
type Rejections struct {
	Machines int // all machines known, those that fit included
	Counts   [causes]int32
	Require  []RequireCount // in the shape's order, only those that reject any
	Near     []Miss         // those nearest to fitting, at most MaxNear
}

// Count is how many machines were rejected for one cause.
func (r *Rejections) Count(c Cause) int {
	if c >= causes {
		return 0
	}
	return int(r.Counts[c])
}

// Total is how many machines were rejected.
func (r *Rejections) Total() (n int) {
	for _, c := range r.Counts {
		n += int(c)
	}
	return n
}

// Wait is what an unplaced replica waits for.
type Wait uint8

const (
	WaitNone     Wait = iota // it was placed
	WaitMachines             // no machine is known
	WaitFit                  // no machine fits: see Rejected
	WaitPin                  // the machine it is pinned to does not fit, or is not known: see Rejected
	WaitTogether             // a stack that it goes together with is placed nowhere: see Missing
)

// Reason is why a replica was placed where it was, or waits. It holds numbers
// and shared references; String makes the text.
type Reason struct {
	Machine    string // name of the chosen machine; the pin for WaitPin
	Wait       Wait
	Fit        int         // machines that could take it, the chosen one included
	Load       int         // thousandths of the chosen machine in use before
	Preference int         // sum of the preferences that held
	Pinned     string      // why it is pinned; "" if it is not
	Missing    []Stack     // for WaitTogether: the stacks that are placed nowhere
	Rejected   *Rejections // never nil

	shape  *Shape
	labels map[string]string
	counts [maxSpreadShown]int32
}

// maxSpreadShown is how many spread keys a reason can show; all of them decide.
const maxSpreadShown = 4

// SpreadCount is how many replicas of the stack were in the chosen machine's
// domain of one spread key before this one.
type SpreadCount struct {
	Key      string
	Value    string // the label's value or the machine's name
	Has      bool   // false if the machine has no such label
	Replicas int
}

// String is for example "1 in rack a".
func (c SpreadCount) String() string {
	switch {
	case c.Key == SpreadMachine:
		return fmt.Sprintf("%d on machine %s", c.Replicas, c.Value)
	case c.Has:
		return fmt.Sprintf("%d in %s %s", c.Replicas, c.Key, c.Value)
	default:
		return fmt.Sprintf("%d without %s", c.Replicas, c.Key)
	}
}

// spreadText is for example "spread: 0 on machine m2, 1 in rack a".
func spreadText(counts []SpreadCount) []string {
	if len(counts) == 0 {
		return nil
	}
	texts := make([]string, len(counts))
	for i, c := range counts {
		texts[i] = c.String()
	}
	return []string{"spread: " + strings.Join(texts, ", ")}
}

// Spread lists what the spread keys counted, the first four at most.
func (r *Reason) Spread() []SpreadCount {
	if r.shape == nil || r.Wait != WaitNone {
		return nil
	}
	keys := r.shape.Spread[:min(len(r.shape.Spread), maxSpreadShown)]
	counts := make([]SpreadCount, len(keys))
	for i, k := range keys {
		counts[i] = spreadCount(k, r.Machine, r.labels, r.counts[i])
	}
	return counts
}

func spreadCount(key, machine string, labels map[string]string, n int32) SpreadCount {
	c := SpreadCount{Key: key, Replicas: int(n)}
	if c.Value, c.Has = labels[key]; key == SpreadMachine {
		c.Value, c.Has = machine, true
	}
	return c
}

// String is one line, for example
// "placed on m2: 3 fit; least loaded (12% used); m1: memory 120 MiB short".
func (r *Reason) String() string {
	var parts []string
	switch r.Wait {
	case WaitNone:
		parts = r.placed()
	case WaitMachines:
		return "waits: no machine has joined the cluster"
	case WaitPin:
		parts = append(parts, "waits for "+r.Machine+": "+r.Pinned)
	case WaitTogether:
		names := make([]string, len(r.Missing))
		for i, s := range r.Missing {
			names[i] = s.String()
		}
		parts = append(parts, "waits for "+strings.Join(names, " and ")+": goes on the same machine and nothing is placed yet")
	case WaitFit:
		parts = append(parts, fmt.Sprintf("waits: none of %s fits", machines(r.Rejected.Machines)))
	}
	return strings.Join(append(parts, r.Rejected.texts()...), "; ")
}

func (r *Reason) placed() []string {
	head := "placed on " + r.Machine + ": "
	if r.Pinned != "" {
		return []string{head + r.Pinned}
	}
	if r.Fit == 1 {
		parts := []string{head + "the only one that fits"}
		return append(parts, r.preferred()...)
	}
	parts := append([]string{fmt.Sprintf("%s%d fit", head, r.Fit)}, r.preferred()...)
	parts = append(parts, spreadText(r.Spread())...)
	how := "least loaded"
	if r.shape != nil && r.shape.Strategy == Pack {
		how = "best fit"
	}
	return append(parts, fmt.Sprintf("%s (%d%% used)", how, (r.Load+5)/10))
}

func (r *Reason) preferred() []string {
	if r.Preference == 0 {
		return nil
	}
	return []string{fmt.Sprintf("preference %+d", r.Preference)}
}

func machines(n int) string {
	if n == 1 {
		return "1 machine"
	}
	return fmt.Sprintf("%d machines", n)
}

// texts names the near machines and counts the others by cause.
func (r *Rejections) texts() []string {
	var parts []string
	rest := r.Counts
	for _, m := range r.Near {
		parts = append(parts, m.String())
		rest[m.Cause]--
	}
	var others []string
	total := 0
	for c := causes - 1; c > CauseNone; c-- {
		if rest[c] > 0 {
			others = append(others, fmt.Sprintf("%d %s", rest[c], r.summary(c)))
			total += int(rest[c])
		}
	}
	switch {
	case len(others) == 1 && len(r.Near) > 0:
		parts = append(parts, strings.Replace(others[0], " ", " more ", 1))
	case len(others) > 1 && len(r.Near) > 0:
		parts = append(parts, fmt.Sprintf("%d more: %s", total, strings.Join(others, ", ")))
	default:
		parts = append(parts, others...)
	}
	return parts
}

// summary words a cause; a requirement is named when it is the only one.
func (r *Rejections) summary(c Cause) string {
	if c == CauseRequire && len(r.Require) == 1 {
		return "without " + r.Require[0].Require.Words()
	}
	return summary[c]
}
