package scheduler

import (
	"fmt"
	"math/rand"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/argosy-cluster/argosy/internal/placement"
)

var (
	drawStack = rapid.SampledFrom([]Stack{
		{"default", "shop", "lamp"}, {"default", "shop", "db"}, {"default", "blog", "web"}, {"other", "shop", "lamp"},
	})
	drawExpr = rapid.SampledFrom([]string{
		"zone == a", "zone != b", "has(rack)", "!has(rack)", "rack in (r1, r2)", "machine == m2", "zone == a || rack == r3",
	})
	drawSpread = rapid.SampledFrom([]string{"machine", "zone", "rack"})
	drawPort   = rapid.Custom(func(t *rapid.T) Port {
		p := Port{Port: uint16(rapid.IntRange(80, 82).Draw(t, "port")), Protocol: rapid.SampledFrom([]string{"", "tcp", "udp"}).Draw(t, "proto")}
		if ip := rapid.SampledFrom([]string{"", "", "10.0.0.1", "10.0.0.2", "0.0.0.0", "::", "fd00::1"}).Draw(t, "ip"); ip != "" {
			p.IP = netip.MustParseAddr(ip)
		}
		return p
	})
	drawMachine = rapid.Custom(func(t *rapid.T) Machine {
		i := rapid.IntRange(1, 12).Draw(t, "machine")
		m := Machine{ID: fmt.Sprintf("machine-%d", i), Name: fmt.Sprintf("m%d", i), Labels: map[string]string{}}
		m.Capacity = Resources{CPU: rapid.SampledFrom([]int64{0, 1000, 2000, 4000}).Draw(t, "cpu"), Memory: rapid.SampledFrom([]int64{1 << 30, 2<<30 + 5, 8 << 30}).Draw(t, "mem")}
		m.Reserve = Resources{CPU: rapid.SampledFrom([]int64{0, 100}).Draw(t, "rcpu"), Memory: rapid.SampledFrom([]int64{0, 100 << 20}).Draw(t, "rmem")}
		m.Condition = rapid.SampledFrom([]Condition{Ready, Ready, Ready, Ready, Ready, Draining, Unreachable, Lost, Hung, Unconnected}).Draw(t, "condition")
		for _, k := range []string{"zone", "rack"} {
			if v := rapid.SampledFrom(map[string][]string{"zone": {"", "a", "b", "c"}, "rack": {"", "r1", "r2", "r3"}}[k]).Draw(t, k); v != "" {
				m.Labels[k] = v
			}
		}
		if rapid.IntRange(0, 4).Draw(t, "taken") == 0 {
			m.Ports = []TakenPort{{Port: drawPort.Draw(t, "takenPort"), By: "sshd"}}
		}
		return m
	})
)

// drawShape makes shapes from few values, so that many requests are alike.
func drawShape(t *rapid.T, together bool) *Shape {
	s := &Shape{Need: Resources{
		CPU:    rapid.SampledFrom([]int64{0, 100, 250, 900, 5000}).Draw(t, "needCPU"),
		Memory: rapid.SampledFrom([]int64{0, 64 << 20, 300<<20 + 1, 1 << 30}).Draw(t, "needMem"),
	}}
	some := func(name string, often int) bool { return rapid.IntRange(0, 9).Draw(t, name) < often }
	if some("ports", 2) {
		s.Ports = rapid.SliceOfN(drawPort, 1, 2).Draw(t, "ports")
	}
	if some("require", 3) {
		for _, e := range rapid.SliceOfN(drawExpr, 1, 2).Draw(t, "requires") {
			s.Require = append(s.Require, placement.MustParse(e))
		}
	}
	if some("prefer", 3) {
		for _, e := range rapid.SliceOfN(drawExpr, 1, 2).Draw(t, "prefers") {
			s.Prefer = append(s.Prefer, Preference{placement.MustParse(e), rapid.IntRange(-2, 2).Draw(t, "weight")})
		}
	}
	if some("spread", 5) {
		s.Spread = rapid.SliceOfNDistinct(drawSpread, 1, 3, rapid.ID).Draw(t, "spreads")
	}
	if some("apart", 3) {
		s.Apart = rapid.SliceOfNDistinct(drawStack, 1, 2, rapid.ID).Draw(t, "aparts")
	}
	if together && some("together", 2) {
		s.Together = rapid.SliceOfNDistinct(drawStack, 1, 2, rapid.ID).Draw(t, "togethers")
	}
	if some("units", 3) {
		s.Units = drawUnits(t, together)
	}
	if some("pack", 2) {
		s.Strategy = Pack
	}
	return s
}

