package core

import (
	"strings"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/scheduler"
	"github.com/argosy-cluster/argosy/internal/state"
)

// explain says of every machine whether it could take a replica now, as if the replica itself were nowhere.
func (c *Core) explain(k state.Key, r *argosyv1.Replica, sh shape) []*argosyv1.MachineVerdict {
	own := c.placed[k]
	for _, p := range own {
		c.sched.Remove(p)
	}
	verdicts := c.sched.Explain(scheduler.Request{Replica: schedulerReplica(k), Incarnation: r.GetIncarnation(), Shape: sh.Shape, Pin: c.pinOf(k)})
	for _, p := range own {
		c.sched.Add(p)
	}
	out := make([]*argosyv1.MachineVerdict, 0, len(verdicts))
	for _, v := range verdicts {
		detail := strings.TrimPrefix(strings.TrimPrefix(v.String(), v.Machine+": "), "no: ")
		if v.MachineID == r.GetMachine() {
			detail = "it is here; " + detail
		}
		out = append(out, &argosyv1.MachineVerdict{Machine: v.Machine, Fits: v.Fits, Detail: detail, Score: float64(1000-v.Load) / 1000})
	}
	return out
}
