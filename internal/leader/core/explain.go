package core

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/orchestrator"
	"github.com/argosy-cluster/argosy/internal/scheduler"
	"github.com/argosy-cluster/argosy/internal/state"
)

const (
	// maxExplained is how many replicas of a stack, an app or a machine are explained at once.
	maxExplained = 100
	// maxSupposed is how many replicas that do not exist are supposed before the one that is asked about.
	maxSupposed = 1000
)

// Explain says why a replica is where it is, or nowhere, or why there is none. Without number or stack it explains a whole
// stack or app. With rules, each machine's verdict has every rule. It leaves history to the caller.
func (v *View) Explain(k state.Key, rules bool) (*argosyv1.ExplainResponse, error) {
	if k.Number == 0 {
		return v.explainMany(k)
	}
	r := v.Replica(k)
	if r == nil {
		return v.explainAbsent(k, rules)
	}
	out := &argosyv1.ExplainResponse{Status: v.Status(r), Decided: r.GetReason(), Volumes: v.Volumes(k), VolumeStatus: v.ReplicaVolumes(k)}
	if text := v.foreseenText(r); text != "" {
		out.Summary = append(out.Summary, text)
	}
	sh := v.core.shapeAt(k.StackKey(), r.GetRevision())
	if sh.fault != "" {
		return out, nil
	}
	t := v.core.sched.Suppose()
	defer t.End()
	for _, p := range slices.Concat(v.core.placed[k], v.core.ahead[k]) {
		t.Remove(p)
	}
	out.Now = verdicts(t, scheduler.Request{Replica: schedulerReplica(k), Incarnation: r.GetIncarnation(), Shape: sh.of(k),
		Pin: v.core.pinOf(k)}, r.GetMachine(), rules)
	return out, nil
}

// verdicts says of every machine whether it could take a request; here is where the replica is, or empty.
func verdicts(t *scheduler.Trial, r scheduler.Request, here string, rules bool) []*argosyv1.MachineVerdict {
	var list []scheduler.MachineRules
	if rules {
		list = t.Rules(r)
	} else {
		for _, v := range t.Explain(r) {
			list = append(list, scheduler.MachineRules{MachineVerdict: v})
		}
	}
	out := make([]*argosyv1.MachineVerdict, 0, len(list))
	for _, v := range list {
		detail := strings.TrimPrefix(strings.TrimPrefix(v.String(), v.Machine+": "), "no: ")
		if v.MachineID == here {
			detail = "it is here; " + detail
		}
		m := &argosyv1.MachineVerdict{Machine: v.Machine, Fits: v.Fits, Detail: detail, Score: float64(1000-v.Load) / 1000}
		for _, rule := range v.Rules {
			m.Rules = append(m.Rules, &argosyv1.RuleVerdict{Rule: rule.Rule, Holds: rule.Holds, Have: rule.Have, Need: rule.Need})
		}
		out = append(out, m)
	}
	return out
}

// explainAbsent says why there is no replica of a number, and where it would go.
func (v *View) explainAbsent(k state.Key, rules bool) (*argosyv1.ExplainResponse, error) {
	app, rev := v.App(k.Tenant, k.App), v.AppRevision(k.Tenant, k.App, 0)
	entry := state.Entry(rev.GetSpec(), k.Stack)
	if app == nil || state.StackSpec(rev.GetSpec(), k.Stack) == nil {
		return nil, v.noReplica(k)
	}
	out := &argosyv1.ExplainResponse{Volumes: v.Volumes(k)}
	say := func(format string, args ...any) { out.Summary = append(out.Summary, fmt.Sprintf(format, args...)) }
	count := entry.GetCount()
	switch {
	case app.GetDeleting():
		say("there is no replica %s: the app is being deleted", k)
		return out, nil
	case entry.GetEachMachine():
		say("there is no replica %s: the stack has one replica on each machine that qualifies, %d now, and numbers follow machines", k,
			len(v.core.allowed(k.StackKey(), app.GetRevision())))
		return out, nil
	case k.Number <= count:
		say("there is no replica %s yet: it is wanted since revision %d and is about to be created", k, app.GetRevision())
		return out, nil
	}
	say("there is no replica %s: the stack is scaled to %d at revision %d", k, count, app.GetRevision())
	sh := v.core.shapeAt(k.StackKey(), app.GetRevision())
	if sh.fault != "" {
		return out, nil
	}
	v.supposeScaled(k, count, sh, rules, out)
	return out, nil
}

