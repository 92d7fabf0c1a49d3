package core

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/orchestrator"
	"github.com/argosy-cluster/argosy/internal/scheduler"
	"github.com/argosy-cluster/argosy/internal/state"
)

// planning is one call of Plan.
type planning struct {
	v    *View
	spec *argosyv1.AppSpec
	app  *argosyv1.App // as it would be
	old  *argosyv1.AppSpec
	diff []string
	out  *argosyv1.PlanResponse

	// lines are the changes in order; those with a request get their machine from the scheduler.
	lines []*planLine
	gone  []scheduler.Placed
	// trial holds what place decided, until it ends.
	trial *scheduler.Trial

	stackList []*planStack
	current   *planStack // whose lines are being added
}

type planLine struct {
	change  *argosyv1.Change
	request *scheduler.Request
	// stay: the request asks whether it fits where it is; free is the one that asks for any other machine, nil when
	// it may not leave.
	stay bool
	free *scheduler.Request
	// own is what the replica occupies now, and gives up if the request is granted.
	own []scheduler.Placed
	why string
	// kind is what the change is if the request is granted.
	kind argosyv1.ChangeKind

	// stack and machine are what and where the replica is once all is done, was is where it stays if it is not moved:
	// machines' ids, empty for nowhere.
	stack        *planStack
	machine, was string
	// refused is what did not fit, nil when everything did; vacates is what would have been given up for it.
	refused *scheduler.Decision
	vacates []scheduler.Placed
}

// planStack is a stack as it would be; spec is nil when the app would have none of that name.
type planStack struct {
	key   state.StackKey
	spec  *argosyv1.StackSpec
	entry *argosyv1.ClusterEntry
	sh    shape
	waits map[state.Key]string
}

// Plan says what making a spec the app's next revision would change, where each replica would go and why. It changes
// nothing. Replicas that come, go or change are listed with those that stay, by stack and number.
func (v *View) Plan(tenant string, spec *argosyv1.AppSpec) (*argosyv1.PlanResponse, error) {
	p, err := v.plan(tenant, spec, v.core.cfg.Diff)
	if err != nil {
		return nil, err
	}
	p.trial.End()
	return p.answer(), nil
}

// plan plans; its trial is to be ended. diff may be nil.
func (v *View) plan(tenant string, spec *argosyv1.AppSpec, diff func(before, after *argosyv1.AppSpec) []string) (*planning, error) {
	app := v.App(tenant, spec.GetName())
	p := &planning{v: v, spec: spec, out: &argosyv1.PlanResponse{AppExists: app != nil, BaseRevision: app.GetRevision()}}
	p.old = v.AppRevision(tenant, spec.GetName(), 0).GetSpec()
	p.app = &argosyv1.App{Tenant: tenant, Name: spec.GetName()}
	if app != nil {
		p.app = proto.CloneOf(app)
		p.app.Deleting = false
	}
	p.out.Differs = !proto.Equal(p.old, spec) || p.old == nil
	if p.out.Differs {
		p.app.Revision++
		if diff != nil {
			p.diff = diff(p.old, spec)
		}
		p.out.SpecChanges = p.diff
	}
	key := state.AppKey{Tenant: tenant, App: spec.GetName()}
	for _, name := range p.stacks(key) {
		if err := p.stack(key.Stack(name)); err != nil {
			return nil, err
		}
	}
	p.place()
	return p, nil
}

// answer is the plan for people.
func (p *planning) answer() *argosyv1.PlanResponse {
	for _, l := range p.lines {
		p.out.Changes = append(p.out.Changes, l.change)
	}
	p.warn(p.v.App(p.app.GetTenant(), p.app.GetName()))
	return p.out
}

// stacks lists the stacks of the spec in its order, then those that only the state has.
func (p *planning) stacks(k state.AppKey) []string {
	var names []string
	listed := map[string]bool{}
	for _, s := range p.spec.GetStacks() {
		names = append(names, s.GetName())
		listed[s.GetName()] = true
	}
	for _, sk := range p.v.StackKeys(k) {
		if !listed[sk.Stack] {
			names = append(names, sk.Stack)
		}
	}
	return names
}