// drawUnits makes one or two units of few names.
func drawUnits(t *rapid.T, beside bool) []Unit {
	names := []string{"a.service", "b@1.service", "b@2.service", "c.mount", "d.timer"}
	globs := []string{"a*", "b@*.service", "?.mount", "d.timer", "*.service"}
	var out []Unit
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 2, rapid.ID).Draw(t, "units") {
		u := Unit{Name: name, Conflicts: rapid.SliceOfN(rapid.SampledFrom(globs), 0, 2).Draw(t, "conflicts")}
		if rapid.IntRange(0, 4).Draw(t, "replacing") == 0 {
			u.Replaces = []string{rapid.SampledFrom(globs).Draw(t, "replaces")}
		}
		if beside && rapid.IntRange(0, 4).Draw(t, "besides") == 0 {
			u.Beside = []string{rapid.SampledFrom(names).Draw(t, "beside")}
		}
		out = append(out, u)
	}
	return out
}

// world is an index and its naive twin, kept alike.
type world struct {
	s    *Scheduler
	n    *naive
	next int // number for the next replica
}

func newWorld(t *rapid.T) *world {
	w := &world{s: New(), n: newNaive()}
	// So few machines would never come to the limits.
	if rapid.Bool().Draw(t, "tight") {
		w.s.limits = limits{patience: -1000, changes: -40, classes: 1, interned: 3}
	}
	return w
}

func (w *world) request(t *rapid.T, st Stack, shape *Shape) Request {
	w.next++
	r := Request{Replica: Replica{st, w.next}, Incarnation: uint64(rapid.IntRange(0, 1).Draw(t, "incarnation")), Shape: shape}
	if rapid.IntRange(0, 9).Draw(t, "pin") == 0 {
		r.Pin = Pin{Machine: rapid.SampledFrom([]string{"m1", "machine-2", "nowhere"}).Draw(t, "pinned")}
	}
	return r
}

// batch is one of: equal requests of one stack with everything; several stacks
// without Together, whose order the naive twin can follow.
func (w *world) batch(t *rapid.T) []Request {
	var batch []Request
	if rapid.Bool().Draw(t, "uniform") {
		st, shape := drawStack.Draw(t, "stack"), drawShape(t, true)
		for range rapid.IntRange(1, 12).Draw(t, "count") {
			batch = append(batch, w.request(t, st, shape))
		}
		return batch
	}
	var shapes []*Shape
	var stacks []Stack
	for range 3 {
		shapes = append(shapes, drawShape(t, false))
		stacks = append(stacks, drawStack.Draw(t, "stack"))
	}
	for range rapid.IntRange(1, 12).Draw(t, "count") {
		i := rapid.IntRange(0, 2).Draw(t, "which")
		batch = append(batch, w.request(t, stacks[i], shapes[i]))
	}
	return batch
}

// inOrder sorts the indexes of a batch as the package says: pinned ones first,
// then by first appearance of stack and shape.
func inOrder(batch []Request) []int {
	name := func(r Request) string { return r.Replica.Stack.Tenant + r.Replica.Stack.String() + signAll(r.Shape) }
	first := map[string]int{}
	order := make([]int, len(batch))
	for i, r := range batch {
		order[i] = i
		if _, ok := first[name(r)]; !ok {
			first[name(r)] = i
		}
	}
	slices.SortStableFunc(order, func(i, j int) int {
		if a, b := batch[i].Pin.Machine != "", batch[j].Pin.Machine != ""; a != b {
			if a {
				return -1
			}
			return 1
		}
		return first[name(batch[i])] - first[name(batch[j])]
	})
	return order
}

