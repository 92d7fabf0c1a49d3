package orchestrator_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/orchestrator"
	"github.com/argosy-cluster/argosy/internal/state"
)

var stackKey = state.StackKey{Tenant: "default", App: "shop", Stack: "web"}

// situation is a stack in any condition whatever, sound or not.
func situation(t *rapid.T) orchestrator.Input {
	machines := map[string]orchestrator.Machine{}
	for i := 1; i <= 4; i++ {
		id := fmt.Sprint("m", i)
		machines[id] = orchestrator.Machine{Known: rapid.IntRange(0, 5).Draw(t, "known") > 0, Name: id,
			Condition: argosyv1.MachineCondition(rapid.IntRange(0, 4).Draw(t, "condition"))}
		if m := machines[id]; rapid.IntRange(0, 2).Draw(t, "draining") == 0 {
			m.Draining, m.StopData, m.StopAll = true, rapid.Bool().Draw(t, "stop data"), rapid.IntRange(0, 3).Draw(t, "stop all") == 0
			machines[id] = m
		}
	}
	unmet := map[string]bool{"m1": rapid.Bool().Draw(t, "m1 unmet"), "m2": rapid.Bool().Draw(t, "m2 unmet")}
	anyMachine := rapid.SampledFrom([]string{"m1", "m2", "m3", "m4"})
	in := orchestrator.Input{
		Key: stackKey, Target: rapid.Uint64Range(2, 3).Draw(t, "target"),
		App:     &argosyv1.App{Tenant: "default", Name: "shop", Uid: "u", Deleting: rapid.IntRange(0, 6).Draw(t, "deleting") == 0, DeleteVolumes: rapid.Bool().Draw(t, "volumes")},
		Spec:    &argosyv1.StackSpec{Name: "web", Placement: &argosyv1.Placement{MoveWhenUnmet: rapid.Bool().Draw(t, "move when unmet")}},
		Entry:   &argosyv1.ClusterEntry{Stack: "web", Count: rapid.Uint32Range(0, 5).Draw(t, "count")},
		Machine: func(id string) orchestrator.Machine { return machines[id] },
		Same:    func(revision uint64) bool { return revision == 2 },
		Unmet: func(machine string) string {
			if unmet[machine] {
				return "require zone == edge"
			}
			return ""
		},
	}
	if rapid.IntRange(0, 3).Draw(t, "each") == 0 {
		in.Entry = &argosyv1.ClusterEntry{Stack: "web", EachMachine: true}
		for _, id := range []string{"m1", "m2", "m3", "m4"} {
			if machines[id].Known && rapid.Bool().Draw(t, "allowed") {
				in.Allowed = append(in.Allowed, id)
			}
		}
	}
	if rapid.IntRange(0, 9).Draw(t, "no app") == 0 {
		in.App, in.Spec, in.Entry = nil, nil, nil
	}
	seen := map[state.Key]orchestrator.Seen{}
	gone := map[string]bool{}
	for n := uint32(1); n <= 6; n++ {
		k := stackKey.Replica(n)
		if rapid.IntRange(0, 3).Draw(t, "volume") == 0 {
			in.Volumes = append(in.Volumes, &argosyv1.Volume{Replica: k.Proto(), Name: "data", Machine: anyMachine.Draw(t, "home")})
		}
		if rapid.IntRange(0, 2).Draw(t, "exists") == 0 {
			continue
		}
		r := &argosyv1.Replica{Key: k.Proto(), AppUid: "u", Incarnation: rapid.Uint64Range(2, 4).Draw(t, "incarnation"),
			Revision: rapid.Uint64Range(1, 3).Draw(t, "revision"), Goal: argosyv1.ReplicaGoal(rapid.IntRange(1, 2).Draw(t, "goal"))}
		if rapid.IntRange(0, 4).Draw(t, "placed") > 0 {
			r.Machine = anyMachine.Draw(t, "machine")
		}
		if rapid.IntRange(0, 2).Draw(t, "past") == 0 {
			p := anyMachine.Draw(t, "was")
			r.Past = []*argosyv1.PastIncarnation{{Incarnation: 1, Machine: p, UntilReady: rapid.Bool().Draw(t, "until ready")}}
			gone[fmt.Sprint(k, 1, p)] = rapid.Bool().Draw(t, "past gone")
		}
		gone[fmt.Sprint(k, r.Incarnation, r.Machine)] = rapid.IntRange(0, 3).Draw(t, "gone") == 0
		seen[k] = orchestrator.Seen{State: argosyv1.ReplicaState(rapid.IntRange(0, 8).Draw(t, "state")), Revision: rapid.Uint64Range(1, 3).Draw(t, "seen at")}
		in.Replicas = append(in.Replicas, r)
	}
	in.Seen = func(r *argosyv1.Replica) orchestrator.Seen { return seen[state.KeyOf(r.GetKey())] }
	in.Gone = func(k state.Key, incarnation uint64, machine string) bool {
		return gone[fmt.Sprint(k, incarnation, machine)]
	}
	return in
}

