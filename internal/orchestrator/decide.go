package orchestrator

import (
	"fmt"
	"slices"
	"strconv"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/state"
)

const (
	goalRun    = argosyv1.ReplicaGoal_REPLICA_GOAL_RUN
	goalRemove = argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE
)

// ReplicaRestartKey is the key of App.replica_restarts.
func ReplicaRestartKey(stack string, number uint32) string {
	return stack + "." + strconv.FormatUint(uint64(number), 10)
}

// decision is one call of Decide.
type decision struct {
	in   Input
	plan Plan
	// homes holds, by replica number, the local volume that ties it to a machine of the cluster.
	homes map[uint32]*argosyv1.Volume
	// shared holds the numbers that have a volume which several machines reach.
	shared map[uint32]bool
	// kept are the replicas that are wanted and stay where they are (or stay pending).
	kept []*argosyv1.Replica
}

// Decide says what should happen to a stack now.
func Decide(in Input) Plan {
	d := &decision{in: in, homes: map[uint32]*argosyv1.Volume{}, shared: map[uint32]bool{}, plan: Plan{Waits: map[state.Key]string{}}}
	d.volumes()
	wanted, why := d.wanted()
	have := make(map[uint32]bool, len(in.Replicas))
	for _, r := range in.Replicas {
		n := r.GetKey().GetNumber()
		have[n] = true
		switch {
		case wanted[n]:
			d.keep(r)
		case r.GetGoal() == goalRemove:
			d.removing(r)
		default:
			d.remove(r, why(n))
		}
	}
	for _, n := range sortedNumbers(wanted) {
		if !have[n] {
			d.create(n)
		}
	}
	d.clear(have)
	d.moves()
	d.roll()
	d.plan.Done = len(in.Replicas) == 0 && len(d.plan.Changes) == 0 && len(wanted) == 0
	return d.plan
}

