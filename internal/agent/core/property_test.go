package core_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/definition"
)

// world is a model engine with everything that can go wrong: steps take their time and fail, containers end, vanish and are
// made by hand, assignments change in the middle of it, the agent is killed.
type world struct {
	*model
	t      *rapid.T
	flying map[core.MemberID]core.Step
	tokens uint64 // granted so far
}

func (w *world) spec(name string, others []string) *argosyv1.ContainerSpec {
	c := &argosyv1.ContainerSpec{Name: name, Image: rapid.SampledFrom([]string{"a", "b"}).Draw(w.t, "image")}
	if rapid.Bool().Draw(w.t, "check") {
		c.Healthcheck = &argosyv1.Healthcheck{Test: []string{"CMD", "true"}}
	}
	for _, o := range others { // only earlier ones, so that there is no circle
		if rapid.IntRange(0, 2).Draw(w.t, "depends") == 0 {
			c.DependsOn = append(c.DependsOn, &argosyv1.Dependency{
				Container: o, Required: true, Restart: rapid.Bool().Draw(w.t, "restart"), Condition: argosyv1.Condition_CONDITION_STARTED,
			})
		}
	}
	return c
}

func (w *world) assign() {
	k := core.Key{Tenant: "default", App: "shop", Stack: "lamp", Number: rapid.Uint32Range(1, 2).Draw(w.t, "number")}
	old := w.wanted[k]
	a := &argosyv1.Assignment{Key: k.Proto(), AppUid: "uid", Incarnation: max(old.GetIncarnation(), 1), Revision: old.GetRevision() + 1, Restart: old.GetRestart(), Goal: argosyv1.ReplicaGoal_REPLICA_GOAL_RUN}
	switch rapid.IntRange(0, 5).Draw(w.t, "how") {
	case 0:
		a.Incarnation++
	case 1:
		a.Restart++
	case 2:
		a.Goal, a.RemoveVolumes = argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE, rapid.Bool().Draw(w.t, "volumes")
	case 3:
		delete(w.wanted, k)
		return
	}
	if old != nil && rapid.Bool().Draw(w.t, "same members") {
		a.Containers, a.Units, a.Stack = old.GetContainers(), old.GetUnits(), old.GetStack()
		if a.Claims = old.GetClaims(); a.Stack != nil && (a.Incarnation != old.GetIncarnation() || rapid.IntRange(0, 3).Draw(w.t, "grant again") == 0) {
			w.grant(a)
		}
		w.wanted[k] = a
		return
	}
	names := []string{"a", "b", "c"}[:rapid.IntRange(1, 3).Draw(w.t, "members")]
	for i, n := range names {
		a.Containers = append(a.Containers, w.spec(n, names[:i]))
	}
	w.share(a)
	for i, n := range []string{fmt.Sprintf("m%d.mount", k.Number), "u@.socket", fmt.Sprintf("v%d.target", k.Number)}[:rapid.IntRange(0, 3).Draw(w.t, "units")] {
		u := &argosyv1.Unit{Name: n, Content: "[Unit]\nDescription=" + rapid.SampledFrom([]string{"a", "b"}).Draw(w.t, "text") + "\n"}
		if i == 1 && rapid.Bool().Draw(w.t, "after") {
			u.Content += fmt.Sprintf("After=m%d.mount\n", k.Number)
		}
		u.NotStarted = rapid.IntRange(0, 5).Draw(w.t, "not started") == 0
		a.Units = append(a.Units, u)
	}
	w.wanted[k] = a
}

// begin sets off a step that was decided, and checks what must hold of every decision.
func (w *world) begin() {
	steps := w.decide()
	if !w.seen.Known && len(steps) > 0 {
		w.t.Fatalf("%s while the engine does not answer", steps[0])
	}
	given := map[core.MemberID]bool{}
	for _, s := range steps {
		if given[s.MemberID] {
			w.t.Fatalf("two steps for %v", s.MemberID)
		}
		given[s.MemberID] = true
		if _, busy := w.flying[s.MemberID]; busy {
			w.t.Fatalf("%s though %s is under way", s, w.flying[s.MemberID])
		}
		if s.Reason == "" {
			w.t.Fatalf("no reason: %+v", s)
		}
		w.lawful(s)
	}
	var able []core.Step
	for _, s := range steps {
		if s.Kind != core.Wait {
			able = append(able, s)
		}
	}
	if len(able) == 0 {
		return
	}
	s := able[rapid.IntRange(0, len(able)-1).Draw(w.t, "step")]
	w.memory.Begin(w.now, s)
	w.flying[s.MemberID] = s
}

