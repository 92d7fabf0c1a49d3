package placement

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestMeetMakesThemMatch: the change makes every expression match, and no part of it can be left out.
func TestMeetMakesThemMatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all []Expr
		for _, n := range rapid.SliceOfN(drawNode(2), 1, 3).Draw(t, "nodes") {
			all = append(all, Expr{root: n, text: n.format(0)})
		}
		has := rapid.MapOf(rapid.SampledFrom([]string{"zone", "rack", "has", "in"}), rapid.SampledFrom([]string{"a", "b", "in"})).Draw(t, "labels")
		change, ok := Meet(all, lookup(has))
		if !ok {
			return
		}
		match := func(l Labels) bool {
			labels := maps.Clone(has)
			maps.Copy(labels, l.Set)
			for _, k := range l.Remove {
				delete(labels, k)
			}
			return !slices.ContainsFunc(all, func(e Expr) bool { return !e.Eval(lookup(labels)) })
		}
		if !match(change) {
			t.Fatalf("%v do not match after %+v", all, change)
		}
		for k := range change.Set {
			less := Labels{Set: maps.Clone(change.Set), Remove: change.Remove}
			if delete(less.Set, k); match(less) {
				t.Fatalf("%v match without setting %s of %+v", all, k, change)
			}
		}
		for i := range change.Remove {
			if less := (Labels{change.Set, slices.Delete(slices.Clone(change.Remove), i, i+1)}); match(less) {
				t.Fatalf("%v match without removing one of %+v", all, change)
			}
		}
	})
}

func lookup(labels map[string]string) func(string) (string, bool) {
	return func(k string) (string, bool) { v, ok := labels[k]; return v, ok }
}

func TestMeet(t *testing.T) {
	for _, tc := range []struct{ expr, want string }{
		{"zone == edge", "map[zone:edge] []"},
		{"zone in (edge, far)", "map[zone:edge] []"},
		{"disk != hdd", "map[] [disk]"},
		{"has(gpu) && zone == edge", "map[gpu:true zone:edge] []"},
		{"has(gpu) && zone == edge || rack == r2", "map[rack:r2] []"},
		{"!(zone == core || disk == hdd)", "map[] [disk zone]"},
		{"rack == r1", "map[] []"},
		{"machine == m2", "none"},
		{"zone == edge && zone == core", "none"},
	} {
		got := "none"
		l, ok := Meet([]Expr{MustParse(tc.expr)}, lookup(map[string]string{"zone": "core", "disk": "hdd", "rack": "r1", "machine": "m1"}))
		if ok {
			got = fmt.Sprint(l.Set, l.Remove)
		}
		if got != tc.want {
			t.Errorf("%s: %s, want %s", tc.expr, got, tc.want)
		}
	}
}
