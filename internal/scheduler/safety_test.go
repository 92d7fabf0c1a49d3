package scheduler

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/argosy-cluster/argosy/internal/placement"
)

// TestSafety: whatever a batch asks for, on whatever cluster, nothing that
// Decide places breaks a hard rule. This holds for batches in which stacks go
// together with each other, whose order is not checked elsewhere.
func TestSafety(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(1, 25).Draw(t, "machines") {
			m := drawMachine.Draw(t, "machine")
			w.s.SetMachine(m)
			w.n.machines[m.ID] = m
		}
		for range rapid.IntRange(1, 4).Draw(t, "batches") {
			var batch []Request
			for range rapid.IntRange(1, 6).Draw(t, "apps") {
				st, shape := drawStack.Draw(t, "stack"), drawShape(t, true)
				for range rapid.IntRange(1, 6).Draw(t, "count") {
					batch = append(batch, w.request(t, st, shape))
				}
			}
			decisions := w.s.Decide(time.Time{}, batch)
			for i := range decisions {
				if d := &decisions[i]; d.Placed() {
					w.n.add(d.Placement())
				} else if d.Reason.Wait == WaitNone {
					t.Fatalf("%s is not placed and waits for nothing", d.Request.Replica)
				}
			}
			w.checkRules(t, decisions)
		}
	})
}

func (w *world) checkRules(t *rapid.T, decisions []Decision) {
	for _, id := range w.n.ids() {
		m := w.n.machines[id]
		cpu, mem := usable(m)
		if c, b := w.n.used(id); c > cpu || b > mem {
			t.Fatalf("%s: %dm cpu of %d and %d pages of %d are used", m.Name, c, cpu, b, mem)
		}
		here := w.n.on(id)
		var held []Port
		for _, o := range m.Ports {
			held = append(held, o.Port)
		}
		for i, p := range here {
			for _, port := range p.Shape.Ports {
				if slices.ContainsFunc(held, func(o Port) bool { return portsClash(port, o) }) {
					t.Fatalf("%s: port %s of %s is given twice", m.Name, port, p.Replica)
				}
			}
			held = append(held, p.Shape.Ports...)
			for j, o := range here {
				if i != j && slices.Contains(p.Shape.Apart, o.Replica.Stack) {
					t.Fatalf("%s: %s and %s are not apart", m.Name, p.Replica, o.Replica)
				}
			}
		}
	}
	for i := range decisions {
		d := &decisions[i]
		if !d.Placed() {
			continue
		}
		m := w.n.machines[d.MachineID]
		if m.Condition != Ready {
			t.Fatalf("%s is placed on %s, which is %s", d.Request.Replica, m.Name, m.Condition)
		}
		if pin := d.Request.Pin.Machine; pin != "" && pin != m.ID && pin != m.Name {
			t.Fatalf("%s is pinned to %s and placed on %s", d.Request.Replica, pin, m.Name)
		}
		for _, e := range d.Request.Shape.Require {
			if !e.Eval(labelsOf(m)) {
				t.Fatalf("%s requires %s and is placed on %s", d.Request.Replica, e, m.Name)
			}
		}
	}
}

// TestTogetherInOneBatch: a chain of stacks that go together, listed backwards,
// is placed whole by one batch, each where the one that it follows is.
func TestTogetherInOneBatch(t *testing.T) {
	s := New()
	for i := range 9 {
		s.SetMachine(Machine{ID: fmt.Sprint(i), Name: fmt.Sprint(i), Capacity: Resources{CPU: 4000, Memory: 4 << 30}})
	}
	stack := func(i int) Stack { return Stack{"default", "app", fmt.Sprintf("s%d", i)} }
	var batch []Request
	for i := 5; i >= 0; i-- {
		shape := &Shape{Need: Resources{CPU: 100, Memory: 1 << 20}, Spread: []string{SpreadMachine}}
		if i > 0 {
			shape.Together = []Stack{stack(i - 1)}
		}
		for n := range 3 {
			batch = append(batch, Request{Replica: Replica{stack(i), n}, Shape: shape})
		}
	}
	on := map[Stack][]string{}
	for _, d := range s.Decide(time.Time{}, batch) {
		on[d.Request.Replica.Stack] = append(on[d.Request.Replica.Stack], d.MachineID)
	}
	for i := range 6 {
		slices.Sort(on[stack(i)])
		if got := fmt.Sprint(on[stack(i)]); got != "[0 1 2]" {
			t.Errorf("%s is on %s", stack(i), got)
		}
	}
}

