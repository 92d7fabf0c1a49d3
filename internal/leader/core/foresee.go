package core

import (
	"fmt"
	"slices"
	"strings"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/scheduler"
	"github.com/argosy-cluster/argosy/internal/state"
)

// Between the time when a machine falls silent and the time when it counts as lost there are seconds in which nothing can be done for
// what runs there, but one thing: where each replica would go is decided for the case, and the machines that would get them fetch the
// images. Nothing is written, nothing is made and nothing started; when the machine is heard of again, or lost, it is forgotten.

// mostForeseen bounds for how many replicas that is done.
const mostForeseen = 1000

// foreseen is where a replica of a silent machine would go.
type foreseen struct {
	incarnation uint64 // the one that runs, for all that is known
	decision    scheduler.Decision
}

// foresee decides anew where replicas would go, when other machines are silent than before.
func (c *Core) foresee(now time.Time) {
	if !c.foresight {
		return
	}
	c.foresight = false
	silent := c.silent()
	if slices.Equal(silent, c.foreseenOf) {
		return
	}
	told := state.Set[string]{}
	for _, f := range c.foreseen {
		told.Add(f.decision.MachineID)
	}
	c.foreseenOf, c.foreseen = silent, c.suppose(now, silent)
	for _, f := range c.foreseen {
		told.Add(f.decision.MachineID)
	}
	for _, id := range sortedSet(told, strings.Compare) {
		c.disp.MarkForeseen(id)
	}
}

// silent are the machines that will count as lost if they are not heard of, by id.
func (c *Core) silent() []string {
	var out []string
	if c.paused != "" {
		return nil
	}
	for id := range c.verdicts {
		if c.condition(id) == condUnreachable {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// suppose decides where replicas would go if all of these machines were lost, and takes it back.
func (c *Core) suppose(now time.Time, silent []string) map[state.Key]foreseen {
	if len(silent) == 0 {
		return nil
	}
	t := c.sched.Suppose()
	defer t.End()
	var victims []victim
	for _, id := range silent {
		if m, ok := t.Machine(id); ok {
			m.Condition = scheduler.Lost
			t.SetMachine(m)
		}
		for _, r := range c.st.MachineReplicas(id) {
			if v := c.victim(state.KeyOf(r.GetKey()), r); v.fate == fateMoves {
				victims = append(victims, v)
			}
		}
	}
	slices.SortFunc(victims, func(a, b victim) int { return a.key.Compare(b.key) })
	victims = victims[:min(len(victims), mostForeseen)]
	batch := make([]scheduler.Request, len(victims))
	for i, v := range victims {
		batch[i] = scheduler.Request{Replica: schedulerReplica(v.key), Incarnation: v.incarnation + 1, Shape: v.shape}
	}
	out := make(map[state.Key]foreseen, len(victims))
	for i, d := range t.Decide(now, batch) {
		out[victims[i].key] = foreseen{victims[i].incarnation, d}
	}
	return out
}

// Foreseen is what a machine would get if those that are silent were lost: of each replica no more than it takes to fetch its images.
func (c *Core) Foreseen(id string) []*argosyv1.Assignment {
	var out []*argosyv1.Assignment
	m := c.st.Machine(id)
	var keys []state.Key
	for k, f := range c.foreseen {
		if f.decision.MachineID == id && c.isForeseen(c.st.Replica(k), f) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, state.Key.Compare)
	for _, k := range keys {
		a := &argosyv1.Assignment{Key: k.Proto(), Revision: c.st.App(k.Tenant, k.App).GetRevision()}
		_, a.Containers = c.st.StackOf(k.StackKey(), a.Revision)
		c.credentials(a, k, m)
		out = append(out, a)
	}
	return out
}

// isForeseen reports whether what was foreseen of a replica is still about it.
func (c *Core) isForeseen(r *argosyv1.Replica, f foreseen) bool {
	return r != nil && r.GetIncarnation() == f.incarnation && slices.Contains(c.foreseenOf, r.GetMachine()) && c.condition(r.GetMachine()) == condUnreachable
}

// foreseenText says where a replica on a silent machine would go, empty when that is not foreseen.
func (v *View) foreseenText(r *argosyv1.Replica) string {
	f, ok := v.core.foreseen[state.KeyOf(r.GetKey())]
	if !ok || !v.core.isForeseen(r, f) {
		return ""
	}
	text := fmt.Sprintf("once %s is lost: %s", v.MachineName(r.GetMachine()), f.decision.Reason.String())
	if f.decision.Placed() {
		text += fmt.Sprintf("; %s is told to fetch its images", v.MachineName(f.decision.MachineID))
	}
	return text
}

// Foreseen lists which replicas would go where, by key, for whoever checks it.
func (v *View) Foreseen() map[state.Key]string {
	out := map[state.Key]string{}
	for k, f := range v.core.foreseen {
		if v.core.isForeseen(v.Replica(k), f) {
			out[k] = f.decision.MachineID
		}
	}
	return out
}
