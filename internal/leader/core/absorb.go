package core

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/dispatcher"
	"github.com/argosy-cluster/argosy/internal/placement"
	"github.com/argosy-cluster/argosy/internal/scheduler"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/unitfile"
	"github.com/argosy-cluster/argosy/internal/volumesource"
)

// absorb draws the conclusions from changed records.
func (c *Core) absorb(ch state.Changes) {
	if ch.Settings || ch.All {
		c.settings()
	}
	if ch.Faults {
		for _, err := range c.st.Faults() {
			c.complain("%v", err)
		}
	}
	for _, id := range sortedSet(ch.Machines, strings.Compare) {
		c.machineChanged(id)
	}
	for _, k := range sortedSet(ch.Apps, state.AppKey.Compare) {
		c.appChanged(k)
	}
	for _, k := range sortedSet(ch.Replicas, state.Key.Compare) {
		c.replicaChanged(k)
	}
	for id, keys := range ch.Assigned {
		for k := range keys {
			c.disp.Mark(id, k)
		}
	}
	if len(ch.Secrets)+len(ch.Credentials) > 0 {
		c.secretsChanged(ch.Secrets, ch.Credentials)
	}
}

func (c *Core) settings() {
	set := c.st.Settings()
	c.timing.Unreachable = set.GetUnreachableAfter().AsDuration()
	c.timing.Liveness = max(set.GetLiveness().AsDuration(), c.timing.Unreachable)
	c.judgeAt = time.Time{}
	c.disp.MarkWelcome()
	c.disp.MarkLeases()
}

// machineChanged follows a machine's record.
func (c *Core) machineChanged(id string) {
	c.change.Machines.Add(id)
	c.judgeAt = time.Time{}
	m := c.st.Machine(id)
	if m == nil {
		c.foresight = true
		c.sched.RemoveMachine(id)
		delete(c.given, id)
		delete(c.verdicts, id)
		delete(c.known, id)
		delete(c.hellos, id)
		for k := range c.seals {
			if k.machine == id {
				delete(c.seals, k)
			}
		}
		c.disp.SetPeer(id, nil)
		c.disp.Forget(id)
		c.capacity = true
	} else {
		c.disp.SetPeer(id, &argosyv1.Peer{Machine: id, Name: m.GetName(), Address: m.GetAddress(), Subnet: m.GetSubnet()})
		c.machines.Add(id)
		c.tellScheduler(id)
		c.foresight = c.foresight || m.GetCondition() == condLost
	}
	c.touchMachine(id)
	for k := range c.each {
		c.stacks.Add(k)
	}
}

// touchMachine has everything decided again that depends on how a machine stands.
func (c *Core) touchMachine(id string) {
	for _, r := range c.st.MachineReplicas(id) {
		k := state.KeyOf(r.GetKey())
		c.stacks.Add(k.StackKey())
		c.endpoints.Add(k)
		c.change.Replicas.Add(k)
	}
	for _, r := range c.st.MachinePast(id) {
		k := state.KeyOf(r.GetKey())
		c.stacks.Add(k.StackKey())
		c.endpoints.Add(k)
		c.change.Replicas.Add(k)
	}
	for _, v := range c.st.MachineVolumes(id) {
		c.stacks.Add(state.KeyOf(v.GetReplica()).StackKey())
	}
}

// tellScheduler gives the scheduler a machine as it is now, if that differs from what it was given.
func (c *Core) tellScheduler(id string) {
	m := c.st.Machine(id)
	if m == nil {
		return
	}
	next := scheduler.Machine{
		ID: id, Name: m.GetName(), Labels: c.schedulerLabels(m), Storage: c.storage(id),
		Capacity:  scheduler.Resources{CPU: m.GetCapacity().GetCpuMilli(), Memory: m.GetCapacity().GetMemory()},
		Reserve:   scheduler.Resources{CPU: m.GetCapacity().GetReserveCpuMilli(), Memory: m.GetCapacity().GetReserveMemory()},
		Condition: schedulerCondition(c.condition(id)),
	}
	_, unconnected := c.disp.Network(id)
	switch {
	case next.Condition != scheduler.Ready:
	case c.disp.Trouble(id) != "":
		next.Condition = scheduler.Hung
	case unconnected:
		next.Condition = scheduler.Unconnected
	}
	old, ok := c.given[id]
	if ok && sameMachine(old, next) {
		return
	}
	c.given[id] = next
	c.sched.SetMachine(next)
	c.capacity = true
}

// schedulerLabels are a machine's labels, and, where it runs units, what these may ask of it.
func (c *Core) schedulerLabels(m *argosyv1.Machine) map[string]string {
	storage := c.disp.Storage(m.GetId())
	if m.GetSystemdVersion() == "" && storage == nil {
		return m.GetLabels()
	}
	out := ownLabels(m)
	if out == nil {
		out = map[string]string{}
	}
	if storage != nil {
		out[placement.Guard] = cmp.Or(c.leaseTrouble(m.GetId(), storage.GetGuard()), placement.Ready)
	}
	for k, v := range m.GetLabels() {
		if !placement.Own(k) {
			out[k] = v
		}
	}
	return out
}

