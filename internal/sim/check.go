package sim

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	agent "github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/definition"
	"github.com/argosy-cluster/argosy/internal/leader/core"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
)

// acked is what somebody was told is safe.
type acked struct {
	apps map[state.AppKey]uint64
	// deletes counts requests to delete each app: what was applied before one may be gone.
	deletes map[state.AppKey]int
	// transitions are those whose machine forgot them because they were acknowledged.
	transitions map[string]*argosyv1.Transition
}

func newAcked() acked {
	return acked{apps: map[state.AppKey]uint64{}, deletes: map[state.AppKey]int{}, transitions: map[string]*argosyv1.Transition{}}
}

func (a acked) app(k state.AppKey, revision uint64) { a.apps[k] = max(a.apps[k], revision) }

func (a acked) forget(k state.AppKey) {
	delete(a.apps, k)
	a.deletes[k]++
}

func (a acked) transition(machine string, t *argosyv1.Transition) {
	a.transitions[fmt.Sprintf("%s/%d", machine, t.GetOutboxSeq())] = t
}

// traceOp notes a committed operation.
func (w *World) traceOp(op store.Op) {
	key := strings.TrimPrefix(op.Key, store.Root)
	if strings.HasPrefix(key, "history/") {
		t := &argosyv1.Transition{}
		if store.Decode(store.KV{Key: op.Key, Value: op.Value}, t) == nil {
			w.trace("  history %d: %s", t.GetSeq(), Describe(t))
		}
		return
	}
	r := &argosyv1.Replica{}
	switch {
	case op.Value == nil:
		w.trace("  delete %s", key)
	case strings.HasPrefix(key, "replicas/") && store.Decode(store.KV{Key: op.Key, Value: op.Value}, r) == nil:
		w.trace("  put %s: incarnation %d on %q at revision %d, %s, past %d", state.KeyOf(r.GetKey()), r.GetIncarnation(), r.GetMachine(),
			r.GetRevision(), r.GetGoal(), len(r.GetPast()))
	default:
		w.trace("  put %s (%d bytes)", key, len(op.Value))
	}
}

// Describe puts a transition into a line.
func Describe(t *argosyv1.Transition) string {
	subject := t.GetMachine()
	switch {
	case t.GetReplica() != nil && t.GetMember() != "":
		subject = state.KeyOf(t.GetReplica()).String() + "/" + t.GetMember()
	case t.GetReplica() != nil:
		subject = state.KeyOf(t.GetReplica()).String()
	case t.GetApp() != "":
		subject = t.GetApp()
	}
	text := fmt.Sprintf("%s: %s -> %s", subject, t.GetFrom(), t.GetTo())
	if t.GetCause() != "" {
		text += ": " + t.GetCause()
	}
	return text
}

// check looks at what must hold at any time, in all that whoever leads would say.
func (w *World) check() {
	for _, l := range w.reigns {
		if l.serving() && l.stops == 0 {
			l.check()
		}
	}
}

func (l *leaderProcess) check() {
	if l.dead || len(l.w.broken) > 0 || !l.confirmed() {
		return
	}
	v := l.view()
	l.w.checkForeseen(v)
	for _, s := range v.Statuses("", "") {
		l.checkStatus(v, s)
	}
}

// checkMachine looks at what the leader says of a machine's replicas.
func (l *leaderProcess) checkMachine(m *Machine) {
	if l.dead || len(l.w.broken) > 0 || !l.confirmed() {
		return
	}
	v := l.view()
	for _, r := range v.MachineReplicas(m.ID) {
		l.checkStatus(v, v.Status(r))
	}
}

// slack is for how long before the age that it shows a view may be of: how long a machine's Engine takes to tell of what happens,
// and a short time for which a process may have stood still and not noticed. How long messages are on their way is in the age.
func (l *leaderProcess) slack(m *Machine) time.Duration {
	return 100*time.Millisecond + l.blindness[m.ID]
}

