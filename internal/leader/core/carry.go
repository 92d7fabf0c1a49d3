package core

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/orchestrator"
	"github.com/argosy-cluster/argosy/internal/scheduler"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
)

// job is a replica that needs a machine.
type job struct {
	key state.Key
	// next is the record to be written once a machine is found; without one it is written only if required.
	next     *argosyv1.Replica
	required bool
	from     string
	why      string
}

// carry carries out a change, or makes a job of it when it needs a machine.
func (s *stepping) carry(ch orchestrator.Change) {
	if ch.Kind != orchestrator.DropVolume {
		s.changed.Add(ch.Key)
	}
	switch ch.Kind {
	case orchestrator.Create:
		s.create(ch)
	case orchestrator.Renew:
		next := proto.CloneOf(ch.Replica)
		next.Revision, next.Restart, next.Past = ch.Revision, ch.Restart, ch.Past
		s.jobs = append(s.jobs, job{key: ch.Key, next: next, required: true, from: "pending"})
	case orchestrator.Replace:
		s.replace(ch)
	case orchestrator.Remove:
		s.remove(ch)
	case orchestrator.Forget:
		s.forget(ch)
	case orchestrator.Settle:
		next := proto.CloneOf(ch.Replica)
		next.Past = ch.Past
		if next.GetMachine() == "" && next.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_RUN {
			s.jobs = append(s.jobs, job{key: ch.Key, next: next, required: true, from: "pending"})
			return
		}
		s.write(ch.Key, next, func(*building) {})
	case orchestrator.DropVolume:
		u := s.c.unit()
		u.delete(store.VolumeKey(ch.Key.Proto(), ch.Volume))
		u.noteReplica(ch.Key, 0, "", "volume "+ch.Volume, "gone", ch.Why)
		s.units = append(s.units, u.seal(s.now))
	case orchestrator.Clear:
		s.clear(ch)
	}
}

// write makes a unit of a replica's record and whatever more adds to it.
func (s *stepping) write(k state.Key, next *argosyv1.Replica, more func(*building)) {
	s.changed.Add(k)
	u := s.c.unit()
	u.put(store.ReplicaKey(next.GetKey()), next)
	more(u)
	s.units = append(s.units, u.seal(s.now))
}

func (s *stepping) create(ch orchestrator.Change) {
	app := s.c.st.App(ch.Key.Tenant, ch.Key.App)
	next := &argosyv1.Replica{
		Key: ch.Key.Proto(), AppUid: app.GetUid(), Incarnation: s.nextIncarnation(ch.Key.AppKey()),
		Revision: ch.Revision, Restart: ch.Restart, Goal: argosyv1.ReplicaGoal_REPLICA_GOAL_RUN,
	}
	s.jobs = append(s.jobs, job{key: ch.Key, next: next, required: true})
}

func (s *stepping) replace(ch orchestrator.Change) {
	next := proto.CloneOf(ch.Replica)
	next.Incarnation = s.c.st.Above(next.Incarnation)
	next.Machine, next.AssignedAt = "", nil
	next.Goal, next.RemoveVolumes = argosyv1.ReplicaGoal_REPLICA_GOAL_RUN, false
	next.Revision, next.Restart, next.Past = ch.Revision, ch.Restart, ch.Past
	from := "pending"
	if m := ch.Replica.GetMachine(); m != "" {
		from = "on " + s.c.st.MachineName(m)
	}
	s.jobs = append(s.jobs, job{key: ch.Key, next: next, required: !ch.Optional, from: from, why: ch.Why})
}

// again tries a pending replica.
func (s *stepping) again(r *argosyv1.Replica) {
	k := state.KeyOf(r.GetKey())
	s.changed.Add(k)
	s.jobs = append(s.jobs, job{key: k, next: proto.CloneOf(r), from: "pending"})
}

func (s *stepping) remove(ch orchestrator.Change) {
	next := proto.CloneOf(ch.Replica)
	next.Goal = argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE
	next.RemoveVolumes = next.RemoveVolumes || ch.RemoveVolumes
	next.Reason = &argosyv1.Reason{Summary: "to be removed: " + ch.Why, At: timestamppb.New(s.now)}
	s.write(ch.Key, next, func(u *building) {
		u.noteReplica(ch.Key, next.GetIncarnation(), next.GetMachine(), "assigned", "to be removed", ch.Why)
	})
}

func (s *stepping) forget(ch orchestrator.Change) {
	u := s.c.unit()
	u.delete(store.ReplicaKey(ch.Replica.GetKey()))
	if ch.RemoveVolumes {
		for _, v := range s.c.st.Volumes(ch.Key) {
			if v.GetMachine() == ch.Replica.GetMachine() || state.Shared(v) && len(v.GetFences()) == 0 {
				u.delete(store.VolumeKey(v.GetReplica(), v.GetName()))
			}
		}
	}
	u.noteReplica(ch.Key, ch.Replica.GetIncarnation(), ch.Replica.GetMachine(), "to be removed", "gone", ch.Why)
	s.lower(ch.Replica)
	s.c.disp.ForgetGone(ch.Replica.GetMachine(), incarnationOf(ch.Replica, ch.Replica.GetIncarnation()))
	s.units = append(s.units, u.seal(s.now))
}

func (s *stepping) clear(ch orchestrator.Change) {
	app := s.c.st.App(ch.Key.Tenant, ch.Key.App)
	next := &argosyv1.Replica{
		Key: ch.Key.Proto(), AppUid: app.GetUid(), Incarnation: s.nextIncarnation(ch.Key.AppKey()),
		Machine: ch.Machine, Revision: app.GetRevision(), Goal: argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE, RemoveVolumes: true,
		Reason:     &argosyv1.Reason{Summary: "to be removed: " + ch.Why, At: timestamppb.New(s.now)},
		AssignedAt: timestamppb.New(s.now),
	}
	s.write(ch.Key, next, func(u *building) {
		u.noteReplica(ch.Key, next.GetIncarnation(), ch.Machine, "", "to be removed", ch.Why)
	})
}

