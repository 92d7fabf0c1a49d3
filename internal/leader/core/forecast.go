package core

import (
	"fmt"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/scheduler"
	"github.com/argosy-cluster/argosy/internal/state"
)

// Bounds of what a forecast tries, so that it holds up the leader for a fraction of a second whatever is asked. What is
// left out is said.
const (
	// maxHeadroom is up to how many more replicas of a stack are counted.
	maxHeadroom = 10_000
	// maxAdvised is for how many stacks with waiting replicas something that would help is looked for.
	maxAdvised = 16
	// maxReplanned is how many replicas are planned anew, all tries of changed manifests together.
	maxReplanned = 50_000
	// maxReplaced is how many replicas are placed anew, all losses together.
	maxReplaced = 200_000
)

// MaxLossLabels is how many labels a forecast looks at.
const MaxLossLabels = 4

// forecaster is one call of PlanAhead. It works in the plan's trial, in which everything that was planned has happened.
type forecaster struct {
	p   *planning
	out *argosyv1.Forecast

	// lines are the plan's, by where they are after it.
	lines map[string][]*planLine

	silent, counted int                  // machines: those silent now, and those not lost
	waiting         state.Set[state.Key] // what waits in the plan
	replanned       int
	replaced        int
}

// PlanAhead is Plan, with what would follow: what would make fit what does not, what the loss of each machine and of each
// value of some labels does, and how many more fit.
func (v *View) PlanAhead(tenant string, spec *argosyv1.AppSpec, labels []string) (*argosyv1.PlanResponse, error) {
	p, err := v.plan(tenant, spec, v.core.cfg.Diff)
	if err != nil {
		return nil, err
	}
	f := &forecaster{p: p, out: &argosyv1.Forecast{}, lines: map[string][]*planLine{}, waiting: state.Set[state.Key]{}}
	for _, l := range p.lines {
		if l.machine != "" {
			f.lines[l.machine] = append(f.lines[l.machine], l)
		}
	}
	f.shortfalls()
	f.losses(labels)
	f.headroom()
	p.trial.End()
	out := p.answer()
	out.Forecast = f.out
	return out, nil
}

func (f *forecaster) leftOut(format string, args ...any) {
	f.out.LeftOut = append(f.out.LeftOut, fmt.Sprintf(format, args...))
}

// headroom counts how many more of each stack fit.
func (f *forecaster) headroom() {
	for _, st := range f.p.stackList {
		if st.spec == nil || st.entry.GetEachMachine() {
			continue
		}
		room := f.p.trial.Room(schedulerStack(st.key), st.sh.anyone(), maxHeadroom)
		h := &argosyv1.Headroom{Stack: st.key.Stack, More: uint32(room.Count), AtLeast: room.More}
		if !room.More {
			if end := room.Ends(); end != scheduler.CauseNone {
				h.Ends = end.String()
			}
			h.Rules = ruleCounts(&scheduler.Rejections{Counts: room.Counts})
		}
		f.out.Headroom = append(f.out.Headroom, h)
	}
}

// ruleCounts lists for how many machines each rule is the first in the way. Requirements are named one by one where they
// are known.
func ruleCounts(r *scheduler.Rejections) []*argosyv1.RuleCount {
	var out []*argosyv1.RuleCount
	for cause := scheduler.CauseUnknown; int(cause) < len(r.Counts); cause++ {
		n := r.Count(cause)
		if cause == scheduler.CauseRequire {
			for _, req := range r.Require {
				out = append(out, &argosyv1.RuleCount{Rule: "require " + req.Require.Words(), Machines: uint32(req.Machines)})
				n -= req.Machines
			}
		}
		if n > 0 {
			out = append(out, &argosyv1.RuleCount{Rule: cause.String(), Machines: uint32(n)})
		}
	}
	return out
}
