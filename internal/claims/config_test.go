package claims

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func witnesses(n ...int) (out []Witness) {
	for _, i := range n {
		out = append(out, Witness(fmt.Sprintf("s%d", i)))
	}
	return out
}

func TestConfigValidate(t *testing.T) {
	e := Epoch{1, 1}
	for _, c := range []Config{
		{}, {Epoch: e}, {Members: witnesses(1)}, {Epoch: e, Members: witnesses(1, 1)}, {Epoch: e, Members: []Witness{""}},
		{Epoch: e, Members: witnesses(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)}, {Epoch: e, Members: witnesses(1), Next: []Witness{"a b"}},
		{Epoch: e, Members: []Witness{Witness(strings.Repeat("x", 1000))}},
	} {
		if c.Validate() == nil {
			t.Errorf("%+v is accepted", c)
		}
		if c.Majority(func(Witness) bool { return false }) {
			t.Errorf("%+v: nobody is a majority", c)
		}
	}
}

// Consecutive configurations always share somebody in every two majorities: that is what lets one follow another.
func TestMajoritiesMeet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := rapid.SliceOfNDistinct(rapid.IntRange(1, 7), 1, 5, rapid.ID).Draw(t, "members")
		wanted := rapid.SliceOfNDistinct(rapid.IntRange(1, 7), 1, 5, rapid.ID).Draw(t, "wanted")
		now := Config{Epoch: Epoch{1, 1}, Members: witnesses(members...)}
		var seen []Status
		for range 30 {
			next, _ := Change(now, witnesses(wanted...), seen)
			if next == nil {
				if slices.Equal(slices.Sorted(slices.Values(now.Members)), slices.Sorted(slices.Values(witnesses(wanted...)))) && !now.Joint() {
					return
				}
				// Everybody catches up: silent ones vote, and all are at this epoch for long enough.
				seen = nil
				for i := range 8 {
					seen = append(seen, Status{Witness: Witness(fmt.Sprintf("s%d", i)), Epoch: now.Epoch, Settled: true})
				}
				continue
			}
			next.Epoch = Epoch{1, now.Epoch.Revision + 1}
			if err := next.Validate(); err != nil {
				t.Fatal(err)
			}
			for a := range 1 << 8 {
				in := func(w Witness) bool { return a&(1<<(w[1]-'0')) != 0 }
				if now.Majority(in) && next.Majority(func(w Witness) bool { return !in(w) }) {
					t.Fatalf("from %+v to %+v: %b and its complement are majorities", now, next, a)
				}
			}
			now = *next
		}
		t.Fatalf("from %v to %v does not end: %+v", members, wanted, now)
	})
}

func TestChangeWaits(t *testing.T) {
	three := Config{Epoch: Epoch{1, 5}, Members: witnesses(1, 2, 3)}
	next, why := Change(three, witnesses(1, 2, 3, 4), []Status{{Witness: "s4", Silent: true, Left: 7150e6}})
	if next != nil || why != "server s4 does not vote yet, for 7.2 s" {
		t.Errorf("a newcomer that does not vote: %v, %q", next, why)
	}
	joint := Config{Epoch: Epoch{1, 6}, Members: witnesses(1, 2, 3), Next: witnesses(1, 2, 3, 4)}
	at := func(e Epoch, settled bool, n ...int) (out []Status) {
		for _, w := range witnesses(n...) {
			out = append(out, Status{Witness: w, Epoch: e, Settled: settled})
		}
		return out
	}
	for _, seen := range [][]Status{nil, at(joint.Epoch, true, 1, 2), at(three.Epoch, true, 1, 2, 3, 4), at(joint.Epoch, false, 1, 2, 3, 4), at(joint.Epoch, true, 4, 5, 6)} {
		if next, _ := Change(joint, witnesses(1, 2, 3, 4), seen); next != nil {
			t.Errorf("with %v the later set decides alone", seen)
		}
	}
	if next, _ := Change(joint, witnesses(1, 2, 3, 4), at(joint.Epoch, true, 1, 2, 3)); next == nil || next.Joint() || len(next.Members) != 4 {
		t.Errorf("majorities of both know of it: %v", next)
	}
	if next, _ := Change(joint, witnesses(1, 2, 3), nil); next == nil || next.Joint() || len(next.Members) != 3 {
		t.Errorf("taken back: %v", next)
	}
}

// TestChangeGoesOn: whoever is gone is let go before those who vote, and a change that cannot come to its end is taken back.
func TestChangeGoesOn(t *testing.T) {
	voting := func(n ...int) (out []Status) {
		for _, w := range witnesses(n...) {
			out = append(out, Status{Witness: w})
		}
		return out
	}
	three := Config{Epoch: Epoch{1, 5}, Members: witnesses(1, 2, 3)}
	if next, why := Change(three, witnesses(1), voting(1, 2)); next == nil || !slices.Equal(next.Next, witnesses(1, 2)) {
		t.Errorf("3 is gone, and 2 is to go: %v, %s", next, why)
	}
	if next, why := Change(three, witnesses(1), voting(1, 2, 3)); next == nil || len(next.Next) != 2 {
		t.Errorf("both are to go: %v, %s", next, why)
	}
	if next, why := Change(three, witnesses(1, 2), voting(1)); next != nil || !strings.Contains(why, "too few of the others") {
		t.Errorf("3 is to go, and 2 does not vote: %v, %s", next, why)
	}
	joint := Config{Epoch: Epoch{1, 6}, Members: witnesses(1, 2, 3), Next: witnesses(1, 3)}
	if next, why := Change(joint, witnesses(1), voting(1, 2)); next == nil || next.Joint() || len(next.Members) != 3 {
		t.Errorf("3 is gone, without whom the later set has no majority: %v, %s", next, why)
	}
	if next, why := Change(joint, witnesses(1, 3), voting(1, 2)); next != nil {
		t.Errorf("3 may come back: %v, %s", next, why)
	}
	if next, why := Change(joint, witnesses(1), voting(1)); next != nil {
		t.Errorf("neither set has a majority: %v, %s", next, why)
	}
}