func (w *world) lawful(s core.Step) {
	c := w.containers[s.ContainerID]
	w.lawfulLease(s)
	switch s.Kind {
	case core.Start:
		for _, o := range w.containers {
			if o.Owner.Key == s.Key && o.Owner != s.ID && o.Alive() {
				w.t.Fatalf("%s while %s of incarnation %d lives", s, o.ContainerID, o.Owner.Incarnation)
			}
		}
		w.lawfulUnit(s)
		for _, d := range s.Spec.GetDependsOn() {
			met := false
			for _, o := range w.containers {
				met = met || o.Owner == s.ID && o.Member == d.GetContainer() && o.State == core.Running
			}
			if !met {
				w.t.Fatalf("%s, but %s does not run", s, d.GetContainer())
			}
		}
	case core.Remove:
		if c != nil && c.Alive() {
			w.t.Fatalf("%s, but it lives", s)
		}
	}
	switch s.Kind {
	case core.Stop, core.Remove:
		if c != nil && !w.memory.Complete && w.wanted[c.Owner.Key] == nil {
			w.t.Fatalf("%s before all assignments are known", s)
		}
	case core.Clean:
		for _, o := range w.containers {
			if o.Owner == s.ID {
				w.t.Fatalf("%s, but %s is left", s, o.ContainerID)
			}
		}
	}
}

// lawfulUnit: nothing of a replica with units starts before all of these are written, and no container before they were started.
func (w *world) lawfulUnit(s core.Step) {
	for _, u := range s.Assignment.GetUnits() {
		if s.Unit == nil && u.GetNotStarted() {
			continue // no container needs what does not run
		}
		written, up := false, false
		for _, o := range w.containers {
			if o.Owner == s.ID && o.Member == u.GetName() && o.Definition == definition.OfUnit(u) && o.Restart == s.Assignment.GetRestart() {
				written, up = true, up || o.State != core.Created
			}
		}
		mem := w.memory.Member(core.MemberID{ID: s.ID, Member: u.GetName()})
		if !written || s.Unit == nil && !up && mem.ContainerID == "" {
			w.t.Fatalf("%s, but unit %s is written: %t, started: %t", s, u.GetName(), written, up)
		}
	}
}

// end ends a step that is under way, well or badly; an act that fails may have happened all the same.
func (w *world) end() {
	if len(w.flying) == 0 {
		return
	}
	ids := slices.SortedFunc(maps.Keys(w.flying), func(a, b core.MemberID) int {
		if d := a.ID.Compare(b.ID); d != 0 {
			return d
		}
		return slices.Compare([]string{a.Member}, []string{b.Member})
	})
	id := ids[rapid.IntRange(0, len(ids)-1).Draw(w.t, "which")]
	s := w.flying[id]
	delete(w.flying, id)
	var err error
	switch rapid.IntRange(0, 6).Draw(w.t, "ending") {
	case 0:
		err = errors.New("it failed")
	case 1:
		_ = w.act(s)
		err = &core.Fault{Kind: core.FaultKind(rapid.IntRange(0, 4).Draw(w.t, "fault")), Message: "it happened, and was not answered"}
	default:
		err = w.act(s)
	}
	w.memory.Done(w.now, s, err)
}

// work begins and ends several steps, in any order.
func (w *world) work(t *rapid.T) {
	for range rapid.IntRange(1, 12).Draw(t, "moves") {
		if rapid.Bool().Draw(t, "begin") {
			w.begin()
		} else {
			w.end()
		}
	}
}

