package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// MachineVerdict is what Explain says of one machine.
type MachineVerdict struct {
	MachineID  string
	Machine    string // name
	Chosen     bool   // Decide would choose it now
	Fits       bool
	Misses     []Miss // everything that keeps it from fitting, not only the first
	Load       int    // thousandths in use
	Preference int
	Spread     []SpreadCount
}

// String is for example "m1: no: memory 120 MiB short, draining".
func (v MachineVerdict) String() string {
	if !v.Fits {
		texts := make([]string, len(v.Misses))
		for i, m := range v.Misses {
			texts[i] = m.Text()
		}
		return v.Machine + ": no: " + strings.Join(texts, ", ")
	}
	word := "fits"
	if v.Chosen {
		word = "best"
	}
	r := Reason{Preference: v.Preference}
	parts := append([]string{v.Machine + ": " + word}, r.preferred()...)
	parts = append(parts, spreadText(v.Spread)...)
	return strings.Join(append(parts, fmt.Sprintf("%d%% used", (v.Load+5)/10)), "; ")
}

// Elsewhere is the only machine that a pinned request may go to, and why.
type Elsewhere struct{ Machine, Why string }

func (e Elsewhere) String() string {
	text := "only " + e.Machine + " will do"
	if e.Why != "" {
		text += ": " + e.Why
	}
	return text
}

func (s *Scheduler) elsewhere(p Pin) Elsewhere {
	if slot, ok := s.find(p.Machine); ok {
		return Elsewhere{s.machines[slot].spec.Name, p.Why}
	}
	return Elsewhere{p.Machine, p.Why}
}

// Explain says of every known machine whether it could take the request now and
// what is in the way: the one that Decide would choose first, then those that
// fit, then the others, by name. It changes nothing.
func (s *Scheduler) Explain(request Request) []MachineVerdict {
	chosen := s.WhatIf(time.Time{}, nil, []Request{request})[0].MachineID
	d := s.demandOf(request.Replica.Stack, request.Shape)
	with, _, missing := d.company(func(o *stack) bool { return o == d.stack })
	g := s.open(d, nil)
	pin, pinned := s.find(request.Pin.Machine)
	pinned = pinned || request.Pin.Machine != ""
	verdicts := make([]MachineVerdict, 0, s.known)
	for slot := range s.machines {
		m := &s.machines[slot]
		if !m.known {
			continue
		}
		v := MachineVerdict{MachineID: m.spec.ID, Machine: m.spec.Name, Chosen: m.spec.ID == chosen,
			Load: m.permille(), Preference: int(g.c.leaves[slot].pref)}
		if pinned && int32(slot) != pin {
			v.Misses = append(v.Misses, Miss{Machine: m.spec.Name, Cause: CausePin, Detail: s.elsewhere(request.Pin)})
		}
		for _, o := range missing {
			v.Misses = append(v.Misses, Miss{Machine: m.spec.Name, Cause: CauseTogether, Detail: s.neighbour(d, s.stackOf(o), Neighbour{Missing: true})})
		}
		v.Misses = append(v.Misses, s.faults(d, with, int32(slot))...)
		v.Fits = len(v.Misses) == 0
		v.Spread = g.spread(int32(slot))
		verdicts = append(verdicts, v)
	}
	slices.SortFunc(verdicts, func(a, b MachineVerdict) int {
		rank := func(v MachineVerdict) int {
			switch {
			case v.Chosen:
				return 0
			case v.Fits:
				return 1
			}
			return 2
		}
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Machine, b.Machine), cmp.Compare(a.MachineID, b.MachineID))
	})
	return verdicts
}

// spread counts for one machine.
func (g *group) spread(slot int32) []SpreadCount {
	m := &g.s.machines[slot]
	onMachine := int32(0)
	if mark := &g.s.marks[slot]; mark.epoch == g.s.epoch {
		onMachine = mark.count
	}
	var counts []SpreadCount
	g.eachSpread(slot, onMachine, func(i int, n int32) {
		counts = append(counts, spreadCount(g.d.shape.Spread[i], m.spec.Name, m.spec.Labels, n))
	})
	return counts
}
