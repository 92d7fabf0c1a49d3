package server

import (
	"context"
	"errors"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/manifest"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/unitfile"
)

// unitService answers argosy.v1.UnitService.
type unitService struct{ *Server }

// readUnit reads a unit that came as a text or, as fleet's clients have it, as a list of options. The list is returned where the text
// that is made of it does not say it back.
func readUnit(name, content string, options []*argosyv1.UnitOption) (*unitfile.Unit, []*argosyv1.UnitOption, error) {
	if len(options) == 0 {
		u, faults := unitfile.Read(name, content)
		if len(faults) > 0 {
			return nil, nil, invalid("%w", faults.Err())
		}
		return u, nil, nil
	}
	if content != "" {
		return nil, nil, invalid("unit %s came as a text and as a list of options: send one of them", clip(name))
	}
	said := make([]unitfile.Option, 0, len(options))
	for _, o := range options {
		said = append(said, unitfile.Option{Section: o.GetSection(), Name: o.GetName(), Value: o.GetValue()})
	}
	u, faults := unitfile.ReadOptions(name, said)
	if len(faults) > 0 {
		return nil, nil, invalid("%w", faults.Err())
	}
	if back, faults := unitfile.Parse(name, u.File.Text()); len(faults) == 0 && slices.Equal(back.Options(), said) {
		return u, nil, nil
	}
	return u, options, nil
}

// unitSpec is the app that a unit submitted by itself is.
func unitSpec(u *unitfile.Unit, options []*argosyv1.UnitOption, goal argosyv1.UnitGoal) (*argosyv1.AppSpec, error) {
	name, content := u.Name.Full, u.File.Text()
	if u.Name.IsTemplate() && goal != argosyv1.UnitGoal_UNIT_GOAL_INACTIVE {
		return nil, invalid("%s is a template, which cannot run itself: start an instance of it", name)
	}
	entry := &argosyv1.ClusterEntry{Stack: manifest.UnitStack}
	switch {
	case goal == argosyv1.UnitGoal_UNIT_GOAL_INACTIVE:
	case u.Fleet.Global:
		entry.EachMachine = true
	default:
		entry.Count = 1
	}
	return &argosyv1.AppSpec{
		Name: name,
		Units: []*argosyv1.Unit{{Name: name, Content: content, NotStarted: goal == argosyv1.UnitGoal_UNIT_GOAL_LOADED,
			Resources: reserveAlone(name, content), Options: options}},
		Stacks:  []*argosyv1.StackSpec{{Name: manifest.UnitStack, Units: []string{name}}},
		Cluster: []*argosyv1.ClusterEntry{entry},
	}, nil
}

// What a unit that is submitted by itself, and limits nothing, keeps free on its machine. Whoever comes from fleet has machines with
// many units that say nothing of that, and fleet reserved nothing; it is so little that it only spreads them evenly.
const (
	reserveAloneCPU    = 1 // thousandths of one
	reserveAloneMemory = 1 << 20
)

// reserveAlone is what is kept free for a unit that is submitted by itself: what its file limits, else next to nothing.
func reserveAlone(name, content string) *argosyv1.Resources {
	r := manifest.UnitResources(name, content)
	if r.DefaultCpu {
		r.ReserveCpuMilli = reserveAloneCPU
	}
	if r.DefaultMemory {
		r.ReserveMemory = reserveAloneMemory
	}
	return r
}

// goalOf is what the unit of such an app is to be.
func goalOf(spec *argosyv1.AppSpec) argosyv1.UnitGoal {
	entry := state.Entry(spec, manifest.UnitStack)
	switch {
	case !entry.GetEachMachine() && entry.GetCount() == 0:
		return argosyv1.UnitGoal_UNIT_GOAL_INACTIVE
	case unitOf(spec).GetNotStarted():
		return argosyv1.UnitGoal_UNIT_GOAL_LOADED
	}
	return argosyv1.UnitGoal_UNIT_GOAL_LAUNCHED
}

func unitOf(spec *argosyv1.AppSpec) *argosyv1.Unit {
	if len(spec.GetUnits()) == 0 {
		return nil
	}
	return spec.Units[0]
}

func checkGoal(g argosyv1.UnitGoal) error {
	switch g {
	case argosyv1.UnitGoal_UNIT_GOAL_INACTIVE, argosyv1.UnitGoal_UNIT_GOAL_LOADED, argosyv1.UnitGoal_UNIT_GOAL_LAUNCHED:
		return nil
	}
	return invalid("a unit is to be inactive, loaded or launched, and not %d", g)
}

// checkUnitName refuses what cannot name a unit.
func checkUnitName(name string) error {
	if _, err := unitfile.ParseName(name); err != nil {
		return invalid("%w", err)
	}
	return nil
}