// happen is what engines and people do.
func (w *world) happen() {
	ids := slices.Sorted(maps.Keys(w.containers))
	if len(ids) == 0 {
		return
	}
	c := w.containers[ids[rapid.IntRange(0, len(ids)-1).Draw(w.t, "container")]]
	switch rapid.IntRange(0, 3).Draw(w.t, "event") {
	case 0:
		if c.Alive() {
			c.State, c.ExitCode, c.FinishedAt = core.Exited, rapid.IntRange(0, 2).Draw(w.t, "code"), w.now
			if c.Unit != nil {
				ended(c, c.ExitCode)
			}
		}
	case 1:
		delete(w.containers, c.ContainerID)
	default:
		if c.State == core.Running && c.Health != core.NoCheck {
			c.Health = core.Health(rapid.IntRange(1, 3).Draw(w.t, "health"))
		}
	}
}

// killed is an agent that ends at any instant and a new one that knows only what is on disk.
func (w *world) killed() {
	for _, s := range w.flying {
		if rapid.Bool().Draw(w.t, "done in the engine") {
			_ = w.act(s)
		}
	}
	clear(w.flying)
	kept := map[core.MemberID]*core.MemberMemory{}
	for id, m := range w.memory.Members {
		k := *m
		k.Doing, k.Since, k.Progress, k.Image, k.Prepared, k.Cleaned = 0, time.Time{}, "", "", "", false
		kept[id] = &k
	}
	w.memory.Members = kept
}

// calm lets everything end well from now on and looks whether machine and assignments agree in the end.
func (w *world) calm() {
	for id, s := range w.flying {
		w.memory.Done(w.now, s, w.act(s))
		delete(w.flying, id)
	}
	w.memory.Complete, w.seen.Known, w.seen.UnitsUnknown = true, true, false
	w.fail = func(core.Step) error { return nil }
	for range 12 {
		w.calmClaims()
		w.run()
		for _, c := range w.containers {
			if c.State == core.Running && c.Health != core.NoCheck {
				c.Health = core.Healthy
				if c.Unit != nil {
					becomes(c, "active", w.now)
				}
			}
		}
		w.now = w.now.Add(5 * time.Minute)
	}
	for _, s := range w.decide() {
		w.t.Fatalf("something is left to do when all is calm: %s", s)
	}
	left := map[string]bool{}
	for id := range w.containers {
		left[id] = true
	}
	for _, a := range w.wanted {
		for _, spec := range a.GetContainers() {
			if a.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE {
				continue
			}
			n := 0
			for id, c := range w.containers {
				if c.Owner == core.IDOf(a) && c.Member == spec.GetName() {
					n++
					delete(left, id)
					if c.State != core.Running || c.Definition != definition.Of(spec, nil) || c.Restart != a.GetRestart() {
						w.t.Fatalf("%s is %+v", spec.GetName(), *c)
					}
				}
			}
			if n != 1 {
				w.t.Fatalf("%d containers for %s of %s", n, spec.GetName(), core.KeyOf(a.GetKey()))
			}
		}
	}
	onlyLoaded := w.calmUnits(left)
	if len(left) > 0 {
		w.t.Fatalf("containers that nobody wants are left: %v", left)
	}
	for _, o := range w.observe() {
		a := w.wanted[core.KeyOf(o.GetKey())]
		want := argosyv1.ReplicaState_REPLICA_STATE_READY
		if a.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE {
			want = argosyv1.ReplicaState_REPLICA_STATE_GONE
		}
		if onlyLoaded[core.KeyOf(o.GetKey())] {
			continue
		}
		if o.GetState() != want || a.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_RUN && (o.GetRevision() != a.GetRevision() || o.GetRestart() != a.GetRestart()) {
			w.t.Fatalf("calm, but observed: %v\nwanted: %v", o, a)
		}
	}
}

