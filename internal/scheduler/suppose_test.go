package scheduler

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestRoomIsWhatDecideFills: there is room for exactly as many as Decide places one after the other, and what is in the way
// of the next is what Decide says.
func TestRoomIsWhatDecideFills(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			w.change(t)
		}
		st, shape := drawStack.Draw(t, "stack"), drawShape(t, true)
		limit := rapid.IntRange(0, 300).Draw(t, "limit")
		room := w.s.Room(st, shape, limit)
		trial := w.s.Suppose()
		defer trial.End()
		var last Decision
		placed := 0
		for n := range limit + 1 {
			last = trial.Decide(time.Time{}, []Request{{Replica: Replica{st, 1000 + n}, Incarnation: 9, Shape: shape}})[0]
			if !last.Placed() {
				break
			}
			placed++
		}
		if want := min(placed, limit); room.Count != want || room.More != (placed > limit) {
			t.Fatalf("room for %d (more: %v), and %d were placed with a limit of %d", room.Count, room.More, placed, limit)
		}
		if !last.Placed() && room.Counts != last.Reason.Rejected.Counts {
			t.Fatalf("in the way of the next: %v, want %v (%s)", room.Counts, last.Reason.Rejected.Counts, last.Reason.String())
		}
	})
}

// TestSupposeLeavesNothing: after a trial the index decides as one that had none.
func TestSupposeLeavesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			w.change(t)
		}
		trial := w.s.Suppose()
		for range rapid.IntRange(1, 8).Draw(t, "supposed") {
			mark := trial.Mark()
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				trial.SetMachine(drawMachine.Draw(t, "set"))
			case 1:
				trial.Add(Placed{Replica: Replica{drawStack.Draw(t, "stack"), 1}, Shape: drawShape(t, true), Machine: drawMachine.Draw(t, "on").ID})
			case 2:
				for _, name := range w.names() {
					trial.Remove(w.n.placed[name])
				}
			default:
				batch := w.batch(t)
				for _, name := range w.names() { // some of what is there is asked for once more, with the same shape or another
					if p := w.n.placed[name]; rapid.IntRange(0, 3).Draw(t, "once more") == 0 {
						shape := p.Shape
						if rapid.Bool().Draw(t, "changed") {
							shape = drawShape(t, true)
						}
						batch = append(batch, Request{Replica: p.Replica, Incarnation: p.Incarnation, Shape: shape,
							Pin: Pin{Machine: p.Machine, Why: "it is there"}})
					}
				}
				if rapid.Bool().Draw(t, "what if") {
					w.s.WhatIf(time.Time{}, nil, batch)
				} else {
					trial.Decide(time.Time{}, batch)
				}
			}
			if rapid.Bool().Draw(t, "back") {
				trial.Back(mark)
			}
		}
		trial.End()
		batch := w.batch(t)
		w.mirror(t, batch, w.s.Decide(time.Time{}, batch))
	})
}

// TestRulesAgreeWithExplain: a machine fits exactly if every rule holds, and each rule that does not is one of its misses.
func TestRulesAgreeWithExplain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			w.change(t)
		}
		r := w.request(t, drawStack.Draw(t, "stack"), drawShape(t, true))
		for _, m := range w.s.Rules(r) {
			broken, missed := [causes]bool{}, [causes]bool{}
			for _, rule := range m.Rules {
				broken[rule.Cause] = broken[rule.Cause] || !rule.Holds
			}
			for _, miss := range m.Misses {
				missed[miss.Cause] = true
			}
			// A shortage of both is one miss.
			broken[CauseMemory] = broken[CauseMemory] && !broken[CauseCPU]
			if broken != missed {
				t.Fatalf("%s: rules say %v, and misses %v (%s)", m.Machine, broken, missed, m.String())
			}
		}
	})
}