// storage is what a machine last said that it has a way to.
func (c *Core) storage(id string) placement.Storage {
	r := c.disp.Storage(id)
	if r == nil {
		return nil
	}
	out := slices.Clone(r.GetDevices())
	for _, kind := range r.GetMountTypes() {
		out = append(out, volumesource.Reach("mount "+kind))
	}
	slices.Sort(out)
	return out
}

// ownLabels are those that nobody can set, of a machine that runs units.
func ownLabels(m *argosyv1.Machine) map[string]string {
	if m.GetSystemdVersion() == "" {
		return nil
	}
	id := m.GetId()
	return map[string]string{placement.Systemd: m.GetSystemdVersion(), placement.ID: id, placement.ShortID: id[:min(len(id), unitfile.ShortID)]}
}

func sameMachine(a, b scheduler.Machine) bool {
	if a.Name != b.Name || a.Capacity != b.Capacity || a.Reserve != b.Reserve || a.Condition != b.Condition || len(a.Labels) != len(b.Labels) || !slices.Equal(a.Storage, b.Storage) {
		return false
	}
	for k, v := range a.Labels {
		if w, ok := b.Labels[k]; !ok || v != w {
			return false
		}
	}
	return true
}

func schedulerCondition(v argosyv1.MachineCondition) scheduler.Condition {
	switch v {
	case argosyv1.MachineCondition_MACHINE_CONDITION_READY:
		return scheduler.Ready
	case argosyv1.MachineCondition_MACHINE_CONDITION_DRAINING:
		return scheduler.Draining
	case argosyv1.MachineCondition_MACHINE_CONDITION_LOST:
		return scheduler.Lost
	}
	return scheduler.Unreachable
}

// appChanged follows an app's record and revisions.
func (c *Core) appChanged(k state.AppKey) {
	c.change.Apps.Add(k)
	c.apps.Add(k)
	delete(c.derived, k)
	for _, sk := range c.st.StackKeys(k) {
		c.stacks.Add(sk)
	}
	rev := c.st.AppRevision(k.Tenant, k.App, 0)
	for _, s := range rev.GetSpec().GetStacks() {
		sk := k.Stack(s.GetName())
		c.stacks.Add(sk)
		if state.Entry(rev.GetSpec(), s.GetName()).GetEachMachine() {
			c.each.Add(sk)
		} else {
			delete(c.each, sk)
		}
	}
	for sk := range c.each {
		if sk.AppKey() == k && state.StackSpec(rev.GetSpec(), sk.Stack) == nil {
			delete(c.each, sk)
		}
	}
	for _, r := range c.st.AppReplicas(k) {
		c.change.Replicas.Add(state.KeyOf(r.GetKey()))
	}
}

// replicaChanged follows a replica's record or volumes.
func (c *Core) replicaChanged(k state.Key) {
	c.change.Replicas.Add(k)
	c.change.Apps.Add(k.AppKey())
	c.stacks.Add(k.StackKey())
	c.apps.Add(k.AppKey())
	c.endpoints.Add(k)
	if c.st.HasShared(k) {
		c.claims.Add(k)
	}
	r := c.st.Replica(k)
	if r != nil && r.GetMachine() == "" && r.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_RUN {
		c.pending.Add(k)
	} else {
		delete(c.pending, k)
	}
	c.syncPlaced(k, r)
	if r == nil {
		delete(c.waits[k.StackKey()], k)
		if len(c.waits[k.StackKey()]) == 0 {
			delete(c.waits, k.StackKey())
		}
	}
}

// syncPlaced makes the scheduler know what a replica occupies: its machine, and those that may still run an earlier
// incarnation.
func (c *Core) syncPlaced(k state.Key, r *argosyv1.Replica) {
	var want []scheduler.Placed
	if r != nil {
		sh := c.shapeAt(k.StackKey(), r.GetRevision())
		add := func(incarnation uint64, machine string) {
			want = append(want, scheduler.Placed{Replica: schedulerReplica(k), Incarnation: incarnation, Shape: sh.of(k), Machine: machine})
		}
		if r.GetMachine() != "" {
			add(r.GetIncarnation(), r.GetMachine())
		}
		for _, p := range r.GetPast() {
			add(p.GetIncarnation(), p.GetMachine())
		}
	}
	samePlace := func(a scheduler.Placed) func(scheduler.Placed) bool {
		return func(b scheduler.Placed) bool { return a.Incarnation == b.Incarnation && a.Machine == b.Machine }
	}
	for _, old := range c.placed[k] {
		if !slices.ContainsFunc(want, samePlace(old)) {
			c.sched.Remove(old)
			c.capacity = true
			c.machines.Add(old.Machine) // which may be empty now
			c.freed(old.Machine)
		}
	}
	for _, p := range want {
		c.sched.Add(p)
		// Somebody may wait to go together with it, or for what it no longer needs.
		same := func(old scheduler.Placed) bool { return samePlace(p)(old) && old.Shape == p.Shape }
		if !slices.ContainsFunc(c.placed[k], same) {
			c.capacity = c.capacity || len(c.pending)+len(c.stuck) > 0
		}
	}
	delete(c.ahead, k)
	if len(want) == 0 {
		delete(c.placed, k)
	} else {
		c.placed[k] = want
	}
}