// confirmed says whether it would answer a read: before it does, it makes sure of its term with the store. Machines that have met
// a later leader tell an earlier one nothing but that they live.
func (l *leaderProcess) confirmed() bool { return l.term == l.w.term }

// checkStatus looks for lies, and for waiting without a word.
func (l *leaderProcess) checkStatus(v *core.View, s *argosyv1.ReplicaStatus) {
	w, k := l.w, state.KeyOf(s.GetReplica().GetKey())
	switch s.GetState() {
	case argosyv1.ReplicaState_REPLICA_STATE_READY:
		m := w.byID(s.GetReplica().GetMachine())
		if m == nil {
			w.violate("no lies: %s is called ready on a machine that does not exist", k)
			return
		}
		age := l.clock.lasts(s.GetAge().AsDuration())
		if s.GetAge().AsDuration() >= state.DefaultUnreachable {
			w.violate("no lies: %s is called ready, and was seen %s ago", k, s.GetAge().AsDuration())
		}
		from := w.now.Add(-age - l.slack(m))
		for _, o := range s.GetObservation().GetMembers() {
			if o.GetState() == argosyv1.MemberState_MEMBER_STATE_RUNNING && !m.engine.ranWithin(o.GetContainerId(), from, w.now) {
				w.violate("no lies: %s calls %s ready %s ago, and %s did not run then", l.server.name, k, s.GetAge().AsDuration(), o.GetName())
			}
		}
	case argosyv1.ReplicaState_REPLICA_STATE_PENDING, argosyv1.ReplicaState_REPLICA_STATE_UNSPECIFIED:
		if s.GetMessage() == "" && s.GetReplica().GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_RUN {
			w.violate("no silent refusal: %s is %s and nothing says why", k, s.GetState())
		}
	}
}

// checkStart: nothing of a replica starts on a machine while another incarnation of it lives there.
func (w *World) checkStart(m *Machine, b *box) {
	for _, o := range m.engine.byKey[b.Owner.Key] {
		if o.Alive() && o.Owner != b.Owner {
			w.violate("%s runs incarnations %d and %d of %s at once", m.Name, o.Owner.Incarnation, b.Owner.Incarnation, b.Owner.Key)
		}
	}
}

// checkStep: what is as it is wanted is not touched, whatever happens to the control plane or the agent.
func (w *World) checkStep(m *Machine, a *agentProcess, s agent.Step) {
	if s.Kind != agent.Stop && s.Kind != agent.Remove {
		return
	}
	b, as := m.engine.containers[s.ContainerID], a.wanted[s.Key]
	if b == nil || as == nil || b.Owner != agent.IDOf(as) || as.GetGoal() != argosyv1.ReplicaGoal_REPLICA_GOAL_RUN || b.State != agent.Running {
		return
	}
	if a.storage != nil && m.ending(a, b) {
		return
	}
	for _, spec := range as.GetContainers() {
		if spec.GetName() == b.Member && definition.Of(spec, as.GetConfigs()) == b.Definition && as.GetRestart() == b.Restart &&
			!slices.ContainsFunc(m.engine.byKey[s.Key], func(o *box) bool { return o != b && o.Owner == b.Owner }) {
			w.violate("nothing stops that need not: %s: %s, and it is as wanted", m.Name, s)
		}
	}
	for _, u := range as.GetUnits() {
		if u.GetName() == b.Member && definition.OfUnit(u) == b.Definition && as.GetRestart() == b.Restart {
			w.violate("nothing stops that need not: %s: %s, and it is as wanted", m.Name, s)
		}
	}
}