// TestDecideIsSafe: in any situation whatever, what must not happen does not.
func TestDecideIsSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := situation(t)
		plan := orchestrator.Decide(in)
		touched := map[state.Key]orchestrator.Kind{}
		for _, c := range plan.Changes {
			if c.Why == "" {
				t.Fatalf("%s of %s has no reason", c.Kind, c.Key)
			}
			if c.Kind == orchestrator.DropVolume {
				continue
			}
			if was, ok := touched[c.Key]; ok {
				t.Fatalf("%s is changed twice: %s and %s", c.Key, was, c.Kind)
			}
			touched[c.Key] = c.Kind
			check(t, in, c)
		}
		for _, c := range plan.Moves {
			if was, ok := touched[c.Key]; ok && was != orchestrator.Adopt && was != orchestrator.Restart {
				t.Fatalf("%s is moved and changed: %s", c.Key, was)
			}
			checkMove(t, in, c)
		}
		if plan.Halted != "" && len(plan.Roll) > 0 {
			t.Fatalf("halted (%s), and %d are to be rolled", plan.Halted, len(plan.Roll))
		}
		for _, c := range plan.Roll {
			if _, ok := touched[c.Key]; ok {
				t.Fatalf("%s is rolled and changed", c.Key)
			}
			if !in.Machine(c.Replica.GetMachine()).Known {
				t.Fatalf("%s is rolled on a machine that is not there", c.Key)
			}
		}
		if again := orchestrator.Decide(in); fmt.Sprint(again) != fmt.Sprint(plan) {
			t.Fatalf("the same situation gives two plans:\n%v\n%v", plan, again)
		}
	})
}

// TestUnleased: an update waits while a replica that has it is taken off a machine where it gets no lease, unless that is lost:
// then nobody knows when it is anywhere again.
func TestUnleased(t *testing.T) {
	for condition, goesOn := range map[argosyv1.MachineCondition]bool{
		argosyv1.MachineCondition_MACHINE_CONDITION_READY:       false,
		argosyv1.MachineCondition_MACHINE_CONDITION_UNREACHABLE: false,
		argosyv1.MachineCondition_MACHINE_CONDITION_LOST:        true,
	} {
		old := &argosyv1.Replica{Key: stackKey.Replica(1).Proto(), Incarnation: 1, Revision: 1, Machine: "m1", Goal: argosyv1.ReplicaGoal_REPLICA_GOAL_RUN}
		moved := &argosyv1.Replica{Key: stackKey.Replica(2).Proto(), Incarnation: 1, Revision: 2, Machine: "m2", Goal: argosyv1.ReplicaGoal_REPLICA_GOAL_RUN}
		plan := orchestrator.Decide(orchestrator.Input{
			Key: stackKey, Target: 2, App: &argosyv1.App{Tenant: "default", Name: "shop"}, Spec: &argosyv1.StackSpec{Name: "web"},
			Entry: &argosyv1.ClusterEntry{Stack: "web", Count: 2}, Replicas: []*argosyv1.Replica{old, moved},
			Volumes: []*argosyv1.Volume{{Replica: moved.Key, Name: "data", Class: argosyv1.VolumeClass_VOLUME_CLASS_TIMED}},
			Machine: func(id string) orchestrator.Machine {
				if id == "m2" {
					return orchestrator.Machine{Known: true, Name: id, Condition: condition}
				}
				return orchestrator.Machine{Known: true, Name: id, Condition: argosyv1.MachineCondition_MACHINE_CONDITION_READY}
			},
			Same: func(uint64) bool { return false },
			Gone: func(state.Key, uint64, string) bool { return false },
			Seen: func(r *argosyv1.Replica) orchestrator.Seen {
				return orchestrator.Seen{State: argosyv1.ReplicaState_REPLICA_STATE_READY, Revision: r.GetRevision(), For: time.Hour}
			},
			Unleased: func(r *argosyv1.Replica) string { return "it has no lease on " + r.GetMachine() },
		})
		if len(plan.Changes) != 1 || plan.Changes[0].Kind != orchestrator.Replace || plan.Changes[0].Replica != moved {
			t.Fatalf("%s: %v", condition, plan.Changes)
		}
		if (len(plan.Roll) == 1) != goesOn || (plan.Waits[stackKey.Replica(1)] == "") != goesOn {
			t.Errorf("%s: rolls %v, waits %q", condition, plan.Roll, plan.Waits[stackKey.Replica(1)])
		}
	}
}