func schedulerReplica(k state.Key) scheduler.Replica {
	return scheduler.Replica{Stack: schedulerStack(k.StackKey()), Number: int(k.Number)}
}

func schedulerStack(k state.StackKey) scheduler.Stack {
	return scheduler.Stack{Tenant: k.Tenant, App: k.App, Name: k.Stack}
}

// hear draws the conclusions from what machines showed.
func (c *Core) hear(n dispatcher.News) {
	for k := range n.Replicas {
		c.endpoints.Add(k)
		c.change.Replicas.Add(k)
		if c.st.HasShared(k) {
			c.claims.Add(k)
		}
		r := c.st.Replica(k)
		if r == nil {
			continue
		}
		c.change.Apps.Add(k.AppKey())
		if sk := k.StackKey(); c.rolling.Has(sk) || r.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE || len(r.GetPast()) > 0 {
			c.stacks.Add(sk)
		}
	}
	for id := range n.Machines {
		c.change.Machines.Add(id)
		c.judgeAt = time.Time{}
		c.tellScheduler(id)
		for _, r := range c.st.MachinePast(id) {
			c.stacks.Add(state.KeyOf(r.GetKey()).StackKey())
		}
		for _, r := range c.st.MachineReplicas(id) {
			k := state.KeyOf(r.GetKey())
			c.change.Replicas.Add(k)
			c.endpoints.Add(k)
			// A full report makes fresh what it repeats, and a rolling update may wait for just that.
			if c.rolling.Has(k.StackKey()) {
				c.stacks.Add(k.StackKey())
			}
		}
	}
	for id, hello := range n.Hellos {
		c.hellos[id] = hello
		c.machines.Add(id)
	}
	for id := range n.Storage {
		c.machines.Add(id)
		c.tellScheduler(id)
		if c.disp.Storage(id).GetGuard().GetLeaving() {
			c.touchMachine(id) // what has shared volumes there goes elsewhere
		}
	}
	for id := range n.Outboxes {
		c.outboxes.Add(id)
	}
	for _, i := range n.Intruders {
		c.intruders = append(c.intruders, i)
		c.complain("machine %s: %s", c.st.MachineName(i.Machine), i.Why)
	}
}

// secretsChanged has assignments sent again that name a changed secret or credential.
func (c *Core) secretsChanged(secrets, credentials state.Set[state.SecretKey]) {
	// A secret that was deleted and set again may have the version of the old one.
	for k := range c.seals {
		if !k.credential && secrets.Has(k.secret) || k.credential && credentials.Has(k.secret) {
			delete(c.seals, k)
		}
	}
	tenants := state.Set[string]{}
	for k := range secrets {
		tenants.Add(k.Tenant)
	}
	for k := range credentials {
		tenants.Add(k.Tenant)
	}
	for t := range tenants {
		for _, app := range c.st.AppKeys(t) {
			for _, r := range c.st.AppReplicas(app) {
				k := state.KeyOf(r.GetKey())
				if r.GetMachine() != "" && c.names(k, r, secrets, credentials) {
					c.disp.Mark(r.GetMachine(), k)
				}
				if p := standsIn(r); p != nil {
					c.disp.Mark(p.GetMachine(), k)
				}
			}
		}
	}
}

// names reports whether a replica's containers use one of the secrets or registries.
func (c *Core) names(k state.Key, r *argosyv1.Replica, secrets, credentials state.Set[state.SecretKey]) bool {
	_, containers := c.st.StackOf(k.StackKey(), r.GetRevision())
	for _, ct := range containers {
		for _, f := range ct.GetSecrets() {
			if secrets.Has(state.SecretKey{Tenant: k.Tenant, Name: f.GetSource()}) {
				return true
			}
		}
		if credentials.Has(state.SecretKey{Tenant: k.Tenant, Name: registryOf(ct)}) {
			return true
		}
	}
	return false
}

// wait is what a replica waits for, as text or as a reason of the scheduler's that is put into words when somebody asks.
type wait struct {
	text   string
	reason *scheduler.Reason
}

func (w wait) String() string {
	if w.reason == nil {
		return w.text
	}
	if w.text == "" {
		return w.reason.String()
	}
	return fmt.Sprintf("%s; %s", w.text, w.reason)
}