// TestSpreadIsEven: when only spread matters, no domain has two replicas more
// than another, for the first key, and neither has any machine within its
// domain for the second.
func TestSpreadIsEven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New()
		zones := rapid.SliceOfN(rapid.IntRange(0, 4), 1, 30).Draw(t, "zones")
		zoneOf := map[string]string{}
		for i, z := range zones {
			id := fmt.Sprintf("m%d", i)
			zoneOf[id] = fmt.Sprint(z)
			// Loads differ, so that load alone would not spread evenly.
			s.SetMachine(Machine{ID: id, Name: id, Capacity: Resources{CPU: 1_000_000, Memory: 1 << 40}, Labels: map[string]string{"zone": fmt.Sprint(z)}})
			s.Add(Placed{Replica: Replica{Stack{"default", "other", "x"}, i}, Machine: id,
				Shape: &Shape{Need: Resources{CPU: rapid.Int64Range(0, 900_000).Draw(t, "load")}}})
		}
		shape := &Shape{Need: Resources{CPU: 10}, Spread: []string{"zone", SpreadMachine}}
		var batch []Request
		for n := range rapid.IntRange(1, 100).Draw(t, "count") {
			batch = append(batch, Request{Replica: Replica{Stack{"default", "shop", "lamp"}, n}, Shape: shape})
		}
		cut := rapid.IntRange(0, len(batch)).Draw(t, "cut")
		perZone, perMachine := map[string]int{}, map[string]map[string]int{}
		for id, z := range zoneOf {
			perZone[z] = 0
			if perMachine[z] == nil {
				perMachine[z] = map[string]int{}
			}
			perMachine[z][id] = 0
		}
		for _, part := range [][]Request{batch[:cut], batch[cut:]} {
			for _, d := range s.Decide(time.Time{}, part) {
				perZone[zoneOf[d.MachineID]]++
				perMachine[zoneOf[d.MachineID]][d.MachineID]++
			}
		}
		checkEven(t, "zones", perZone)
		for z, counts := range perMachine {
			checkEven(t, "machines of zone "+z, counts)
		}
	})
}

func checkEven(t *rapid.T, what string, counts map[string]int) {
	lowest, highest := -1, 0
	for _, n := range counts {
		if lowest < 0 || n < lowest {
			lowest = n
		}
		highest = max(highest, n)
	}
	if highest-lowest > 1 {
		t.Fatalf("%s have from %d to %d replicas: %v", what, lowest, highest, counts)
	}
}

// TestMemoryStaysBounded: apps that come and go, each with an expression of
// its own, leave nothing behind.
func TestMemoryStaysBounded(t *testing.T) {
	s := New()
	for i := range 20 {
		s.SetMachine(Machine{ID: fmt.Sprint(i), Name: fmt.Sprint(i), Capacity: Resources{CPU: 4000, Memory: 4 << 30}})
	}
	for i := range 20_000 {
		shape := &Shape{Need: Resources{CPU: 100}, Require: []placement.Expr{placement.MustParse(fmt.Sprintf("x != v%d", i))}}
		st := Stack{"default", fmt.Sprint("app", i), "web"}
		shape.Apart = []Stack{st}
		d := s.Decide(time.Time{}, []Request{{Replica: Replica{Stack: st}, Shape: shape}})[0]
		if !d.Placed() {
			t.Fatal(d.Reason.String())
		}
		s.Remove(d.Placement())
	}
	for what, n := range map[string]int{
		"stacks": len(s.stacks), "stack slots": len(s.stackByID), "shapes": len(s.byShape), "signs": len(s.bySign), "demands": len(s.demands),
		"pointers": len(s.byPointer), "changes": len(s.changes),
	} {
		if n > 2*s.limits.interned {
			t.Errorf("%d %s are kept", n, what)
		}
	}
	if len(s.classes) > maxClasses {
		t.Errorf("%d classes are kept", len(s.classes))
	}
	for i := range 20 {
		s.RemoveMachine(fmt.Sprint(i))
	}
	if len(s.byID) != 0 || len(s.byName) != 0 || len(s.freeSlots) != len(s.machines) {
		t.Errorf("%d machines are left behind", len(s.byID))
	}
}