func (s unitService) SubmitUnit(ctx context.Context, r *connect.Request[argosyv1.SubmitUnitRequest]) (*connect.Response[argosyv1.SubmitUnitResponse], error) {
	q := r.Msg
	if err := checkUnitName(q.Name); err != nil {
		return nil, err
	}
	// As it would be when new; and if anything is wrong with it, that is said before anything is waited for.
	first := q.Goal
	if first == argosyv1.UnitGoal_UNIT_GOAL_UNSPECIFIED {
		first = argosyv1.UnitGoal_UNIT_GOAL_INACTIVE
	}
	if err := checkGoal(first); err != nil {
		return nil, err
	}
	unit, options, err := readUnit(q.Name, q.Content, q.Options)
	if err != nil {
		return nil, err
	}
	draft, err := unitSpec(unit, options, first)
	if err != nil {
		return nil, err
	}
	tenant, _, err := s.checked(ctx, q.Tenant, draft)
	if err != nil {
		return nil, err
	}
	if err := s.untilGone(ctx, tenant, q.Name); err != nil {
		return nil, err
	}
	res, applied := &argosyv1.SubmitUnitResponse{}, &argosyv1.ApplyResponse{}
	err = s.change(ctx, change{
		rpc: "SubmitUnit", tenant: tenant, app: q.Name, key: q.IdempotencyKey, request: q, response: res,
		decide: func(now time.Time, v *leader.View) (leader.Proposal, error) {
			old := v.App(tenant, q.Name)
			if q.MustNotExist && old != nil {
				return leader.Proposal{}, exists("unit %s exists already", q.Name)
			}
			spec := proto.CloneOf(draft)
			if old != nil && q.Goal == argosyv1.UnitGoal_UNIT_GOAL_UNSPECIFIED {
				if spec, err = unitSpec(unit, options, goalOf(v.AppRevision(tenant, q.Name, old.Revision).GetSpec())); err != nil {
					return leader.Proposal{}, err
				}
			}
			p, err := s.revise(ctx, now, v, tenant, spec, 0, "submit", applied)
			res.Revision, res.Created, res.Changed, res.Warnings = applied.GetApp().GetRevision(), old == nil, applied.Changed, applied.Warnings
			return p, err
		},
	})
	return respond(res, err)
}

func (s unitService) SetUnitGoal(ctx context.Context, r *connect.Request[argosyv1.SetUnitGoalRequest]) (*connect.Response[argosyv1.SetUnitGoalResponse], error) {
	q := r.Msg
	if err := errors.Join(checkUnitName(q.Name), checkGoal(q.Goal)); err != nil {
		return nil, err
	}
	tenant, err := s.tenant(ctx, q.Tenant)
	if err != nil {
		return nil, err
	}
	res, applied := &argosyv1.SetUnitGoalResponse{}, &argosyv1.ApplyResponse{}
	err = s.change(ctx, change{
		rpc: "SetUnitGoal", tenant: tenant, app: q.Name, key: q.IdempotencyKey, request: q, response: res,
		decide: func(now time.Time, v *leader.View) (leader.Proposal, error) {
			old := v.App(tenant, q.Name)
			if old == nil {
				return leader.Proposal{}, noUnit(q.Name)
			}
			kept := unitOf(v.AppRevision(tenant, q.Name, old.Revision).GetSpec())
			unit, _, err := readUnit(q.Name, kept.GetContent(), nil)
			if err != nil {
				return leader.Proposal{}, err
			}
			spec, err := unitSpec(unit, kept.GetOptions(), q.Goal)
			if err != nil {
				return leader.Proposal{}, err
			}
			p, err := s.revise(ctx, now, v, tenant, spec, 0, goalWord(q.Goal), applied)
			res.Revision, res.Changed, res.Warnings = applied.GetApp().GetRevision(), applied.Changed, applied.Warnings
			return p, err
		},
	})
	return respond(res, err)
}

// goalWord is what was asked for, as history has it.
func goalWord(g argosyv1.UnitGoal) string {
	switch g {
	case argosyv1.UnitGoal_UNIT_GOAL_LOADED:
		return "load"
	case argosyv1.UnitGoal_UNIT_GOAL_LAUNCHED:
		return "start"
	}
	return "unload"
}

func noUnit(name string) error {
	return notFound("there is no unit %s; see 'argosy unit list'", name)
}

// untilGone waits until a unit that is being destroyed is gone, so that whoever destroys and submits one after the other, as
// scripts do, need not wait themselves.
func (s *Server) untilGone(ctx context.Context, tenant, name string) error {
	sub := s.leader.Subscribe()
	defer sub.Close()
	for {
		deleting := false
		if err := s.read(func(_ time.Time, v *leader.View) error { deleting = v.App(tenant, name).GetDeleting(); return nil }); err != nil || !deleting {
			return err
		}
		select {
		case <-ctx.Done():
			return rpcError(ctx.Err())
		case <-sub.C:
			sub.Take()
		}
	}
}

