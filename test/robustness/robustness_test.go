package robustness

import (
	"strings"
	"testing"
	"time"
)

func op(client int, kind Kind, count uint32, call, ret int, r Result) Operation {
	return Operation{Client: client, App: "shop", Kind: kind, Count: count, Call: time.Duration(call), Return: time.Duration(ret), Result: r}
}

func rev(n uint64, count uint32, changed bool) Result {
	return Result{Outcome: Done, Revision: n, Count: count, Changed: changed}
}

func TestLinearizable(t *testing.T) {
	unknown := Result{Outcome: Unknown}
	for _, c := range []struct {
		name string
		ops  []Operation
		bad  bool
	}{
		{"one after another", []Operation{
			op(0, Apply, 3, 0, 1, rev(1, 3, true)), op(0, Scale, 5, 2, 3, rev(2, 5, true)), op(0, Scale, 5, 4, 5, rev(2, 5, false)),
			op(1, Read, 0, 6, 7, rev(2, 5, false)), op(0, Delete, 0, 8, 9, Result{Outcome: Done}), op(0, Apply, 1, 10, 11, Result{Outcome: Deleting}),
			op(1, Read, 0, 12, 13, Result{Outcome: NotFound}), op(0, Apply, 2, 14, 15, rev(1, 2, true))}, false},
		{"side by side, either first", []Operation{
			op(0, Apply, 3, 0, 1, rev(1, 3, true)), op(0, Scale, 5, 2, 9, rev(3, 5, true)), op(1, Scale, 4, 2, 9, rev(2, 4, true))}, false},
		{"an acknowledged change is lost", []Operation{
			op(0, Apply, 3, 0, 1, rev(1, 3, true)), op(0, Scale, 5, 2, 3, rev(2, 5, true)), op(1, Read, 0, 4, 5, rev(1, 3, false))}, true},
		{"two got one revision", []Operation{
			op(0, Apply, 3, 0, 1, rev(1, 3, true)), op(0, Scale, 5, 2, 9, rev(2, 5, true)), op(1, Scale, 4, 2, 9, rev(2, 4, true))}, true},
		{"carried out twice", []Operation{
			op(0, Apply, 3, 0, 1, rev(1, 3, true)), op(0, Scale, 5, 2, 3, rev(3, 5, true))}, true},
		{"nobody knows, and it was", []Operation{
			op(0, Apply, 3, 0, 1, rev(1, 3, true)), op(0, Scale, 5, 2, 3, unknown), op(1, Read, 0, 4, 5, rev(2, 5, false))}, false},
		{"nobody knows, and it is only later", []Operation{
			op(0, Apply, 3, 0, 1, rev(1, 3, true)), op(0, Scale, 5, 2, 3, unknown), op(1, Read, 0, 4, 5, rev(1, 3, false)), op(1, Read, 0, 6, 7, rev(2, 5, false))}, false},
		{"nobody knows, and it comes and goes", []Operation{
			op(0, Apply, 3, 0, 1, rev(1, 3, true)), op(0, Scale, 5, 2, 3, unknown), op(1, Read, 0, 4, 5, rev(2, 5, false)), op(1, Read, 0, 6, 7, rev(1, 3, false))}, true},
		{"deleted without anybody", []Operation{
			op(0, Apply, 3, 0, 1, rev(1, 3, true)), op(1, Read, 0, 2, 3, Result{Outcome: NotFound})}, true},
		{"it was there before", []Operation{op(0, Read, 0, 0, 1, rev(3, 2, false))}, true},
		{"a read from the past", []Operation{
			op(0, Apply, 3, 0, 1, rev(1, 3, true)), op(0, Delete, 0, 2, 3, Result{Outcome: Done}), op(1, Read, 0, 4, 5, rev(1, 3, false))}, true},
	} {
		err := Linearizable(c.ops, time.Minute)
		if (err != nil) != c.bad {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.bad && err != nil && !strings.Contains(err.Error(), "shop") {
			t.Errorf("%s: %v does not say what", c.name, err)
		}
	}
}

func TestObserver(t *testing.T) {
	begin := time.Unix(1000, 0)
	at := func(s float64) time.Time { return begin.Add(time.Duration(s * float64(time.Second))) }
	seen := func(o *Observer, running func(second int) bool) {
		for s := range 30 {
			o.Saw("m1", Sample{at(float64(s)), at(float64(s) + .2), map[string]bool{"shop/web.1/web": running(s)}})
		}
	}
	claim := func(asked, age float64) Claim {
		return Claim{"shop/web.1/web", "m1", at(asked), at(asked + .1), time.Duration(age * float64(time.Second))}
	}
	for _, c := range []struct {
		name    string
		running func(second int) bool
		claim   Claim
		lies    int
		judged  int
	}{
		{"it runs", func(int) bool { return true }, claim(10, 1), 0, 1},
		{"it does not", func(int) bool { return false }, claim(10, 1), 1, 1},
		{"it ran when it was seen", func(s int) bool { return s < 10 }, claim(20, 12), 0, 1},
		{"it ended long before it is said to have been seen", func(s int) bool { return s < 5 }, claim(20, 2), 1, 1},
		{"it ended just now", func(s int) bool { return s < 19 }, claim(20, .5), 0, 1},
		{"nobody looked", func(int) bool { return false }, claim(60, 1), 0, 0},
		{"nobody has looked since", func(int) bool { return false }, claim(29.5, 0), 0, 0},
	} {
		o := NewObserver()
		seen(o, c.running)
		o.Claimed(c.claim)
		if lies, judged := o.Lies(2 * time.Second); len(lies) != c.lies || judged != c.judged {
			t.Errorf("%s: %d judged, lies %q", c.name, judged, lies)
		}
	}
}

func TestSight(t *testing.T) {
	begin := time.Unix(1000, 0)
	at := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
	for _, c := range []struct {
		name    string
		claims  []int // when m1's replica was said to be ready
		answers []int // when a view was shown besides
		to      int   // m1 is lost from sight at 5
		late    int
		longest int
		judged  bool
	}{
		{"it became unknown in time", []int{3, 4, 10}, []int{21, 25, 30}, 40, 0, 5, true},
		{"it was said too long", []int{4, 10, 25}, []int{30}, 40, 1, 20, true},
		{"it was seen again by then", []int{4, 10, 25}, nil, 20, 0, 5, false},
		{"nobody asked", []int{4}, nil, 40, 0, 0, false},
		{"nothing was there", nil, []int{21, 25}, 40, 0, 0, false},
	} {
		o := NewObserver()
		for _, s := range c.claims {
			o.Claimed(Claim{"shop/web.1", "m1", at(s), at(s), 0})
			o.Claimed(Claim{"shop/web.2", "m2", at(s + 20), at(s + 20), 0})
			o.Answered(at(s), at(s))
		}
		for _, s := range c.answers {
			o.Answered(at(s), at(s))
		}
		got := o.Blind("m1", at(5), at(c.to), 15*time.Second)
		if len(got.Late) != c.late || got.Longest != time.Duration(c.longest)*time.Second || got.Judged != c.judged {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}