func (p *planning) stack(k state.StackKey) error {
	c := p.v.core
	spec, entry := state.StackSpec(p.spec, k.Stack), state.Entry(p.spec, k.Stack)
	containers, units := state.ContainersOf(p.spec, spec), state.UnitsOf(p.spec, spec)
	var sh shape
	if spec != nil {
		if sh = shapeOf(k, spec, containers, units, entry); sh.fault != "" {
			return fmt.Errorf("stack %s: %s", k.Stack, sh.fault)
		}
	}
	definition := definitionOf(containers, units, p.spec.GetConfigs())
	in := orchestrator.Input{
		Key: k, App: p.app, Target: p.app.GetRevision(), Spec: spec, Entry: entry,
		Replicas: p.v.StackReplicas(k), Volumes: p.v.StackVolumes(k), Machine: c.orchestratorMachine, Gone: c.gone,
		Same: func(revision uint64) bool { return c.definition(k, revision) == definition }, Unmet: c.unmetBy(sh),
		Seen:     func(r *argosyv1.Replica) orchestrator.Seen { return c.seen(p.v.now, r) },
		Unleased: func(r *argosyv1.Replica) string { return c.unleased(p.v.now, r) },
	}
	if entry.GetEachMachine() {
		in.Allowed = c.allowedBy(sh)
	}
	decided := map[state.Key]orchestrator.Change{}
	plan := orchestrator.Decide(in)
	for _, ch := range slices.Concat(plan.Changes, plan.Moves) {
		if ch.Kind != orchestrator.DropVolume && ch.Kind != orchestrator.Settle {
			decided[ch.Key] = ch
		}
	}
	first := len(p.lines)
	p.current = &planStack{k, spec, entry, sh, plan.Waits}
	p.stackList = append(p.stackList, p.current)
	for _, r := range in.Replicas {
		key := state.KeyOf(r.GetKey())
		ch, ok := decided[key]
		delete(decided, key)
		if !ok {
			ch = orchestrator.Change{Kind: orchestrator.Restart, Key: key, Replica: r}
		}
		p.existing(ch, r, sh, in.Same)
	}
	for key, ch := range decided {
		if ch.Kind == orchestrator.Create {
			p.create(key, ch, sh)
		}
	}
	slices.SortFunc(p.lines[first:], func(a, b *planLine) int {
		return state.KeyOf(a.change.Key).Compare(state.KeyOf(b.change.Key))
	})
	return nil
}

func (p *planning) add(kind argosyv1.ChangeKind, k state.Key, why string) *planLine {
	l := &planLine{change: &argosyv1.Change{Kind: kind, Key: k.Proto(), Reason: &argosyv1.Reason{Summary: why}}, why: why,
		stack: p.current}
	p.lines = append(p.lines, l)
	return l
}

func (p *planning) create(k state.Key, ch orchestrator.Change, sh shape) {
	l := p.add(argosyv1.ChangeKind_CHANGE_KIND_CREATE, k, ch.Why)
	l.request = &scheduler.Request{Replica: schedulerReplica(k), Incarnation: 1, Shape: sh.of(k), Pin: p.v.core.pinOf(k)}
}