// mirror decides the batch naively and compares.
func (w *world) mirror(t *rapid.T, batch []Request, got []Decision) {
	for _, i := range inOrder(batch) {
		r, d := batch[i], got[i]
		want, fit, counts := w.want(r)
		if d.MachineID != want {
			t.Fatalf("%s: placed on %q, want %q (%s)", r.Replica, d.MachineID, want, d.Reason.String())
		}
		if r.Pin.Machine == "" && d.Reason.Wait != WaitTogether {
			if d.Reason.Fit != fit || d.Reason.Rejected.Counts != counts {
				t.Fatalf("%s: fit %d rejected %v, want %d %v (%s)", r.Replica, d.Reason.Fit, d.Reason.Rejected.Counts, fit, counts, d.Reason.String())
			}
			w.checkNear(t, r, d)
		}
		if want != "" {
			w.checkSpread(t, r, d)
			w.n.add(d.Placement())
		}
	}
}

func (w *world) want(r Request) (string, int, [causes]int32) {
	// A stack that goes together with itself is free until it is somewhere.
	if i := slices.Index(r.Shape.Together, r.Replica.Stack); i >= 0 && !w.anywhere(r.Replica.Stack) {
		for _, o := range r.Shape.Together {
			if o != r.Replica.Stack && !w.anywhere(o) {
				return "", 0, [causes]int32{}
			}
		}
		shape := *r.Shape
		shape.Together = slices.Delete(slices.Clone(shape.Together), i, i+1)
		r.Shape = &shape
	}
	if r.Pin.Machine == "" {
		return w.n.choose(r)
	}
	for _, id := range w.n.ids() {
		m := w.n.machines[id]
		if (m.ID == r.Pin.Machine || m.Name == r.Pin.Machine) && w.n.cause(m, r) == CauseNone {
			return id, 1, [causes]int32{}
		}
	}
	return "", 0, [causes]int32{}
}

func (w *world) anywhere(st Stack) bool {
	for _, p := range w.n.placed {
		if p.Replica.Stack == st {
			return true
		}
	}
	return false
}

func (w *world) checkNear(t *rapid.T, r Request, d Decision) {
	near := d.Reason.Rejected.Near
	if total := d.Reason.Rejected.Total(); len(near) != min(MaxNear, total) && d.Reason.Rejected.Count(CauseTogether) == 0 {
		t.Fatalf("%s: %d near misses of %d rejections", r.Replica, len(near), total)
	}
	smallest, any := w.n.nearestShortage(r)
	if !any {
		return
	}
	need := demandAmount(r.Shape.Need)
	short := demandAmount(near[0].Short)
	if near[0].Cause != CauseCPU && near[0].Cause != CauseMemory {
		t.Fatalf("%s: nearest is %s although a machine is only %d short", r.Replica, near[0], smallest)
	}
	_, ratio := shortage(amount{need.cpu - short.cpu, need.mem - short.mem}, need)
	if ratio != smallest {
		t.Fatalf("%s: nearest is %s (%d), want %d", r.Replica, near[0], ratio, smallest)
	}
}

func (w *world) checkSpread(t *rapid.T, r Request, d Decision) {
	for _, c := range d.Reason.Spread() {
		if want := w.n.domainCount(w.n.machines[d.MachineID], r.Replica.Stack, c.Key); r.Pin.Machine == "" && c.Replicas != want {
			t.Fatalf("%s: %s, want %d", r.Replica, c, want)
		}
	}
}

