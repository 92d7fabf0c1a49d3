package scheduler

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestSurveysFollow: reasons from surveys that were kept over many changes are
// those of an index that keeps none. There are enough machines for lists of
// the nearest to be cut short.
func TestSurveysFollow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keeps, plain := New(), New()
		keeps.limits.survey, plain.limits.survey = 0, 1<<30
		both := func(f func(s *Scheduler)) { f(keeps); f(plain) }
		const machines = 30
		for i := range machines {
			m := Machine{ID: fmt.Sprintf("m%02d", i), Name: fmt.Sprintf("m%02d", i), Capacity: Resources{CPU: 4000, Memory: 4 << 30}}
			both(func(s *Scheduler) { s.SetMachine(m) })
		}
		neighbour := Stack{"default", "shop", "neighbour"}
		shapes := []*Shape{
			{Need: Resources{CPU: 1000, Memory: 1 << 30}},
			{Need: Resources{CPU: 2000, Memory: 1 << 20}, Apart: []Stack{neighbour}},
			{Need: Resources{CPU: 100, Memory: 3 << 30}},
		}
		var there []Placed
		for step := range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0, 1:
				for range rapid.IntRange(1, 20).Draw(t, "fill") {
					p := Placed{Replica: Replica{Stack{"default", "fill", "er"}, len(there) + 1000*step}, Machine: fmt.Sprintf("m%02d", rapid.IntRange(0, machines-1).Draw(t, "on"))}
					p.Shape = &Shape{Need: Resources{CPU: rapid.Int64Range(0, 40).Draw(t, "cpu") * 100, Memory: rapid.Int64Range(0, 40).Draw(t, "mem") * 100 << 20}}
					if rapid.IntRange(0, 2).Draw(t, "neighbour") == 0 {
						p.Replica.Stack = neighbour
					}
					there = append(there, p)
					both(func(s *Scheduler) { s.Add(p) })
				}
			case 2:
				for len(there) > 0 && rapid.IntRange(0, 8).Draw(t, "more") > 0 {
					i := rapid.IntRange(0, len(there)-1).Draw(t, "gone")
					both(func(s *Scheduler) { s.Remove(there[i]) })
					there = append(there[:i], there[i+1:]...)
				}
			default:
				batch := []Request{{Replica: Replica{Stack{"default", "shop", "lamp"}, step}, Shape: rapid.SampledFrom(shapes).Draw(t, "shape")}}
				a, b := keeps.Decide(time.Time{}, batch), plain.Decide(time.Time{}, batch)
				if texts(a) != texts(b) {
					t.Fatalf("with surveys kept:\n%swithout:\n%s", texts(a), texts(b))
				}
				if a[0].Placed() {
					there = append(there, a[0].Placement())
				}
			}
		}
	})
}
