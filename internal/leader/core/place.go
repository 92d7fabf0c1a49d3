package core

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/scheduler"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
)

// place finds machines for all jobs at once.
func (s *stepping) place() {
	var batch []scheduler.Request
	var asked []job
	for _, j := range s.jobs {
		sh := s.c.shapeAt(j.key.StackKey(), j.next.GetRevision())
		if sh.fault != "" {
			s.unplaced(j, wait{text: sh.fault}, &argosyv1.Reason{Summary: sh.fault})
			continue
		}
		batch = append(batch, scheduler.Request{Replica: schedulerReplica(j.key), Incarnation: j.next.GetIncarnation(),
			Shape: sh.of(j.key), Pin: s.c.pinOf(j.key)})
		asked = append(asked, j)
	}
	decisions := s.c.sched.Decide(s.now, batch)
	for i := range decisions {
		j, d := asked[i], &decisions[i]
		if d.Placed() {
			s.assign(j, d)
			continue
		}
		why, placed := s.displace(j, batch[i])
		if placed {
			continue
		}
		j.why = join(j.why, why)
		s.unplaced(j, wait{text: j.why, reason: &d.Reason}, s.c.reasonOf(j.why, d))
	}
	s.jobs = nil
}

// assign gives a replica to the machine that was found.
func (s *stepping) assign(j job, d *scheduler.Decision) {
	next := j.next
	s.c.ahead[j.key] = append(s.c.ahead[j.key], d.Placement())
	next.Machine = d.MachineID
	next.Reason = s.c.reasonOf(j.why, d)
	next.Reason.At = timestamppb.New(s.now)
	next.AssignedAt = timestamppb.New(s.now)
	s.write(j.key, next, func(u *building) {
		s.volumes(u, next)
		u.notePlace(j.key, next, j.from, "assigned")
	})
}

// unplaced notes that no machine was found, and writes the record if it must be.
func (s *stepping) unplaced(j job, w wait, reason *argosyv1.Reason) {
	s.c.wait(j.key, w)
	s.c.change.Replicas.Add(j.key)
	if !j.required {
		delete(s.changed, j.key) // it stays as it is, and its claims are decided as ever
		if s.c.st.Replica(j.key).GetMachine() != "" {
			s.c.stuck.Add(j.key.StackKey())
		}
		return
	}
	j.next.Reason = reason
	j.next.Reason.At = timestamppb.New(s.now)
	s.write(j.key, j.next, func(u *building) {
		if j.from == "pending" {
			return
		}
		u.notePlace(j.key, j.next, j.from, "pending")
	})
}

// floorUnits raises the floors of apps from which records go. They come before the deletions.
func (s *stepping) floorUnits() []Unit {
	var units []Unit
	for _, k := range sortedSet(keysOf(s.floors), state.AppKey.Compare) {
		app := s.c.st.App(k.Tenant, k.App)
		next := proto.CloneOf(app)
		next.IncarnationFloor = s.floors[k]
		u := s.c.unit()
		u.put(store.AppKey(k.Tenant, k.App), next)
		units = append(units, u.seal(s.now))
	}
	return units
}

func keysOf[K comparable, V any](m map[K]V) state.Set[K] {
	out := make(state.Set[K], len(m))
	for k := range m {
		out.Add(k)
	}
	return out
}

// appUnits ends apps of which nothing is left.
func (c *Core) appUnits(now time.Time) []Unit {
	var units []Unit
	for _, k := range sortedSet(c.apps, state.AppKey.Compare) {
		app := c.st.App(k.Tenant, k.App)
		revisions := c.st.Revisions(k.Tenant, k.App)
		switch {
		case c.st.AppFault(k) != nil:
		case app == nil && len(revisions) > 0 && len(c.st.AppReplicas(k)) == 0:
			units = append(units, c.deleteRevisions(now, revisions)...)
		case app.GetDeleting() && c.nothingLeft(k, app):
			units = append(units, c.deleteRevisions(now, revisions)...)
			u := c.unit()
			u.delete(store.AppKey(k.Tenant, k.App))
			u.note(&argosyv1.Transition{Kind: argosyv1.TransitionKind_TRANSITION_KIND_APP, Tenant: k.Tenant, App: k.App,
				From: "deleting", To: "deleted", Cause: "its last replica is gone"})
			units = append(units, u.seal(now))
		}
	}
	clear(c.apps)
	return units
}

func (c *Core) nothingLeft(k state.AppKey, app *argosyv1.App) bool {
	for _, sk := range c.st.StackKeys(k) {
		if len(c.st.StackReplicas(sk)) > 0 || app.GetDeleteVolumes() && len(c.st.StackVolumes(sk)) > 0 {
			return false
		}
	}
	return true
}

func (c *Core) deleteRevisions(now time.Time, list []*argosyv1.Revision) []Unit {
	var units []Unit
	for _, r := range list {
		u := c.unit()
		u.delete(store.RevisionKey(r.GetTenant(), r.GetApp(), r.GetNumber()))
		units = append(units, u.seal(now))
	}
	return units
}

// outboxBatch is how many transitions of one machine are committed together.
const outboxBatch = 200

// outboxUnits commits what machines' outboxes hold.
func (c *Core) outboxUnits(now time.Time) []Unit {
	var units []Unit
	for _, id := range sortedSet(c.outboxes, strings.Compare) {
		delete(c.outboxes, id)
		list := c.disp.Outbox(id, outboxBatch)
		if len(list) == 0 || c.st.Machine(id) == nil {
			continue
		}
		if len(list) == outboxBatch {
			c.outboxes.Add(id)
		}
		u, last := c.unit(), c.st.Outbox(id)
		for _, t := range list {
			if t.GetOutboxSeq() > last {
				last = t.GetOutboxSeq()
				u.note(fromMachine(id, t))
			}
		}
		if len(u.notes) == 0 {
			c.disp.Ack(id, last)
			continue
		}
		u.put(store.OutboxKey(id), &argosyv1.TransitionsAck{OutboxSeq: last})
		u.acks = append(u.acks, ack{id, last})
		units = append(units, u.seal(now))
	}
	return units
}

// fromMachine is a machine's transition as history takes it: it speaks for that machine only.
func fromMachine(id string, t *argosyv1.Transition) *argosyv1.Transition {
	t = proto.CloneOf(t)
	t.Machine, t.Actor = id, ""
	switch t.GetKind() {
	case argosyv1.TransitionKind_TRANSITION_KIND_MEMBER, argosyv1.TransitionKind_TRANSITION_KIND_REPLICA,
		argosyv1.TransitionKind_TRANSITION_KIND_IMAGE, argosyv1.TransitionKind_TRANSITION_KIND_MACHINE:
	default:
		t.Kind = argosyv1.TransitionKind_TRANSITION_KIND_MACHINE
	}
	if r := t.GetReplica(); r != nil {
		t.Tenant, t.App = r.GetTenant(), r.GetApp()
	}
	return t
}

// String is for traces.
func (u Unit) String() string {
	s := ""
	for _, op := range u.Ops {
		verb := "put"
		if op.Value == nil {
			verb = "delete"
		}
		s += fmt.Sprintf("%s %s\n", verb, op.Key)
	}
	return s
}