// change does one random thing to both.
func (w *world) change(t *rapid.T) {
	switch rapid.IntRange(0, 9).Draw(t, "change") {
	case 0, 1, 2:
		m := drawMachine.Draw(t, "set")
		w.s.SetMachine(m)
		w.n.machines[m.ID] = m
	case 3:
		id := drawMachine.Draw(t, "forget").ID
		w.s.RemoveMachine(id)
		delete(w.n.machines, id)
	case 4, 5:
		w.next++
		p := Placed{Replica: Replica{drawStack.Draw(t, "stack"), w.next}, Shape: drawShape(t, true), Machine: drawMachine.Draw(t, "on").ID}
		w.s.Add(p)
		w.n.add(p)
	case 6, 7:
		for _, name := range w.names() {
			if rapid.IntRange(0, 2).Draw(t, "remove") == 0 {
				w.s.Remove(w.n.placed[name])
				w.n.remove(w.n.placed[name])
			}
		}
	default:
		batch := w.batch(t)
		w.mirror(t, batch, w.s.Decide(time.Time{}, batch))
	}
}

func (w *world) names() []string {
	names := make([]string, 0, len(w.n.placed))
	for name := range w.n.placed {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// TestDecidesAsPromised: whatever happened before, every decision is the one
// that the plain reading of the rules gives, with the right numbers.
func TestDecidesAsPromised(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			w.change(t)
		}
		batch := w.batch(t)
		w.mirror(t, batch, w.s.Decide(time.Time{}, batch))
	})
}

// rebuilt makes an index anew from what the naive twin remembers, in an order
// of its own.
func (w *world) rebuilt(seed int64) *Scheduler {
	s := New()
	rnd := rand.New(rand.NewSource(seed))
	var steps []func()
	for _, id := range w.n.ids() {
		steps = append(steps, func() { s.SetMachine(w.n.machines[id]) })
	}
	for _, name := range w.names() {
		p := w.n.placed[name]
		copied := *p.Shape // another pointer must make no difference
		p.Shape = &copied
		steps = append(steps, func() { s.Add(p) })
	}
	rnd.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
	for _, step := range steps {
		step()
	}
	return s
}

func texts(decisions []Decision) string {
	var b strings.Builder
	for i := range decisions {
		fmt.Fprintf(&b, "%s %s %s\n", decisions[i].Request.Replica, decisions[i].MachineID, decisions[i].Reason.String())
	}
	return b.String()
}

// TestNoHistory: an index decides like one built anew, and asking what if, or
// for an explanation, changes nothing.
func TestNoHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			w.change(t)
		}
		batch := w.batch(t)
		var gone []Placed
		for i, name := range w.names() {
			if i%3 == 0 {
				gone = append(gone, w.n.placed[name])
			}
		}
		w.s.WhatIf(time.Time{}, gone, batch)
		w.s.Explain(batch[0])
		fresh := w.rebuilt(int64(rapid.IntRange(0, 1000).Draw(t, "seed")))
		if a, b := texts(w.s.Decide(time.Time{}, batch)), texts(fresh.Decide(time.Time{}, batch)); a != b {
			t.Fatalf("the index decides\n%s\nbuilt anew it decides\n%s", a, b)
		}
	})
}

// TestExplainAgrees: Explain and Decide say the same.
func TestExplainAgrees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			w.change(t)
		}
		r := w.request(t, drawStack.Draw(t, "stack"), drawShape(t, true))
		verdicts := w.s.Explain(r)
		d := w.s.Decide(time.Time{}, []Request{r})[0]
		if len(verdicts) != len(w.n.machines) {
			t.Fatalf("%d verdicts for %d machines", len(verdicts), len(w.n.machines))
		}
		fit := 0
		for _, v := range verdicts {
			if v.Fits {
				fit++
			}
			if v.Chosen != (v.MachineID == d.MachineID) || v.Chosen && !v.Fits {
				t.Fatalf("verdict %s, but decided %s", v, d.Reason.String())
			}
		}
		if fit != d.Reason.Fit {
			t.Fatalf("%d verdicts fit; decided %s", fit, d.Reason.String())
		}
	})
}