// existing says what happens to a replica that has a record.
func (p *planning) existing(ch orchestrator.Change, r *argosyv1.Replica, sh shape, same func(uint64) bool) {
	c, k := p.v.core, ch.Key
	from := ""
	if r.GetMachine() != "" {
		from = p.v.MachineName(r.GetMachine())
	}
	free := &scheduler.Request{Replica: schedulerReplica(k), Incarnation: r.GetIncarnation() + 1, Shape: sh.of(k), Pin: c.pinOf(k)}
	switch ch.Kind {
	case orchestrator.Remove, orchestrator.Forget:
		l := p.add(argosyv1.ChangeKind_CHANGE_KIND_REMOVE, k, ch.Why)
		l.change.FromMachine = from
		p.gone = append(p.gone, c.placed[k]...)
		return
	case orchestrator.Replace, orchestrator.Move:
		l := p.add(argosyv1.ChangeKind_CHANGE_KIND_MOVE, k, ch.Why)
		l.change.FromMachine, l.request = from, free
		return
	}
	switch {
	case r.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE:
		p.add(argosyv1.ChangeKind_CHANGE_KIND_REMOVE, k, "is being removed already").change.FromMachine = from
	case r.GetMachine() == "":
		p.add(argosyv1.ChangeKind_CHANGE_KIND_CREATE, k, "wanted, and on no machine yet").request = free
	default:
		p.kept(k, r, from, sh, same, free)
	}
}

// kept says what happens to a replica that stays wanted: nothing, an update in place, or a move where it no longer fits.
func (p *planning) kept(k state.Key, r *argosyv1.Replica, from string, sh shape, same func(uint64) bool, free *scheduler.Request) {
	c := p.v.core
	l := p.add(argosyv1.ChangeKind_CHANGE_KIND_KEEP, k, "unchanged")
	if w := p.current.waits[k]; w != "" && c.st.Machine(r.GetMachine()).GetDrain() != nil {
		l.why, l.change.Reason.Summary = w, w
	}
	l.machine, l.was = r.GetMachine(), r.GetMachine()
	l.change.FromMachine, l.change.ToMachine = from, from
	if !same(r.GetRevision()) {
		l.change.Kind = argosyv1.ChangeKind_CHANGE_KIND_UPDATE
		l.change.Details = p.details(k.Stack)
		l.why = "updated in place, one replica at a time"
		l.change.Reason.Summary = l.why
	}
	if c.shapeAt(k.StackKey(), r.GetRevision()).sign == sh.sign {
		return
	}
	l.stay = true
	l.request = &scheduler.Request{Replica: schedulerReplica(k), Incarnation: r.GetIncarnation(), Shape: sh.of(k),
		Pin: scheduler.Pin{Machine: r.GetMachine(), Why: "it is there"}}
	if free.Pin.Machine == "" && !c.each.Has(k.StackKey()) {
		l.free = free
	}
	l.own = c.placed[k]
}

// details are the lines of the difference that concern a stack.
func (p *planning) details(stack string) []string {
	spec := state.StackSpec(p.spec, stack)
	names := slices.Concat([]string{stack}, spec.GetContainers(), spec.GetUnits())
	var out []string
	for _, line := range p.diff {
		if name, what, ok := strings.Cut(line, ": "); ok && slices.Contains(names, name) && !strings.HasPrefix(what, "replicas ") {
			out = append(out, line)
		}
	}
	return out
}

// place asks the scheduler for all requests at once. What does not fit where it is keeps what it has and asks again for any
// machine, or waits; what others asked for is then decided again, since they have less room.
func (p *planning) place() {
	for _, l := range p.lines {
		l.kind = l.change.Kind
	}
	p.trial = p.v.core.sched.Suppose()
	for again := true; again; {
		again = false
		decided := p.decide()
		for _, l := range p.inOrder() {
			d, asked := decided[l]
			switch {
			case !asked:
			case d.Placed():
				p.settle(l, &d)
			case !l.stay:
				p.settleDisplacing(l, &d)
			case l.free != nil:
				l.kind, l.request, l.stay, l.own = argosyv1.ChangeKind_CHANGE_KIND_MOVE, l.free, false, nil
				l.why = fmt.Sprintf("no longer fits on %s", l.change.FromMachine)
				again = true
			default:
				p.settle(l, &d)
				l.vacates = l.own
				l.request, l.own = nil, nil
				again = true
			}
		}
	}
}

// settleDisplacing settles what fits nowhere, unless by sending away what its units replace.
func (p *planning) settleDisplacing(l *planLine, d *scheduler.Decision) {
	if why := l.why; replacesSome(l.request.Shape) {
		found := p.v.core.displace(p.v.now, p.trial, *l.request, func(state.Key) bool { return false })
		if found.decision.Placed() {
			d = &found.decision
		}
		l.why = join(why, found.why)
		defer func() { l.why = why }()
	}
	p.settle(l, d)
}

