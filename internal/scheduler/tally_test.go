package scheduler

import (
	"testing"

	"pgregory.net/rapid"
)

// TestTallyCounts: a tally is a map from slot to count, small or large.
func TestTallyCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var got tally
		want := map[int32]int32{}
		for range rapid.IntRange(0, 150).Draw(t, "steps") {
			slot := int32(rapid.IntRange(0, 2*tallyIndexFrom).Draw(t, "slot"))
			n := int32(1)
			if want[slot] > 0 && rapid.Bool().Draw(t, "less") {
				n = -1
			}
			got.add(slot, n)
			if want[slot] += n; want[slot] == 0 {
				delete(want, slot)
			}
		}
		if len(got.entries) != len(want) {
			t.Fatalf("%d entries, want %d", len(got.entries), len(want))
		}
		for slot := range int32(2*tallyIndexFrom + 1) {
			if got.get(slot) != want[slot] {
				t.Fatalf("slot %d: %d, want %d", slot, got.get(slot), want[slot])
			}
		}
	})
}

// TestRosterFinds: a roster finds what it holds and nothing else.
func TestRosterFinds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var got roster
		want := map[booking]int32{}
		for range rapid.IntRange(0, 150).Draw(t, "steps") {
			b := booking{number: rapid.IntRange(0, rosterIndexFrom).Draw(t, "number"), incarnation: rapid.Uint64Range(0, 1).Draw(t, "incarnation")}
			i := got.find(b)
			if demand, ok := want[b]; ok != (i >= 0) || ok && got.list[i].demand != demand {
				t.Fatalf("%v: found at %d, expected %t", b, i, ok)
			}
			if i >= 0 {
				got.remove(i)
				delete(want, b)
				continue
			}
			want[b] = rapid.Int32Range(0, 9).Draw(t, "demand")
			b.demand = want[b]
			got.add(b)
		}
		if len(got.list) != len(want) {
			t.Fatalf("%d bookings, want %d", len(got.list), len(want))
		}
	})
}