// inPlace gives a replica another revision or restart count where it is, if it still fits there.
func (s *stepping) inPlace(ch orchestrator.Change) bool {
	r, k := ch.Replica, ch.Key
	if s.changed.Has(k) {
		return false
	}
	before, after := s.c.shapeAt(k.StackKey(), r.GetRevision()), s.c.shapeAt(k.StackKey(), ch.Revision)
	if after.fault != "" {
		s.c.wait(k, wait{text: after.fault})
		return false
	}
	if before.sign != after.sign && !s.fits(ch, after) {
		return false
	}
	next := proto.CloneOf(r)
	next.Revision, next.Restart = ch.Revision, ch.Restart
	s.c.sched.Add(scheduler.Placed{Replica: schedulerReplica(k), Incarnation: r.GetIncarnation(), Shape: after.of(k), Machine: r.GetMachine()})
	s.write(k, next, func(u *building) {
		s.volumes(u, next)
		if ch.Kind == orchestrator.Restart {
			u.noteReplica(k, r.GetIncarnation(), r.GetMachine(), at(r), at(next), ch.Why)
		}
	})
	return true
}

func at(r *argosyv1.Replica) string {
	if r.GetRestart() == 0 {
		return fmt.Sprintf("revision %d", r.GetRevision())
	}
	return fmt.Sprintf("revision %d, restart %d", r.GetRevision(), r.GetRestart()>>32+r.GetRestart()&0xffffffff)
}

// fits reports whether a replica could have another shape on the machine where it is.
func (s *stepping) fits(ch orchestrator.Change, after shape) bool {
	c, r, k := s.c, ch.Replica, ch.Key
	d := c.sched.WhatIf(s.now, c.placed[k], []scheduler.Request{{
		Replica: schedulerReplica(k), Incarnation: r.GetIncarnation(), Shape: after.of(k),
		Pin: scheduler.Pin{Machine: r.GetMachine(), Why: "it is there"},
	}})
	if d[0].Placed() {
		return true
	}
	text := fmt.Sprintf("stays at revision %d: %d does not fit on %s, where it is", r.GetRevision(), ch.Revision, c.st.MachineName(r.GetMachine()))
	if near := d[0].Reason.Rejected.Near; len(near) > 0 {
		text += " (" + near[0].Text() + ")"
	}
	if home, volume := c.st.HomeOf(k); home != "" {
		text += fmt.Sprintf(", and volume %s keeps it there", volume)
	}
	if w, ok := c.waits[k.StackKey()][k]; ok { // what else there is to say of where it is
		text = w.text + "; " + text
		delete(c.waits[k.StackKey()], k)
	}
	c.wait(k, wait{text: text})
	c.stuck.Add(k.StackKey())
	return false
}

// move puts the next incarnation of a replica at the wanted revision on another machine, when it may leave and one fits.
func (s *stepping) move(ch orchestrator.Change) bool {
	c, r, k := s.c, ch.Replica, ch.Key
	after := c.shapeAt(k.StackKey(), ch.Revision)
	before := c.shapeAt(k.StackKey(), r.GetRevision())
	home, _ := c.st.HomeOf(k)
	switch {
	case s.changed.Has(k), after.fault != "", before.sign == after.sign, home != "", c.each.Has(k.StackKey()):
		return false
	case !answers(c.condition(r.GetMachine())):
		return false
	}
	d := c.sched.Decide(s.now, []scheduler.Request{{
		Replica: schedulerReplica(k), Incarnation: c.st.Above(r.GetIncarnation()), Shape: after.of(k),
	}})
	if !d[0].Placed() {
		if w := c.waits[k.StackKey()][k]; w.reason == nil {
			c.waits[k.StackKey()][k] = wait{text: w.text, reason: &d[0].Reason}
		}
		return false
	}
	why := fmt.Sprintf("revision %d does not fit on %s", ch.Revision, c.st.MachineName(r.GetMachine()))
	next := proto.CloneOf(r)
	next.Past = append(next.Past, &argosyv1.PastIncarnation{Incarnation: r.GetIncarnation(), Machine: r.GetMachine(), Why: why})
	next.Incarnation = c.st.Above(next.Incarnation)
	next.Revision, next.Restart = ch.Revision, ch.Restart
	delete(c.waits[k.StackKey()], k)
	s.assign(job{key: k, next: next, from: "on " + c.st.MachineName(r.GetMachine()), why: why}, &d[0])
	return true
}

// volumes makes records of the volumes that a replica has from now on where it is.
func (s *stepping) volumes(u *building, r *argosyv1.Replica) {
	k := state.KeyOf(r.GetKey())
	have := map[string]bool{}
	for _, v := range s.c.st.Volumes(k) {
		// One that went with a machine is about to be dropped.
		have[v.GetName()] = state.Shared(v) || s.c.st.Machine(v.GetMachine()) != nil
	}
	spec, _ := s.c.st.StackOf(k.StackKey(), r.GetRevision())
	for _, v := range spec.GetVolumes() {
		if have[v.GetName()] {
			continue
		}
		vol := &argosyv1.Volume{Replica: r.GetKey(), Name: v.GetName(), Class: classOf(v), Size: v.GetSize(), CreatedAt: timestamppb.New(s.now)}
		if !state.Shared(vol) {
			vol.Machine = r.GetMachine()
		}
		u.put(store.VolumeKey(r.GetKey(), v.GetName()), vol)
	}
}
