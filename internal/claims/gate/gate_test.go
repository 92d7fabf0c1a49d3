package gate

import "testing"

func TestStep(t *testing.T) {
	const refused = Sealed + 1
	want := [4][4]State{ // from, towards
		Frozen: {Frozen, Armed, Shut, refused},
		Armed:  {refused, Armed, Shut, refused},
		Shut:   {refused, refused, Shut, Sealed},
		Sealed: {refused, refused, Sealed, Sealed},
	}
	for from := range want {
		for towards, expected := range want[from] {
			s, to := State(from), State(towards)
			next, ok := Step(s, to)
			if ok != (expected != refused) || ok && next != expected || !ok && next != s {
				t.Errorf("from %v towards %v: %v, %v", s, to, next, ok)
			}
			if next < s || next.Runs() && !next.Accepts() || s > Armed && next.Runs() {
				t.Errorf("from %v to %v", s, next)
			}
		}
	}
	for _, s := range []State{4, 255} {
		if next, ok := Step(s, Armed); ok || next.Runs() {
			t.Errorf("a gate in %v was armed", s)
		}
		if _, ok := Step(Frozen, s); ok {
			t.Errorf("a gate went to %v", s)
		}
	}
}