func sortedNumbers(set map[uint32]bool) []uint32 {
	out := make([]uint32, 0, len(set))
	for n := range set {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

func (d *decision) key(n uint32) state.Key { return d.in.Key.Replica(n) }

func (d *decision) change(c Change) { d.plan.Changes = append(d.plan.Changes, c) }

// volumes finds what ties replicas to machines, and drops what went with a machine that is no longer in the cluster.
func (d *decision) volumes() {
	for _, v := range d.in.Volumes {
		k := state.KeyOf(v.GetReplica())
		if state.Shared(v) {
			d.shared[k.Number] = true
			left := slices.ContainsFunc(d.in.Replicas, func(r *argosyv1.Replica) bool { return r.GetKey().GetNumber() == k.Number })
			if d.removeVolumes() && !left && len(v.GetFences()) == 0 { // else nobody would know whom its storage has to take back
				d.change(Change{Kind: DropVolume, Key: k, Volume: v.GetName(), Why: "the app is being deleted with its volumes; what is on shared storage stays there"})
			}
			continue
		}
		if !d.in.Machine(v.GetMachine()).Known {
			d.change(Change{Kind: DropVolume, Key: k, Volume: v.GetName(),
				Why: fmt.Sprintf("its machine %s was removed from the cluster", v.GetMachine())})
			continue
		}
		if d.homes[k.Number] == nil {
			d.homes[k.Number] = v
		}
	}
}

// wanted is the set of numbers that should exist, and why others should not.
func (d *decision) wanted() (map[uint32]bool, func(uint32) string) {
	because := func(s string) func(uint32) string { return func(uint32) string { return s } }
	switch {
	case d.in.App == nil:
		return nil, because("the app no longer exists")
	case d.in.App.GetDeleting():
		return nil, because("the app is being deleted")
	case d.in.Spec == nil:
		return nil, because(fmt.Sprintf("revision %d has no stack %s", d.in.Target, d.in.Key.Stack))
	case d.in.Entry.GetEachMachine():
		return d.wantedEach()
	}
	count := d.in.Entry.GetCount()
	set := make(map[uint32]bool, count)
	for n := uint32(1); n <= count; n++ {
		set[n] = true
	}
	return set, because(fmt.Sprintf("scaled to %d at revision %d", count, d.in.Target))
}

func (d *decision) create(n uint32) {
	k := d.key(n)
	d.change(Change{Kind: Create, Key: k, Revision: d.in.Target, Restart: RestartCount(d.in.App, k),
		Why: fmt.Sprintf("wanted by revision %d", d.in.Target)})
}

func (d *decision) remove(r *argosyv1.Replica, why string) {
	if r.GetMachine() == "" && len(r.GetPast()) == 0 {
		d.change(Change{Kind: Forget, Key: state.KeyOf(r.GetKey()), Replica: r, Why: why + "; it was on no machine"})
		return
	}
	d.change(Change{Kind: Remove, Key: state.KeyOf(r.GetKey()), Replica: r, RemoveVolumes: d.removeVolumes(), Why: why})
}

func (d *decision) removeVolumes() bool { return d.in.App.GetDeleting() && d.in.App.GetDeleteVolumes() }

// removing looks after a replica on its way out. One whose volumes are to go only now goes without them first: its machine
// may have finished already. They are cleared afterwards, under an incarnation of their own.
func (d *decision) removing(r *argosyv1.Replica) {
	k := state.KeyOf(r.GetKey())
	past, changed := d.settled(r)
	m := d.in.Machine(r.GetMachine())
	here := r.GetMachine() != "" && m.Known && !d.in.Gone(k, r.GetIncarnation(), r.GetMachine())
	switch {
	case !here && len(past) == 0:
		d.change(Change{Kind: Forget, Key: k, Replica: r, RemoveVolumes: r.GetRemoveVolumes(), Why: "nothing is left of it"})
	case changed:
		d.change(Change{Kind: Settle, Key: k, Replica: r, Past: past, Why: "nothing is left of earlier incarnations"})
	case !here:
		d.plan.Waits[k] = d.waitsForPast(past)
	case !m.live():
		d.plan.Waits[k] = fmt.Sprintf("is to be removed; waits for %s, which is %s", m.Name, Word(m.Condition))
	default:
		d.plan.Waits[k] = fmt.Sprintf("is being removed by %s", m.Name)
	}
}

func (d *decision) waitsForPast(past []*argosyv1.PastIncarnation) string {
	m := d.in.Machine(past[0].GetMachine())
	return fmt.Sprintf("is to be removed; incarnation %d may still run on %s, which is %s",
		past[0].GetIncarnation(), m.Name, Word(m.Condition))
}

// pastLeft lists the earlier incarnations that may still be somewhere.
func (d *decision) pastLeft(r *argosyv1.Replica) []*argosyv1.PastIncarnation {
	var left []*argosyv1.PastIncarnation
	for _, p := range r.GetPast() {
		if d.in.Machine(p.GetMachine()).Known && !d.in.Gone(state.KeyOf(r.GetKey()), p.GetIncarnation(), p.GetMachine()) {
			left = append(left, p)
		}
	}
	return left
}

// keep looks after a replica that is wanted.
func (d *decision) keep(r *argosyv1.Replica) {
	k := state.KeyOf(r.GetKey())
	m := d.in.Machine(r.GetMachine())
	switch {
	case r.GetGoal() == goalRemove:
		d.revive(r, m)
	case r.GetMachine() == "":
		d.pending(r)
	case !m.Known:
		d.replace(r, fmt.Sprintf("its machine %s was removed from the cluster", r.GetMachine()))
	case m.lost() && d.in.Entry.GetEachMachine():
		d.plan.Waits[k] = fmt.Sprintf("waits for %s, which is lost: one replica belongs to each machine", m.Name)
		d.kept = append(d.kept, r)
	case m.lost() && d.homes[k.Number] != nil:
		d.plan.Waits[k] = fmt.Sprintf("waits for %s, which is lost: volume %s is there", m.Name, d.homes[k.Number].GetName())
		d.kept = append(d.kept, r)
	case m.lost():
		d.replace(r, fmt.Sprintf("%s is lost", m.Name))
	case d.unleased(r) != "":
		d.replace(r, d.unleased(r))
	default:
		d.stay(r, m)
	}
}

// unleased says why a replica is replaced although its machine is not declared lost: it cannot write its shared storage there, and
// another machine may be able to. Who writes is decided elsewhere. Empty when that is not so.
func (d *decision) unleased(r *argosyv1.Replica) string {
	n := r.GetKey().GetNumber()
	if d.in.Unleased == nil || !d.shared[n] || d.homes[n] != nil || d.in.Entry.GetEachMachine() {
		return ""
	}
	return d.in.Unleased(r)
}

// revive looks after a replica that is wanted again while it is being removed.
func (d *decision) revive(r *argosyv1.Replica, m Machine) {
	k := state.KeyOf(r.GetKey())
	home := d.homes[k.Number]
	switch {
	case r.GetMachine() == "" || !m.Known || d.in.Gone(k, r.GetIncarnation(), r.GetMachine()):
		d.replaceKeeping(r, d.pastLeft(r), false, "wanted again")
	case m.lost() && (home == nil || home.GetMachine() != r.GetMachine()) && !d.in.Entry.GetEachMachine():
		d.replace(r, fmt.Sprintf("wanted again, and %s is lost", m.Name))
	case m.Draining && home != nil:
		d.plan.Waits[k] = fmt.Sprintf("is being stopped: %s is being drained, and volume %s stays there", m.Name, home.GetName())
	default:
		d.plan.Waits[k] = fmt.Sprintf("wanted again; waits until %s has removed incarnation %d", m.Name, r.GetIncarnation())
	}
}

// pending looks after a replica on no machine. Placing it is tried again by whoever carries plans out.
func (d *decision) pending(r *argosyv1.Replica) {
	k := state.KeyOf(r.GetKey())
	past, changed := d.settled(r)
	restart := RestartCount(d.in.App, k)
	switch {
	case r.GetRevision() != d.in.Target || r.GetRestart() != restart:
		d.change(Change{Kind: Renew, Key: k, Replica: r, Revision: d.in.Target, Restart: restart, Past: past,
			Why: fmt.Sprintf("revision %d", d.in.Target)})
	case changed:
		d.change(Change{Kind: Settle, Key: k, Replica: r, Past: past, Why: "nothing is left of earlier incarnations"})
	}
}

// replace makes the next incarnation, and remembers the present one while its machine may still run it.
func (d *decision) replace(r *argosyv1.Replica, why string) {
	past, _ := d.settled(r)
	known := d.in.Machine(r.GetMachine()).Known
	if known {
		past = append(past, &argosyv1.PastIncarnation{Incarnation: r.GetIncarnation(), Machine: r.GetMachine(), Why: why})
	}
	d.replaceKeeping(r, past, known, why)
}

func (d *decision) replaceKeeping(r *argosyv1.Replica, past []*argosyv1.PastIncarnation, optional bool, why string) {
	k := state.KeyOf(r.GetKey())
	d.change(Change{Kind: Replace, Key: k, Replica: r, Revision: d.in.Target, Restart: RestartCount(d.in.App, k), Past: past,
		Optional: optional, Why: why})
}

// clear has volumes deleted that outlived their replicas, when the app goes with its volumes.
func (d *decision) clear(have map[uint32]bool) {
	if !d.removeVolumes() {
		return
	}
	for _, n := range sortedKeys(d.homes) {
		if v := d.homes[n]; !have[n] {
			d.change(Change{Kind: Clear, Key: d.key(n), Machine: v.GetMachine(), RemoveVolumes: true,
				Why: fmt.Sprintf("the app is being deleted with its volumes; %s is left of an earlier scale", v.GetName())})
		}
	}
}

func sortedKeys[V any](m map[uint32]V) []uint32 {
	out := make([]uint32, 0, len(m))
	for n := range m {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// Word is a machine's condition as people read it.
func Word(c argosyv1.MachineCondition) string {
	switch c {
	case argosyv1.MachineCondition_MACHINE_CONDITION_READY:
		return "ready"
	case argosyv1.MachineCondition_MACHINE_CONDITION_DRAINING:
		return "draining"
	case argosyv1.MachineCondition_MACHINE_CONDITION_UNREACHABLE:
		return "unreachable"
	case argosyv1.MachineCondition_MACHINE_CONDITION_LOST:
		return "lost"
	}
	return "not heard of yet"
}