// calmUnits looks whether the units that are wanted are there, once each and as they are to be, and takes them from what is left. It
// returns the replicas with units that are not to be started, of which nobody knows what they do.
func (w *world) calmUnits(left map[string]bool) map[core.Key]bool {
	onlyLoaded := map[core.Key]bool{}
	names := map[string]bool{}
	for _, a := range w.wanted {
		for _, u := range a.GetUnits() {
			if a.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE {
				continue
			}
			n := 0
			for id, c := range w.containers {
				if c.Owner != core.IDOf(a) || c.Member != u.GetName() {
					continue
				}
				n++
				delete(left, id)
				if c.Definition != definition.OfUnit(u) || c.Restart != a.GetRestart() || c.State != core.Running && !u.GetNotStarted() || names[c.Unit.Name] {
					w.t.Fatalf("%s is %+v", u.GetName(), *c)
				}
				names[c.Unit.Name] = true
			}
			if n != 1 {
				w.t.Fatalf("%d files for %s of %s", n, u.GetName(), core.KeyOf(a.GetKey()))
			}
			if u.GetNotStarted() {
				onlyLoaded[core.KeyOf(a.GetKey())] = true
			}
		}
	}
	return onlyLoaded
}

// honest: nothing is said to run that does not (invariant 2), and what is said does not depend on when.
func (w *world) honest() {
	list := w.observe()
	for _, o := range list {
		for _, m := range o.GetMembers() {
			c := w.containers[m.GetContainerId()]
			if m.GetState() == argosyv1.MemberState_MEMBER_STATE_RUNNING && (c == nil || c.State != core.Running || !w.seen.Known) {
				w.t.Fatalf("said to run: %v, but it is %+v", m, c)
			}
		}
		if !w.seen.Known && o.GetState() != argosyv1.ReplicaState_REPLICA_STATE_UNSPECIFIED {
			w.t.Fatalf("nothing is known, but %v", o)
		}
	}
	later := core.Observe(w.now.Add(time.Hour), w.list(), w.look(), w.memory)
	for i := range list {
		if !core.Same(list[i], later[i]) {
			w.t.Fatalf("the same state is told differently later:\n%v\n%v", list[i], later[i])
		}
	}
}

// apart: deciding for one group gives the same steps for it as deciding for all.
func (w *world) apart() {
	var joined []string
	for _, k := range []uint32{1, 2} {
		key := core.Key{Tenant: "default", App: "shop", Stack: "lamp", Number: k}
		var wanted []*argosyv1.Assignment
		if a := w.wanted[key]; a != nil {
			wanted = append(wanted, proto.CloneOf(a))
		}
		seen := core.Seen{Known: w.seen.Known, UnitsUnknown: w.seen.UnitsUnknown, Claims: w.seen.Claims, Unguarded: w.seen.Unguarded}
		for _, c := range w.look().Containers {
			if c.Owner.Key == key {
				seen.Containers = append(seen.Containers, c)
			}
		}
		for _, s := range core.Decide(w.now, wanted, seen, w.memory) {
			joined = append(joined, s.String())
		}
	}
	var all []string
	for _, s := range w.decide() {
		all = append(all, s.String())
	}
	if !slices.Equal(all, joined) {
		w.t.Fatalf("replicas influence each other:\n%v\n%v", all, joined)
	}
}

func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{model: newModel(), t: t, flying: map[core.MemberID]core.Step{}}
		t.Repeat(map[string]func(*rapid.T){
			"assign": func(*rapid.T) { w.assign() },
			"begin":  func(*rapid.T) { w.begin() },
			"end":    func(*rapid.T) { w.end() },
			"work":   func(t *rapid.T) { w.work(t) },
			"work2":  func(t *rapid.T) { w.work(t) },
			"work3":  func(t *rapid.T) { w.work(t) },
			"happen": func(*rapid.T) { w.happen() },
			"guard":  func(t *rapid.T) { w.guarded(t) },
			"guard2": func(t *rapid.T) { w.guarded(t) },
			"killed": func(*rapid.T) { w.killed() },
			"tick": func(t *rapid.T) {
				w.now = w.now.Add(time.Duration(rapid.IntRange(-60, 600).Draw(t, "s")) * time.Second / 10)
			},
			"engine": func(t *rapid.T) {
				w.seen.Known = rapid.IntRange(0, 2).Draw(t, "known") > 0
				w.seen.UnitsUnknown = !w.seen.Known
			},
			"known": func(t *rapid.T) { w.memory.Complete = rapid.Bool().Draw(t, "complete") },
			"": func(*rapid.T) {
				w.honest()
				w.apart()
			},
		})
		w.calm()
	})
}