func (s unitService) ListUnits(ctx context.Context, r *connect.Request[argosyv1.ListUnitsRequest]) (*connect.Response[argosyv1.ListUnitsResponse], error) {
	q := r.Msg
	tenant, err := s.tenant(ctx, q.Tenant)
	if err != nil {
		return nil, err
	}
	for _, name := range q.Names {
		if err := checkUnitName(name); err != nil {
			return nil, err
		}
	}
	res := &argosyv1.ListUnitsResponse{}
	err = s.read(func(_ time.Time, v *leader.View) error {
		l := unitLister{v: v, q: q, facts: &s.unitFacts}
		if q.Machine != "" {
			m, err := findMachine(v, q.Machine)
			if err != nil {
				return err
			}
			l.machine = m.Id
		}
		l.list(tenant, res)
		return nil
	})
	return respond(res, err)
}

// unitLister gathers what was asked for.
type unitLister struct {
	v       *leader.View
	q       *argosyv1.ListUnitsRequest
	machine string // id
	facts   *unitFacts
}

func (l *unitLister) list(tenant string, res *argosyv1.ListUnitsResponse) {
	var keys []state.AppKey
	if len(l.q.Names) > 0 {
		for _, name := range slices.Compact(slices.Sorted(slices.Values(l.q.Names))) {
			keys = append(keys, state.AppKey{Tenant: tenant, App: name})
		}
	} else {
		keys = l.v.AppKeys(tenant)
	}
	skip := l.q.Offset
	for _, k := range keys {
		app := l.v.App(k.Tenant, k.App)
		if app == nil || app.Deleting || checkUnitName(k.App) != nil {
			continue
		}
		switch { // a page costs what is on it: what is skipped is not looked into
		case !l.listed(k):
		case skip > 0:
			skip--
		case l.q.Limit > 0 && len(res.Units) == int(l.q.Limit):
			res.More = true
			return
		default:
			res.Units = append(res.Units, l.status(app))
		}
	}
}

// listed says whether a unit is among those that were asked for, which may depend on where its copies are.
func (l *unitLister) listed(k state.AppKey) bool {
	if !l.q.PlacedOnly && l.machine == "" {
		return true
	}
	return slices.ContainsFunc(l.v.AppReplicas(k), func(r *argosyv1.Replica) bool {
		return r.Machine != "" && (l.machine == "" || r.Machine == l.machine)
	})
}

func (l *unitLister) status(app *argosyv1.App) *argosyv1.UnitStatus {
	spec := l.v.AppRevision(app.Tenant, app.Name, app.Revision).GetSpec()
	unit := unitOf(spec)
	st := &argosyv1.UnitStatus{Tenant: app.Tenant, Name: app.Name, Goal: goalOf(spec), Revision: app.Revision,
		Current: argosyv1.UnitGoal_UNIT_GOAL_INACTIVE}
	f := l.facts.of(app.Name, unit.GetContent())
	st.Hash, st.Global = f.hash, f.global
	if !l.q.Brief {
		st.Content, st.Options = unit.GetContent(), unit.GetOptions()
	}
	for _, r := range l.v.AppReplicas(state.AppKey{Tenant: app.Tenant, App: app.Name}) {
		rs := l.v.Status(r)
		switch {
		case r.Machine == "":
			st.Message = rs.Message
			continue
		case l.machine != "" && r.Machine != l.machine:
			continue
		}
		st.Copies = append(st.Copies, unitCopy(rs, unit))
	}
	slices.SortFunc(st.Copies, func(a, b *argosyv1.UnitCopy) int { return naturalCompare(a.MachineName, b.MachineName) })
	for _, c := range st.Copies {
		st.Current = max(st.Current, c.Current)
	}
	return st
}

// unitCopy is a unit on its machine, as seen there.
func unitCopy(rs *argosyv1.ReplicaStatus, unit *argosyv1.Unit) *argosyv1.UnitCopy {
	c := &argosyv1.UnitCopy{Number: rs.Replica.Key.Number, Machine: rs.Replica.Machine, MachineName: rs.MachineName, State: rs.State, Age: rs.Age,
		Message: rs.Message, UpToDate: rs.UpToDate, Current: argosyv1.UnitGoal_UNIT_GOAL_INACTIVE}
	if rs.State == argosyv1.ReplicaState_REPLICA_STATE_UNSPECIFIED {
		return c // of what nobody has seen lately, nothing is known
	}
	for _, m := range rs.GetObservation().GetMembers() {
		if m.Unit == nil {
			continue
		}
		c.Observation = m.Unit
		switch {
		case m.Unit.LoadState == "" || m.Unit.LoadState == "not-found":
		case unit.GetNotStarted():
			c.Current = argosyv1.UnitGoal_UNIT_GOAL_LOADED
		case m.State <= argosyv1.MemberState_MEMBER_STATE_CREATED: // its file is there, and systemd was not told to start it
			c.Current = argosyv1.UnitGoal_UNIT_GOAL_LOADED
		default:
			c.Current = argosyv1.UnitGoal_UNIT_GOAL_LAUNCHED
		}
		if c.Message == "" {
			c.Message = m.Message
		}
	}
	return c
}