// supposeScaled says where a number beyond the count would go, if the stack were scaled up to it.
func (v *View) supposeScaled(k state.Key, count uint32, sh shape, rules bool, out *argosyv1.ExplainResponse) {
	t := v.core.sched.Suppose()
	defer t.End()
	request := func(n uint32) scheduler.Request {
		key := k.StackKey().Replica(n)
		return scheduler.Request{Replica: schedulerReplica(key), Incarnation: 1, Shape: sh.of(key), Pin: v.core.pinOf(key)}
	}
	var before []scheduler.Request
	first := max(count+1, k.Number-min(k.Number, maxSupposed))
	for n := first; n < k.Number; n++ {
		before = append(before, request(n))
	}
	without := 0
	for _, d := range t.Decide(v.now, before) {
		if !d.Placed() {
			without++
		}
	}
	if first > count+1 {
		out.Summary = append(out.Summary, fmt.Sprintf("what follows reckons with the %d numbers before it, not with all since %d", maxSupposed, count))
	}
	out.Now = verdicts(t, request(k.Number), "", rules)
	d := t.Decide(v.now, []scheduler.Request{request(k.Number)})[0]
	word := "it would go to " + v.MachineName(d.MachineID)
	if !d.Placed() {
		word = "it would wait"
	}
	out.Summary = append(out.Summary, fmt.Sprintf("if it were scaled to %d (argosy scale %s/%s=%d), %s", k.Number, k.App, k.Stack, k.Number, word))
	if without > 0 {
		out.Summary = append(out.Summary, fmt.Sprintf("%d of the %d before it would wait too", without, len(before)))
	}
	out.Decided = v.core.reasonOf("", &d)
}

// explainMany explains a stack, or all stacks of an app: those replicas first that are not as they should be.
func (v *View) explainMany(k state.Key) (*argosyv1.ExplainResponse, error) {
	app, rev := v.App(k.Tenant, k.App), v.AppRevision(k.Tenant, k.App, 0)
	list := v.AppReplicas(k.AppKey())
	if k.Stack != "" {
		list = v.StackReplicas(k.StackKey())
	}
	if app == nil || k.Stack != "" && state.StackSpec(rev.GetSpec(), k.Stack) == nil && len(list) == 0 {
		return nil, v.noReplica(k)
	}
	out := &argosyv1.ExplainResponse{}
	switch {
	case app.GetDeleting():
		out.Summary = append(out.Summary, fmt.Sprintf("app %s is being deleted", k.App))
		out.Summary = append(out.Summary, v.unforgotten(k.AppKey())...)
	default:
		out.Summary = append(out.Summary, fmt.Sprintf("app %s is at revision %d", k.App, app.GetRevision()))
	}
	for _, st := range v.AppStatus(app).GetStacks() {
		if k.Stack == "" || st.GetStack() == k.Stack {
			out.Summary = append(out.Summary, fmt.Sprintf("%s: %d wanted, %d ready, %d at the present revision", st.GetStack(), st.GetWanted(),
				st.GetReady(), st.GetUpdated()))
		}
	}
	v.explained(out, list)
	return out, nil
}

// unforgotten says why volumes of an app that is being deleted with them are still known, where that is up to their storage.
func (v *View) unforgotten(k state.AppKey) (out []string) {
	for _, vol := range v.FencedVolumes() {
		r := state.KeyOf(vol.GetReplica())
		if r.AppKey() != k || !v.core.forgets(r) {
			continue
		}
		s := v.VolumeStatus(vol)
		text := s.GetMessage()
		if len(v.core.barred(r, vol)) == 0 { // nobody is refused any more, and another server may yet tell the storage something
			text = s.GetFenced()[0].GetMachine() + ": " + s.GetFenced()[0].GetMessage()
		}
		out = append(out, fmt.Sprintf("volume %s of %s: %s", vol.GetName(), r, text))
	}
	return out
}

// explained lists replicas with their reasons, those first that are not ready and up to date.
func (v *View) explained(out *argosyv1.ExplainResponse, list []*argosyv1.Replica) {
	statuses := make([]*argosyv1.ReplicaStatus, len(list))
	for i, r := range list {
		statuses[i] = v.Status(r)
	}
	rank := func(s *argosyv1.ReplicaStatus) int {
		switch {
		case s.GetReplica().GetMachine() == "":
			return 0
		case s.GetState() != argosyv1.ReplicaState_REPLICA_STATE_READY && s.GetState() != argosyv1.ReplicaState_REPLICA_STATE_COMPLETED:
			return 1
		case !s.GetUpToDate():
			return 2
		}
		return 3
	}
	slices.SortStableFunc(statuses, func(a, b *argosyv1.ReplicaStatus) int { return cmp.Compare(rank(a), rank(b)) })
	for _, s := range statuses[:min(len(statuses), maxExplained)] {
		out.Replicas = append(out.Replicas, &argosyv1.ExplainedReplica{Status: s, Decided: s.GetReplica().GetReason()})
	}
	if more := len(statuses) - maxExplained; more > 0 {
		out.Summary = append(out.Summary, fmt.Sprintf("%d more replicas are not listed: argosy ps has them", more))
	}
}