// checkRoll: a decision changes at most one replica of a stack so that its containers notice, and none while another that
// was changed is not ready. Restarts that somebody asked of one replica are not held up.
func (w *World) checkRoll(v *core.View, units []core.Unit) {
	rolled, leaving := map[state.StackKey]state.Key{}, removed(units)
	for _, u := range units {
		for _, op := range u.Ops {
			next := &argosyv1.Replica{}
			if !strings.HasPrefix(op.Key, store.Replicas) || op.Value == nil || store.Decode(store.KV{Key: op.Key, Value: op.Value}, next) != nil {
				continue
			}
			k := state.KeyOf(next.GetKey())
			if old := v.Replica(k); old == nil || old.GetMachine() == "" || !w.noticed(v, k, old, next) {
				continue
			}
			if other, ok := rolled[k.StackKey()]; ok {
				w.violate("one at a time: %s and %s are updated at once", other, k)
			}
			rolled[k.StackKey()] = k
			for _, r := range v.StackReplicas(k.StackKey()) {
				m := v.Condition(r.GetMachine())
				if ok := state.KeyOf(r.GetKey()); ok == k || leaving[ok] || v.Machine(r.GetMachine()) == nil || m == argosyv1.MachineCondition_MACHINE_CONDITION_LOST ||
					r.GetRevision() != next.GetRevision() || r.GetRestart()>>32 != next.GetRestart()>>32 || r.GetGoal() != argosyv1.ReplicaGoal_REPLICA_GOAL_RUN {
					continue
				}
				if s := v.Status(r); s.GetState() != argosyv1.ReplicaState_REPLICA_STATE_READY && s.GetState() != argosyv1.ReplicaState_REPLICA_STATE_COMPLETED {
					w.violate("one at a time: %s is updated while %s, which has the update, is %s", k, state.KeyOf(r.GetKey()), s.GetState())
				}
			}
		}
	}
}

// removed are the replicas that a decision has removed: nobody waits for them to be ready.
func removed(units []core.Unit) map[state.Key]bool {
	out := map[state.Key]bool{}
	for _, u := range units {
		for _, op := range u.Ops {
			r := &argosyv1.Replica{}
			if strings.HasPrefix(op.Key, store.Replicas) && op.Value != nil && store.Decode(store.KV{Key: op.Key, Value: op.Value}, r) == nil &&
				r.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE {
				out[state.KeyOf(r.GetKey())] = true
			}
		}
	}
	return out
}

// noticed reports whether a change of a running replica's record makes its machine replace containers, in a rolling update.
func (w *World) noticed(v *core.View, k state.Key, old, next *argosyv1.Replica) bool {
	const run = argosyv1.ReplicaGoal_REPLICA_GOAL_RUN
	if old.GetGoal() != run || next.GetGoal() != run || old.GetIncarnation() != next.GetIncarnation() {
		return false
	}
	_, before := v.StackOf(k.StackKey(), old.GetRevision())
	_, after := v.StackOf(k.StackKey(), next.GetRevision())
	same := len(before) == len(after)
	for i := 0; same && i < len(before); i++ {
		same = definition.Of(before[i], nil) == definition.Of(after[i], nil)
	}
	return !same || old.GetRestart()>>32 != next.GetRestart()>>32
}

func (w *World) byID(id string) *Machine {
	for _, m := range w.machines {
		if m.ID == id {
			return m
		}
	}
	return nil
}

// History lists the transitions that the store holds, in order.
func (w *World) History() []*argosyv1.Transition {
	snap, err := w.store.List(context.Background(), store.History)
	if err != nil {
		w.violate("reading history: %v", err)
		return nil
	}
	var out []*argosyv1.Transition
	for _, kv := range snap.KVs {
		t := &argosyv1.Transition{}
		if err := store.Decode(kv, t); err != nil {
			w.violate("history: %v", err)
			continue
		}
		out = append(out, t)
	}
	return out
}

// Containers lists what every engine holds, a line for each container.
func (w *World) Containers() []string {
	var out []string
	for _, m := range w.machines {
		for _, id := range m.engine.ids() {
			b := m.engine.containers[id]
			out = append(out, fmt.Sprintf("%s %s/%s i%d %s", m.Name, b.Owner.Key, b.Member, b.Owner.Incarnation, b.State))
		}
	}
	slices.Sort(out)
	return out
}