// TestWhatIsChangedAnywayHoldsOthersUp: a replica that has the update and is starting holds the next one up, also in the moment in which
// somebody asks to restart it while what was left of it elsewhere has gone.
func TestWhatIsChangedAnywayHoldsOthersUp(t *testing.T) {
	const run = argosyv1.ReplicaGoal_REPLICA_GOAL_RUN
	next := &argosyv1.Replica{Key: stackKey.Replica(1).Proto(), Incarnation: 1, Revision: 1, Machine: "m1", Goal: run}
	starting := &argosyv1.Replica{Key: stackKey.Replica(2).Proto(), Incarnation: 2, Revision: 2, Machine: "m1", Goal: run,
		Past: []*argosyv1.PastIncarnation{{Incarnation: 1, Machine: "m2"}}}
	plan := orchestrator.Decide(orchestrator.Input{
		Key: stackKey, Target: 2, Spec: &argosyv1.StackSpec{Name: "web"},
		App:   &argosyv1.App{Tenant: "default", Name: "shop", ReplicaRestarts: map[string]uint64{orchestrator.ReplicaRestartKey("web", 2): 1}},
		Entry: &argosyv1.ClusterEntry{Stack: "web", Count: 2}, Replicas: []*argosyv1.Replica{next, starting},
		Machine: func(id string) orchestrator.Machine {
			return orchestrator.Machine{Known: true, Name: id, Condition: argosyv1.MachineCondition_MACHINE_CONDITION_READY}
		},
		Same: func(uint64) bool { return false },
		Gone: func(_ state.Key, _ uint64, machine string) bool { return machine == "m2" },
		Seen: func(r *argosyv1.Replica) orchestrator.Seen {
			if r == starting {
				return orchestrator.Seen{State: argosyv1.ReplicaState_REPLICA_STATE_STARTING, Revision: 2}
			}
			return orchestrator.Seen{State: argosyv1.ReplicaState_REPLICA_STATE_READY, Revision: 1, For: time.Hour}
		},
	})
	if len(plan.Changes) != 1 || plan.Changes[0].Kind != orchestrator.Settle || len(plan.Roll) != 0 {
		t.Errorf("%v, and %v is rolled", plan.Changes, plan.Roll)
	}
	if got := plan.Waits[stackKey.Replica(1)]; got != "revision 2 waits for shop/web.2 to be ready at it: starting" {
		t.Errorf("it says %q", got)
	}
}

