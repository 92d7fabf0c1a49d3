package check

import (
	"fmt"
	"strings"
)

// Result is what exploring found.
type Result struct {
	Scenario string
	States   int
	Choices  int // that were tried
	Depth    int // of choices that led to the last new state
	Complete bool
	Broken   string   // empty: nothing
	Story    []string // how it came to that
	Seen     Seen
}

// Seen counts worlds in which something worth trying is true, so that nobody takes for proven what never came about.
type Seen struct{ Armed, SecondArmed, Reset, Sealed, Silent, Joint, Later int }

func (s *Seen) add(o Seen) {
	s.Armed += o.Armed
	s.SecondArmed += o.SecondArmed
	s.Reset += o.Reset
	s.Sealed += o.Sealed
	s.Silent += o.Silent
	s.Joint += o.Joint
	s.Later += o.Later
}

func (s *Seen) count(w *World) {
	for m := range w.Machines {
		mc := &w.Machines[m]
		for _, sl := range mc.Slots {
			if sl.Gate.Runs() && sl.Live {
				s.Armed++
				if sl.Token.Revision > 1 || sl.Token.Generation > 1 {
					s.SecondArmed++
				}
			}
			if sl.Opened && !sl.exposed() {
				s.Sealed++
			}
		}
		if mc.Lost > 0 {
			s.Reset++
		}
	}
	for i := range w.Servers {
		if w.Servers[i].State.Silent {
			s.Silent++
		}
	}
	if w.Store.Config.Joint() {
		s.Joint++
	}
	if w.Store.Stage > 0 {
		s.Later++
	}
}

// paths makes every sequence of choices that one step can take, in order.
type paths struct {
	picks, sizes []int
	at           int
}

func (p *paths) choose(n int) int {
	if p.at == len(p.picks) {
		p.picks, p.sizes = append(p.picks, 0), append(p.sizes, n)
	}
	p.at++
	return p.picks[p.at-1]
}

// next goes to the next sequence; false when there is none.
func (p *paths) next() bool {
	for len(p.picks) > 0 {
		last := len(p.picks) - 1
		if p.picks[last]++; p.picks[last] < p.sizes[last] {
			p.at = 0
			return true
		}
		p.picks, p.sizes = p.picks[:last], p.sizes[:last]
	}
	return false
}

// step is how a world came about: from which one, by which of its sequences of choices.
type step struct{ from, nth uint32 }

// Explore looks at every world that can come about, breadth first, until limit of them are known or one is broken: then the
// story that is told is as short as any.
// Where only is set, no other invariant is judged.
func Explore(s Scenario, m *Mutant, limit int, only string) Result {
	res := Result{Scenario: s.Name}
	first := New(&s, m)
	first.only = only
	var enc encoder
	known := map[uint64]struct{}{enc.key(first): {}}
	steps := []step{{}}
	frontier, ids := []*World{first}, []uint32{0}
	for depth := 1; len(frontier) > 0; depth++ {
		var next []*World
		var nextIDs []uint32
		for k, w := range frontier {
			frontier[k] = nil
			var p paths
			for nth := uint32(0); ; nth++ {
				c := w.clone()
				c.choose = p.choose
				c.Step()
				res.Choices++
				if c.broken == stuck {
					break
				}
				if key := enc.key(c); c.broken != "" || !has(known, key) {
					known[key] = struct{}{}
					steps = append(steps, step{ids[k], nth})
					if c.broken != "" {
						res.States, res.Depth, res.Broken = len(known), depth, c.broken
						res.Story = retell(first, steps)
						return res
					}
					res.Depth = depth
					res.Seen.count(c)
					next, nextIDs = append(next, c), append(nextIDs, uint32(len(steps)-1))
				}
				if !p.next() {
					break
				}
			}
			if len(known) >= limit {
				res.States = len(known)
				return res
			}
		}
		frontier, ids = next, nextIDs
	}
	res.States, res.Complete = len(known), true
	return res
}

func has(known map[uint64]struct{}, key uint64) bool {
	_, ok := known[key]
	return ok
}

// retell plays the way to the last world again, and writes down what happens.
func retell(w *World, steps []step) []string {
	var way []uint32
	for at := uint32(len(steps) - 1); at != 0; at = steps[at].from {
		way = append(way, steps[at].nth)
	}
	story := []string{fmt.Sprintf("%3d  %s", w.Time, start(*w.scenario))}
	for i := len(way) - 1; i >= 0; i-- {
		var p paths
		for range way[i] {
			c := w.clone()
			c.choose = p.choose
			c.Step()
			p.next()
		}
		w = w.clone()
		w.choose, w.story = p.choose, &story
		w.Step()
		w.story = nil
	}
	return story
}

func start(s Scenario) string {
	switch {
	case s.Two:
		return "machine a holds the claim with 1-1 by s1 and s2, and is armed"
	case s.Ready:
		return "machine a holds the claim with 1-1 by all servers, and is armed"
	}
	return "nobody has the claim"
}

// dice make the same numbers from the same seed, always (splitmix64).
type dice struct{ state uint64 }

// roll prefers what is listed first, which is what happens on good days, so that lives get far enough to be of interest.
func (d *dice) roll(n int) int { return min(d.one(n), d.one(n)) }

func (d *dice) one(n int) int {
	d.state += 0x9e3779b97f4a7c15
	z := d.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return int((z ^ z>>31) % uint64(n))
}

// Walk plays lives of a scenario, each a function of its seed, until one is broken or all have ended. States are those
// that no life had seen before.
func Walk(s Scenario, m *Mutant, seed uint64, lives, length int) Result {
	res := Result{Scenario: s.Name}
	var enc encoder
	known := map[uint64]struct{}{}
	for life := range uint64(lives) {
		w := New(&s, m)
		r := dice{seed<<32 + life}
		story := []string{fmt.Sprintf("%3d  %s", w.Time, start(s))}
		w.story = nil
		for n := 1; n <= length; n++ {
			w.choose = r.roll
			w.Step()
			if w.broken == stuck {
				break
			}
			res.Choices++
			known[enc.key(w)] = struct{}{}
			res.Seen.count(w)
			if w.broken == "" {
				continue
			}
			res.States, res.Depth, res.Broken = len(known), n, w.broken
			w = New(&s, m)
			r = dice{seed<<32 + life}
			w.choose, w.story = r.roll, &story
			for range n {
				w.Step()
			}
			res.Story = story
			return res
		}
	}
	res.States = len(known)
	return res
}

// Tell writes a result as people read it.
func (r Result) Tell() string {
	text := fmt.Sprintf("%-16s %9d states, depth %3d", r.Scenario, r.States, r.Depth)
	switch {
	case r.Broken != "":
		return text + ", BROKEN: " + r.Broken + "\n    " + strings.Join(r.Story, "\n    ")
	case r.Complete:
		return text + ", all there are"
	}
	return text
}