// ExplainMachine says how a machine stands and what of a tenant is on it.
func (v *View) ExplainMachine(m *argosyv1.Machine, tenant string) *argosyv1.ExplainResponse {
	out := &argosyv1.ExplainResponse{Machine: v.MachineStatus(m)}
	say := func(format string, args ...any) { out.Summary = append(out.Summary, fmt.Sprintf(format, args...)) }
	say("%s is %s", v.MachineName(m.GetId()), orchestrator.Word(v.Condition(m.GetId())))
	if text := out.Machine.GetMessage(); text != "" {
		say("%s", text)
	}
	used, free := v.core.sched.Used(m.GetId())
	say("cpu: %s of %s reserved, %s free", scheduler.FormatCPU(used.CPU), scheduler.FormatCPU(used.CPU+free.CPU), scheduler.FormatCPU(free.CPU))
	say("memory: %s reserved, %s free", scheduler.FormatMemory(used.Memory), scheduler.FormatMemory(free.Memory))
	if v.Condition(m.GetId()) != condReady {
		say("it takes no replicas while it is not ready")
	}
	for _, l := range out.Machine.GetRemaining() {
		if l.GetKey().GetTenant() == tenant {
			say("%s: %s", state.KeyOf(l.GetKey()), l.GetWhy())
		}
	}
	if v.core.paused != "" {
		say("%s", v.core.paused)
	}
	var own []*argosyv1.Replica
	others := 0
	for _, r := range v.MachineReplicas(m.GetId()) {
		if r.GetKey().GetTenant() == tenant {
			own = append(own, r)
		} else {
			others++
		}
	}
	if others > 0 {
		say("%d replicas of other tenants are on it", others)
	}
	if past := len(v.MachinePast(m.GetId())); past > 0 {
		say("it may still run earlier copies of %d replicas", past)
	}
	v.explained(out, own)
	return out
}

// ExplainPlanned says what applying a spec would do to what a key names, and for one replica how each machine would stand
// then.
func (v *View) ExplainPlanned(spec *argosyv1.AppSpec, k state.Key, rules bool) (*argosyv1.ExplainResponse, error) {
	p, err := v.plan(k.Tenant, spec, v.core.cfg.Diff)
	if err != nil {
		return nil, err
	}
	defer p.trial.End()
	out := &argosyv1.ExplainResponse{}
	for _, l := range p.lines {
		key := state.KeyOf(l.change.Key)
		if k.Stack != "" && key.Stack != k.Stack || k.Number != 0 && key.Number != k.Number {
			continue
		}
		if out.Changes = append(out.Changes, l.change); k.Number != 0 {
			out.Decided, out.Volumes = l.change.Reason, v.Volumes(k)
			if l.stack.spec != nil {
				out.Now = l.verdicts(p, rules)
			}
		}
	}
	if len(out.Changes) == 0 {
		return nil, &NotFoundError{notPlanned(spec, k)}
	}
	return out, nil
}

func notPlanned(spec *argosyv1.AppSpec, k state.Key) string {
	entry := state.Entry(spec, k.Stack)
	switch {
	case k.Stack != "" && state.StackSpec(spec, k.Stack) == nil:
		return fmt.Sprintf("the manifest has no stack %s", k.Stack)
	case k.Number > entry.GetCount() && !entry.GetEachMachine():
		return fmt.Sprintf("there would be no replica %s: the manifest asks for %d", k, entry.GetCount())
	}
	return fmt.Sprintf("the manifest asks for nothing called %s", strings.TrimSuffix(k.String(), ".0"))
}

// verdicts says how each machine would stand for a replica once all else is done.
func (l *planLine) verdicts(p *planning, rules bool) []*argosyv1.MachineVerdict {
	k := state.KeyOf(l.change.Key)
	r := scheduler.Request{Replica: schedulerReplica(k), Shape: l.stack.sh.of(k), Pin: p.v.core.pinOf(k)}
	mark := p.trial.Mark()
	defer p.trial.Back(mark)
	for _, own := range slices.Concat(p.v.core.placed[k], p.v.core.ahead[k]) {
		p.trial.Remove(own)
	}
	if l.request != nil && l.machine != "" {
		p.trial.Remove(scheduler.Placed{Replica: r.Replica, Incarnation: l.request.Incarnation, Machine: l.machine})
	}
	return verdicts(p.trial, r, l.machine, rules)
}