// TestProves: the next replica is updated when the last one has stayed ready for a while, longer when it has ended since it was made; and
// what is awaited is said, with when it is to be looked at again.
func TestProves(t *testing.T) {
	const (
		ready     = argosyv1.ReplicaState_REPLICA_STATE_READY
		degraded  = argosyv1.ReplicaState_REPLICA_STATE_DEGRADED
		completed = argosyv1.ReplicaState_REPLICA_STATE_COMPLETED
	)
	for _, c := range []struct {
		name  string
		seen  orchestrator.Seen
		waits string // empty: it goes on
		again time.Duration
	}{
		{"ready for long", orchestrator.Seen{State: ready, Revision: 2, For: time.Minute}, "", 0},
		{"just ready", orchestrator.Seen{State: ready, Revision: 2}, "revision 2 waits for shop/web.1 to stay ready", 2 * time.Second},
		{"ready for two seconds", orchestrator.Seen{State: ready, Revision: 2, For: 2 * time.Second}, "", 0},
		{"has ended, and is ready", orchestrator.Seen{State: ready, Revision: 2, For: 2 * time.Second, Ended: true},
			"revision 2 waits for shop/web.1 to stay ready for 10s, since it has ended before", 8 * time.Second},
		{"has ended once, long ago", orchestrator.Seen{State: ready, Revision: 2, For: 10 * time.Second, Ended: true}, "", 0},
		{"not seen at it yet", orchestrator.Seen{State: ready, Revision: 1, For: time.Minute}, "revision 2 waits for shop/web.1 to be ready at it: not seen at it yet", 0},
		{"degraded", orchestrator.Seen{State: degraded, Revision: 2, Message: "c: exited"}, "revision 2 waits for shop/web.1 to be ready at it: degraded: c: exited", 0},
		{"completed", orchestrator.Seen{State: completed, Revision: 2}, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var replicas []*argosyv1.Replica
			for n, revision := range []uint64{2, 1} {
				replicas = append(replicas, &argosyv1.Replica{Key: stackKey.Replica(uint32(n + 1)).Proto(), Incarnation: 1, Revision: revision, Machine: "m1", Goal: argosyv1.ReplicaGoal_REPLICA_GOAL_RUN})
			}
			plan := orchestrator.Decide(orchestrator.Input{
				Key: stackKey, Target: 2, App: &argosyv1.App{Tenant: "default", Name: "shop"}, Spec: &argosyv1.StackSpec{Name: "web"},
				Entry: &argosyv1.ClusterEntry{Stack: "web", Count: 2}, Replicas: replicas,
				Machine: func(id string) orchestrator.Machine {
					return orchestrator.Machine{Known: true, Name: id, Condition: argosyv1.MachineCondition_MACHINE_CONDITION_READY}
				},
				Same: func(uint64) bool { return false },
				Gone: func(state.Key, uint64, string) bool { return false },
				Seen: func(r *argosyv1.Replica) orchestrator.Seen {
					if r == replicas[0] {
						return c.seen
					}
					return orchestrator.Seen{State: ready, Revision: 1, For: time.Hour}
				},
			})
			if plan.Halted != c.waits || plan.Again != c.again || (len(plan.Roll) == 1) != (c.waits == "") {
				t.Errorf("halted %q, again after %s, rolls %v", plan.Halted, plan.Again, plan.Roll)
			}
		})
	}
}

// checkMove: only what has no data there leaves, only a machine that answers, and what is ready goes on until then.
func checkMove(t *rapid.T, in orchestrator.Input, c orchestrator.Change) {
	m := in.Machine(c.Replica.GetMachine())
	last := c.Past[len(c.Past)-1]
	ready := slices.Contains([]argosyv1.ReplicaState{argosyv1.ReplicaState_REPLICA_STATE_READY, argosyv1.ReplicaState_REPLICA_STATE_COMPLETED}, in.Seen(c.Replica).State)
	switch {
	case c.Why == "" || in.Entry.GetEachMachine():
		t.Fatalf("%s is moved: %q", c.Key, c.Why)
	case slices.ContainsFunc(in.Volumes, func(v *argosyv1.Volume) bool {
		return state.KeyOf(v.GetReplica()) == c.Key && in.Machine(v.GetMachine()).Known
	}):
		t.Fatalf("%s is moved away from its data", c.Key)
	case !m.Draining && !in.Spec.GetPlacement().GetMoveWhenUnmet():
		t.Fatalf("%s is moved off %s, which may keep it", c.Key, m.Name)
	case m.Condition != argosyv1.MachineCondition_MACHINE_CONDITION_READY && m.Condition != argosyv1.MachineCondition_MACHINE_CONDITION_DRAINING:
		t.Fatalf("%s is moved off %s, which does not answer", c.Key, m.Name)
	case last.GetMachine() != c.Replica.GetMachine() || last.GetIncarnation() != c.Replica.GetIncarnation() || last.GetUntilReady() != ready:
		t.Fatalf("%s is moved, and remembered as %v", c.Key, last)
	}
}

