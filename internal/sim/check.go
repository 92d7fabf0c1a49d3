package sim

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

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

// CheckSettled looks at what must hold once faults have ended and some time has passed.
func (w *World) CheckSettled() {
	v := w.View()
	if v == nil {
		w.violate("agreement: nobody leads")
		return
	}
	if w.leader.busy {
		// A transaction is on its way: nobody can tell yet.
		w.Run(10 * time.Millisecond)
		w.CheckSettled()
		return
	}
	w.checkMirror(v)
	w.checkAcked(v)
	wanted := map[agent.ID]*argosyv1.Replica{}
	for _, m := range w.machines {
		w.checkDrained(v, m)
	}
	for _, r := range v.Replicas("") {
		w.checkReplica(v, r)
		if r.GetMachine() != "" && r.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_RUN {
			wanted[agent.ID{Key: agent.KeyOf(r.GetKey()), AppUID: r.GetAppUid(), Incarnation: r.GetIncarnation()}] = r
		}
	}
	for _, m := range w.machines {
		w.checkEngine(v, m, wanted)
	}
}

// checkReplica: what the store wants runs, unless it cannot.
func (w *World) checkReplica(v *core.View, r *argosyv1.Replica) {
	k := state.KeyOf(r.GetKey())
	s := v.Status(r)
	app := v.App(k.Tenant, k.App)
	_, containers := v.StackOf(k.StackKey(), r.GetRevision())
	m := w.byID(r.GetMachine())
	switch {
	case r.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE:
		if m == nil || m.alive() && len(r.GetPast()) == 0 {
			w.violate("agreement: %s is still being removed by %s: %s", k, v.MachineName(r.GetMachine()), s.GetMessage())
		}
	case len(r.GetPast()) > 0 && !slices.ContainsFunc(r.GetPast(), func(p *argosyv1.PastIncarnation) bool {
		m := w.byID(p.GetMachine())
		return p.GetUntilReady() || m != nil && !m.alive()
	}):
		w.violate("agreement: %s still has earlier incarnations on machines that are back: %v", k, r.GetPast())
	case doomed(containers) || r.GetMachine() == "" || m != nil && !m.alive():
	case s.GetState() != argosyv1.ReplicaState_REPLICA_STATE_READY:
		w.violate("agreement: %s is %s on %s: %s", k, s.GetState(), v.MachineName(r.GetMachine()), s.GetMessage())
	case app.GetRevision() != r.GetRevision() && !w.excused(v, k) && s.GetMessage() == "":
		w.violate("agreement: %s is at revision %d of %d and says nothing of it", k, r.GetRevision(), app.GetRevision())
	case app.GetRevision() != r.GetRevision() && !w.excused(v, k):
		w.violate("agreement: %s is still at revision %d of %d: %s", k, r.GetRevision(), app.GetRevision(), s.GetMessage())
	}
	if r.GetMachine() == "" && r.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_RUN {
		w.checkPending(v, k, s)
	}
}

// checkPending: what is on no machine says why, and fits none.
func (w *World) checkPending(v *core.View, k state.Key, s *argosyv1.ReplicaStatus) {
	if s.GetMessage() == "" {
		w.violate("no silent refusal: %s is on no machine and nothing says why", k)
	}
	ex, err := v.Explain(k, false)
	if err != nil {
		w.violate("%s cannot be explained: %v", k, err)
	}
	for _, m := range ex.GetNow() {
		if m.GetFits() {
			w.violate("agreement: %s waits (%s) and fits on %s: %s", k, s.GetMessage(), m.GetMachine(), m.GetDetail())
		}
	}
}

func (m *Machine) alive() bool { return m.up && m.hears() && m.speaks() && !m.removed }

// doomed reports whether a replica can never be ready.
func doomed(containers []*argosyv1.ContainerSpec) bool {
	return slices.ContainsFunc(containers, func(ct *argosyv1.ContainerSpec) bool {
		return strings.Contains(ct.GetImage(), "missing") || strings.Contains(ct.GetImage(), "failing")
	})
}

// excused reports whether an update of a replica's stack may stand still: the new revision is doomed, or the replica does
// not fit.
func (w *World) excused(v *core.View, k state.Key) bool {
	_, containers := v.StackOf(k.StackKey(), 0)
	if doomed(containers) {
		return true
	}
	if !strings.Contains(v.Status(v.Replica(k)).GetMessage(), "does not fit") {
		return false
	}
	// What says that it does not fit must not fit.
	plan, err := v.Plan(k.Tenant, v.AppRevision(k.Tenant, k.App, 0).GetSpec())
	if err != nil {
		w.violate("%s cannot be planned: %v", k, err)
	}
	for _, c := range plan.GetChanges() {
		if state.KeyOf(c.GetKey()) == k && c.GetKind() != argosyv1.ChangeKind_CHANGE_KIND_WAIT {
			w.violate("agreement: %s waits (%s), and a plan would %s it: %s", k, v.Status(v.Replica(k)).GetMessage(), c.GetKind(), c.GetReason().GetSummary())
		}
	}
	return true
}