// settle puts a decision into its line.
func (p *planning) settle(l *planLine, d *scheduler.Decision) {
	l.change.Reason, l.change.Kind = p.v.core.reasonOf(l.why, d), l.kind
	l.refused = nil
	if l.machine = l.was; d.Placed() {
		l.machine = d.MachineID
	}
	switch {
	case !d.Placed():
		l.change.Kind, l.change.ToMachine = argosyv1.ChangeKind_CHANGE_KIND_WAIT, ""
		l.refused = d
	case l.stay:
		l.change.ToMachine = l.change.FromMachine
		l.change.Reason = &argosyv1.Reason{Summary: l.why + "; what it reserves changes and fits"}
	default:
		l.change.ToMachine = p.v.MachineName(d.MachineID)
	}
}

// decide tries all requests anew, and leaves them decided in the trial.
func (p *planning) decide() map[*planLine]scheduler.Decision {
	p.trial.End()
	var batch []scheduler.Request
	var asked []*planLine
	for _, gone := range p.gone {
		p.trial.Remove(gone)
	}
	for _, l := range p.inOrder() {
		if l.request != nil {
			batch = append(batch, *l.request)
			asked = append(asked, l)
			for _, own := range slices.Concat(l.own, p.v.core.ahead[state.KeyOf(l.change.Key)]) {
				p.trial.Remove(own)
			}
		}
	}
	out := make(map[*planLine]scheduler.Decision, len(batch))
	for i, d := range p.trial.Decide(p.v.now, batch) {
		out[asked[i]] = d
	}
	return out
}

// inOrder lists the lines in the order in which the leader will decide them: by the names of their stacks, whatever the
// order of the manifest.
func (p *planning) inOrder() []*planLine {
	out := slices.Clone(p.lines)
	slices.SortStableFunc(out, func(a, b *planLine) int { return strings.Compare(a.change.Key.Stack, b.change.Key.Stack) })
	return out
}

// warn notes what is worth knowing and no fault.
func (p *planning) warn(app *argosyv1.App) {
	say := func(format string, args ...any) {
		p.out.Warnings = append(p.out.Warnings, fmt.Sprintf(format, args...))
	}
	if app.GetDeleting() {
		say("app %s is being deleted: it can be applied again when it is gone", app.GetName())
	}
	missing := map[string]bool{}
	defaults := func(name string, res *argosyv1.Resources, cpu, memory string) {
		switch {
		case res.GetDefaultCpu() && res.GetDefaultMemory():
			say("%s: says neither %s nor %s, so the default is reserved: %s cpu, %s", name, cpu, memory,
				scheduler.FormatCPU(res.GetReserveCpuMilli()), scheduler.FormatMemory(res.GetReserveMemory()))
		case res.GetDefaultCpu():
			say("%s: says no %s, so the default is reserved: %s cpu", name, cpu, scheduler.FormatCPU(res.GetReserveCpuMilli()))
		case res.GetDefaultMemory():
			say("%s: says no %s, so the default is reserved: %s", name, memory, scheduler.FormatMemory(res.GetReserveMemory()))
		}
	}
	for _, u := range p.spec.GetUnits() {
		if strings.HasSuffix(u.GetName(), ".service") {
			defaults(u.GetName(), u.GetResources(), "CPUQuota", "MemoryMax")
		}
	}
	for _, ct := range p.spec.GetContainers() {
		defaults(ct.GetName(), ct.GetResources(), "cpus", "mem_limit")
		for _, f := range ct.GetSecrets() {
			if name := f.GetSource(); p.v.Secret(p.app.GetTenant(), name) == nil && !missing[name] {
				missing[name] = true
				say("secret %s is not set, and %s waits for it: argosy secret set %s", name, ct.GetName(), name)
			}
		}
	}
}