// check looks at one change.
func check(t *rapid.T, in orchestrator.Input, c orchestrator.Change) {
	home := slices.ContainsFunc(in.Volumes, func(v *argosyv1.Volume) bool {
		return state.KeyOf(v.GetReplica()) == c.Key && in.Machine(v.GetMachine()).Known
	})
	m := in.Machine(c.Replica.GetMachine())
	gone := c.Replica != nil && in.Gone(c.Key, c.Replica.GetIncarnation(), c.Replica.GetMachine())
	switch c.Kind {
	case orchestrator.Create:
		if in.Entry.GetEachMachine() {
			return
		}
		if c.Key.Number > in.Entry.GetCount() {
			t.Fatalf("%s is created, and %d are wanted", c.Key, in.Entry.GetCount())
		}
	case orchestrator.Replace:
		if m.Known && !gone && m.Condition != argosyv1.MachineCondition_MACHINE_CONDITION_LOST && !m.StopAll {
			t.Fatalf("%s is replaced while %s may run it", c.Key, m.Name)
		}
		if m.Known && !gone && c.Replica.GetMachine() != "" && !slices.ContainsFunc(c.Past, func(p *argosyv1.PastIncarnation) bool {
			return p.GetMachine() == c.Replica.GetMachine() && p.GetIncarnation() == c.Replica.GetIncarnation()
		}) {
			t.Fatalf("%s is replaced, and its present incarnation forgotten", c.Key)
		}
		if home && m.Known && !gone && c.Replica.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_RUN {
			t.Fatalf("%s is replaced, and its volume is on a machine that may return", c.Key)
		}
	case orchestrator.Forget:
		if c.Replica.GetMachine() != "" && m.Known && !gone {
			t.Fatalf("%s is forgotten while %s may run it", c.Key, m.Name)
		}
	case orchestrator.Settle:
		for _, p := range c.Replica.GetPast() {
			if in.Machine(p.GetMachine()).Known && !in.Gone(c.Key, p.GetIncarnation(), p.GetMachine()) && len(c.Past) == 0 {
				t.Fatalf("incarnation %d of %s is forgotten while %s may run it", p.GetIncarnation(), c.Key, p.GetMachine())
			}
		}
	}
}

// TestConditions: ages decide, and nothing but ages.
func TestConditions(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	timing := orchestrator.Timing{Unreachable: 5 * time.Second, Liveness: 15 * time.Second}
	const (
		unknown     = argosyv1.MachineCondition_MACHINE_CONDITION_UNSPECIFIED
		ready       = argosyv1.MachineCondition_MACHINE_CONDITION_READY
		unreachable = argosyv1.MachineCondition_MACHINE_CONDITION_UNREACHABLE
		lost        = argosyv1.MachineCondition_MACHINE_CONDITION_LOST
	)
	silent := func(seconds int, recorded argosyv1.MachineCondition) orchestrator.Beats {
		return orchestrator.Beats{ID: "m", Recorded: recorded, Last: now.Add(-time.Duration(seconds) * time.Second), Since: now.Add(-time.Hour)}
	}
	never := func(seconds int, recorded argosyv1.MachineCondition) orchestrator.Beats {
		return orchestrator.Beats{ID: "m", Recorded: recorded, Since: now.Add(-time.Duration(seconds) * time.Second)}
	}
	alive := silent(0, ready)
	for _, c := range []struct {
		name   string
		m      []orchestrator.Beats
		want   argosyv1.MachineCondition
		paused bool
	}{
		{"beats", []orchestrator.Beats{silent(1, ready)}, ready, false},
		{"nearly unreachable", []orchestrator.Beats{silent(4, ready)}, ready, false},
		{"unreachable", []orchestrator.Beats{silent(5, ready), alive}, unreachable, false},
		{"nearly lost", []orchestrator.Beats{silent(14, ready), alive}, unreachable, false},
		{"lost", []orchestrator.Beats{silent(15, ready), alive}, lost, false},
		{"alone and silent", []orchestrator.Beats{silent(60, ready)}, unreachable, true},
		{"two of three", []orchestrator.Beats{silent(60, ready), silent(14, ready), alive}, unreachable, true},
		{"one of two others was lost before", []orchestrator.Beats{silent(60, ready), silent(600, lost), alive}, lost, false},
		{"lost and back", []orchestrator.Beats{silent(1, lost), alive}, ready, false},
		{"lost stays", []orchestrator.Beats{silent(100, lost), alive}, lost, false},
		{"never heard of yet", []orchestrator.Beats{never(1, ready), alive}, unknown, false},
		{"never heard of for long", []orchestrator.Beats{never(20, ready), alive}, lost, false},
		{"lost under the leader before", []orchestrator.Beats{never(1, lost), alive}, lost, false},
	} {
		v := orchestrator.Conditions(now, timing, c.m)
		if v.Machines[0].Condition != c.want || (v.Paused != "") != c.paused {
			t.Errorf("%s: %s, paused %q; want %s, paused %v", c.name, v.Machines[0].Condition, v.Paused, c.want, c.paused)
		}
		if c.want != ready && c.want != argosyv1.MachineCondition_MACHINE_CONDITION_DRAINING && v.Machines[0].Message == "" {
			t.Errorf("%s: nothing says why", c.name)
		}
	}
}