// checkEngine: a machine runs what the store wants of it, nothing besides and nothing twice.
func (w *World) checkEngine(v *core.View, m *Machine, wanted map[agent.ID]*argosyv1.Replica) {
	if !m.alive() || v.Machine(m.ID) == nil {
		return
	}
	w.checkTold(m)
	w.checkVolumes(v, m)
	running := map[agent.MemberID]int{}
	for _, id := range m.engine.ids() {
		b := m.engine.containers[id]
		if standIn(v, b.Owner, m.ID) {
			continue
		}
		r := wanted[b.Owner]
		if r == nil || r.GetMachine() != m.ID {
			w.violate("agreement: %s has an orphan: container %s of %s incarnation %d", m.Name, id, b.Owner.Key, b.Owner.Incarnation)
			continue
		}
		if b.State == agent.Running {
			running[agent.MemberID{ID: b.Owner, Member: b.Member}]++
		}
	}
	for id, n := range running {
		if n > 1 {
			w.violate("agreement: %s runs %s/%s %d times", m.Name, id.Key, id.Member, n)
		}
	}
}

// checkVolumes: what a machine keeps, a record names. A machine whose disk lost what it said was written begins again from what it
// believed earlier, and may have made the volume of a replica that has been deleted since. Whether such a volume is anybody's data,
// nobody can know, so it stays, and the cluster has to say so. It says so of nothing else.
func (w *World) checkVolumes(v *core.View, m *Machine) {
	shown := map[agent.Key]bool{}
	for _, s := range v.MachineStatus(v.Machine(m.ID)).GetStrays() {
		k := agent.KeyOf(s.GetReplica())
		shown[k] = true
		if !m.engine.volumes[k] || len(v.Volumes(state.Key(k))) > 0 {
			w.violate("no lies: %s is said to keep a volume of %s that nothing names: it is there: %v, and records name %d", m.Name, k, m.engine.volumes[k], len(v.Volumes(state.Key(k))))
		}
	}
	for k := range m.engine.volumes {
		if len(v.Volumes(state.Key(k))) == 0 && !(m.lied && shown[k]) {
			w.violate("agreement: %s keeps the volumes of %s, which no record names, and which is said to be left over: %v", m.Name, k, shown[k])
		}
	}
}

// checkForeseen: what is foreseen is about replicas of machines that are silent and not yet lost, and would go to another one.
func (w *World) checkForeseen(v *core.View) {
	for k, to := range v.Foreseen() {
		r := v.Replica(k)
		if c := v.Condition(r.GetMachine()); c != argosyv1.MachineCondition_MACHINE_CONDITION_UNREACHABLE {
			w.violate("no lies: %s is said to go elsewhere if its machine is lost, which is %s", k, c)
		}
		if to == r.GetMachine() || len(v.Volumes(k)) > 0 {
			w.violate("agreement: %s would go from %s to %q, with %d volumes", k, r.GetMachine(), to, len(v.Volumes(k)))
		}
	}
}

// checkTold: what the agent believes it should run is what the leader would tell it.
func (w *World) checkTold(m *Machine) {
	c := w.leader.core
	keys := c.Assigned(m.ID)
	if m.agent == nil || len(keys) != len(m.agent.wanted) || len(keys) != len(m.disk.wanted) {
		w.violate("agreement: %s should know of %d replicas, and does not", m.Name, len(keys))
		return
	}
	for _, k := range keys {
		if !proto.Equal(m.agent.wanted[agent.Key(k)], c.Assignment(m.ID, k)) {
			w.violate("agreement: %s was told %v of %s and should know %v", m.Name, m.agent.wanted[agent.Key(k)], k, c.Assignment(m.ID, k))
		}
	}
}

// checkMirror: the leader's mirror is what the store holds.
func (w *World) checkMirror(v *core.View) {
	snap, err := w.store.List(context.Background(), store.Root)
	if err != nil {
		w.violate("reading the store: %v", err)
		return
	}
	if diff := state.Diff(v.State, state.Load(snap)); diff != "" {
		w.violate("the leader's mirror differs from the store: %s", diff)
	}
}

// checkAcked: what was acknowledged is in the store.
func (w *World) checkAcked(v *core.View) {
	for _, k := range slices.SortedFunc(maps.Keys(w.acked.apps), state.AppKey.Compare) {
		if app := v.App(k.Tenant, k.App); app.GetRevision() < w.acked.apps[k] {
			w.violate("nothing acknowledged is lost: %s was acknowledged at revision %d and is at %d", k, w.acked.apps[k], app.GetRevision())
		}
	}
	have := map[string]int{}
	for _, t := range w.History() {
		if t.GetOutboxSeq() > 0 {
			have[fmt.Sprintf("%s/%d", t.GetMachine(), t.GetOutboxSeq())]++
		}
	}
	for _, id := range slices.Sorted(maps.Keys(w.acked.transitions)) {
		machine, _, _ := strings.Cut(id, "/")
		if m := w.byID(machine); m != nil && m.lied {
			continue // it may have used the number twice
		}
		if have[id] != 1 {
			w.violate("nothing acknowledged is lost: transition %s is %d times in history: %s", id, have[id], Describe(w.acked.transitions[id]))
		}
	}
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
