package scheduler

import (
	"fmt"
	"strings"

	"github.com/argosy-cluster/argosy/internal/placement"
)

// RuleVerdict is what one rule says of one machine, in words.
type RuleVerdict struct {
	Cause Cause  // what it is when it does not hold
	Rule  string // "ready", "zone == edge", "port 80/tcp", "memory"
	Holds bool
	Have  string // what the machine has: "label zone is core", "392 MiB free"
	Need  string // what is asked for: "== edge", "512 MiB"; may be empty
}

// MachineRules is a machine with every rule of a request.
type MachineRules struct {
	MachineVerdict
	Rules []RuleVerdict // in the order of causes
}

// Rules is Explain with every rule for each machine, those that hold too.
func (s *Scheduler) Rules(request Request) []MachineRules {
	verdicts := s.Explain(request)
	d := s.demandOf(request.Replica.Stack, request.Shape)
	out := make([]MachineRules, len(verdicts))
	for i, v := range verdicts {
		out[i] = MachineRules{v, s.rulesOn(d, request.Pin, s.byID[v.MachineID])}
	}
	return out
}

func (s *Scheduler) rulesOn(d *demand, pin Pin, slot int32) []RuleVerdict {
	m := &s.machines[slot]
	ready := m.spec.Condition == Ready
	cause, _ := m.standing(nil)
	out := []RuleVerdict{{Cause: cause, Rule: "ready", Holds: ready, Have: m.spec.Condition.String(), Need: Ready.String()}}
	if pin.Machine != "" {
		at, ok := s.find(pin.Machine)
		out = append(out, RuleVerdict{Cause: CausePin, Rule: "pin", Holds: ok && at == slot, Have: m.spec.Name,
			Need: s.elsewhere(pin).String()})
	}
	for _, e := range d.shape.Require {
		v := RuleVerdict{Cause: CauseRequire, Rule: "require " + e.Words(), Holds: e.Eval(m.label), Need: e.Words()}
		var have []string
		for _, key := range e.Keys() {
			if detail, bad := e.Mismatch(m.label); bad && placement.Own(key) {
				have = append(have, detail.String())
			} else if value, ok := m.label(key); ok {
				have = append(have, key+"="+value)
			} else {
				have = append(have, "no "+key)
			}
		}
		v.Have = strings.Join(have, ", ")
		out = append(out, v)
	}
	for _, o := range d.together {
		out = append(out, s.neighbourRule(d, o, CauseTogether, slot, len(o.at.entries) == 0 && o == d.stack || o.at.get(slot) > 0))
	}
	for _, o := range d.apart {
		out = append(out, s.neighbourRule(d, o, CauseApart, slot, o.at.get(slot) == 0))
	}
	if n := s.asksApart(d, slot); n != nil {
		v := s.neighbour(d, n, Neighbour{Asks: true})
		out = append(out, RuleVerdict{Cause: CauseApart, Rule: "wanted apart", Have: v.String()})
	}
	for _, p := range d.ports {
		v := RuleVerdict{Cause: CausePort, Rule: "port " + p.String(), Holds: !m.taken(p), Have: "free", Need: "free"}
		if !v.Holds {
			v.Have = strings.TrimPrefix(s.holder(d, m, p).String(), "port "+p.String()+" ")
		}
		out = append(out, v)
	}
	if len(d.brings) > 0 {
		v := RuleVerdict{Cause: CauseUnit, Rule: "units", Holds: true, Have: "no unit in the way", Need: "no unit in the way"}
		if c, found := s.clashAt(d, slot); found {
			v.Holds, v.Have = false, c.String()
		}
		out = append(out, v)
	}
	return append(out,
		RuleVerdict{Cause: CauseCPU, Rule: "cpu", Holds: d.need.cpu <= m.free.cpu, Have: FormatCPU(int64(m.free.cpu)) + " free",
			Need: FormatCPU(int64(d.need.cpu))},
		RuleVerdict{Cause: CauseMemory, Rule: "memory", Holds: d.need.mem <= m.free.mem,
			Have: FormatMemory(int64(m.free.mem)*pageSize) + " free", Need: FormatMemory(int64(d.need.mem) * pageSize)})
}

func (s *Scheduler) neighbourRule(d *demand, o *stack, cause Cause, slot int32, holds bool) RuleVerdict {
	word, need := "apart from ", "none"
	if cause == CauseTogether {
		word, need = "together with ", "one or more"
	}
	name := s.neighbour(d, o, Neighbour{}).name()
	return RuleVerdict{Cause: cause, Rule: word + name, Holds: holds, Have: fmt.Sprintf("%d here", o.at.get(slot)), Need: need}
}
