package core

import (
	"cmp"
	"fmt"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Observe says what is to be reported of every replica that is wanted or found, in the order of keys and incarnations.
// Only observed_at depends on now. An assignment that is to be removed and of which nothing is left is GONE; a replica that
// nobody wants simply stops being named.
func Observe(now time.Time, wanted []*argosyv1.Assignment, seen Seen, mem Memory) []*argosyv1.ReplicaObservation {
	var all []*argosyv1.ReplicaObservation
	for _, g := range gather(wanted, seen, &mem) {
		for _, r := range g.replicas {
			trouble, blind := g.blind(seen)
			o := r.observe(trouble, blind)
			o.ObservedAt = timestamppb.New(now)
			all = append(all, o)
		}
	}
	return all
}

// Same says whether two observations differ in nothing but the time they were made.
func Same(a, b *argosyv1.ReplicaObservation) bool {
	if a == nil || b == nil {
		return a == b
	}
	a, b = proto.CloneOf(a), proto.CloneOf(b)
	a.ObservedAt, b.ObservedAt = nil, nil
	return proto.Equal(a, b)
}

func (r *replica) observe(trouble string, blind bool) *argosyv1.ReplicaObservation {
	o := &argosyv1.ReplicaObservation{
		Key: r.id.Key.Proto(), AppUid: r.id.AppUID, Incarnation: r.id.Incarnation,
		Revision: r.a.GetRevision(), Restart: r.a.GetRestart(),
	}
	o.Claims = r.observeClaims()
	if blind {
		o.Message = trouble
		o.Revision, o.Restart = 0, 0
		return o
	}
	for _, m := range r.members {
		if !m.wanted() && m.c == nil {
			continue
		}
		o.Members = append(o.Members, m.observe())
		// What the replica is at is what its least member is at.
		if m.c != nil && !m.current(m.c) {
			o.Revision, o.Restart = min(nonzero(o.Revision, m.c.Revision), m.c.Revision), min(nonzero(o.Restart, m.c.Restart), m.c.Restart)
		}
	}
	o.State, o.Message = r.sum(o.Members)
	return o
}

func nonzero(a, b uint64) uint64 {
	if a == 0 {
		return b
	}
	return a
}

// sum derives a replica's state from its members'.
func (r *replica) sum(members []*argosyv1.MemberObservation) (argosyv1.ReplicaState, string) {
	if r.a == nil {
		return argosyv1.ReplicaState_REPLICA_STATE_STOPPING, "nothing assigned to this machine wants it"
	}
	if r.a.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE {
		mm := r.group.mem.Member(MemberID{ID: r.id})
		if len(members) == 0 && mm.Cleaned {
			return argosyv1.ReplicaState_REPLICA_STATE_GONE, ""
		}
		return argosyv1.ReplicaState_REPLICA_STATE_STOPPING, firstMessage(members, mm.Fault)
	}
	n := map[argosyv1.MemberState]int{}
	for _, m := range members {
		n[m.GetState()]++
	}
	up := n[argosyv1.MemberState_MEMBER_STATE_RUNNING]
	// A unit that is only loaded is as it is to be.
	done := n[argosyv1.MemberState_MEMBER_STATE_COMPLETED] + r.loaded(members)
	bad := n[argosyv1.MemberState_MEMBER_STATE_FAILED] + n[argosyv1.MemberState_MEMBER_STATE_BACKOFF] + n[argosyv1.MemberState_MEMBER_STATE_UNHEALTHY]
	switch {
	case len(members) > 0 && up+done == len(members) && up > 0:
		return argosyv1.ReplicaState_REPLICA_STATE_READY, firstMessage(members, "")
	case len(members) > 0 && done == len(members):
		return argosyv1.ReplicaState_REPLICA_STATE_COMPLETED, ""
	case bad > 0 && up > 0:
		return argosyv1.ReplicaState_REPLICA_STATE_DEGRADED, firstMessage(members, "")
	case bad > 0 && n[argosyv1.MemberState_MEMBER_STATE_STARTING] == 0:
		return argosyv1.ReplicaState_REPLICA_STATE_FAILED, firstMessage(members, "")
	}
	return argosyv1.ReplicaState_REPLICA_STATE_STARTING, firstMessage(members, "")
}

// loaded counts the members that are units, are not to be started and do not run.
func (r *replica) loaded(members []*argosyv1.MemberObservation) int {
	n := 0
	for _, m := range members {
		if m.GetState() == argosyv1.MemberState_MEMBER_STATE_CREATED && r.member(m.GetName()).unit.GetNotStarted() {
			n++
		}
	}
	return n
}

// severity orders what members complain of: the cause before those that only wait for it.
var severity = map[argosyv1.MemberState]int{
	argosyv1.MemberState_MEMBER_STATE_FAILED: 6, argosyv1.MemberState_MEMBER_STATE_BACKOFF: 5,
	argosyv1.MemberState_MEMBER_STATE_UNHEALTHY: 4, argosyv1.MemberState_MEMBER_STATE_PULLING: 3,
	argosyv1.MemberState_MEMBER_STATE_STARTING: 2, argosyv1.MemberState_MEMBER_STATE_STOPPING: 2,
}

func firstMessage(members []*argosyv1.MemberObservation, otherwise string) string {
	best, message := -1, otherwise
	for _, m := range members {
		if s := severity[m.GetState()]; m.GetMessage() != "" && s > best {
			best, message = s, m.GetName()+": "+m.GetMessage()
		}
	}
	return message
}

func (m *member) observe() *argosyv1.MemberObservation {
	o := &argosyv1.MemberObservation{Name: m.id.Member}
	if m.mem.ContainerID != "" && m.c != nil && m.mem.ContainerID == m.c.ContainerID {
		o.Restarts = m.mem.Restarts
	}
	var since time.Time
	if m.c == nil {
		o.State, since, o.Message = m.observeNothing()
	} else {
		o.ContainerId, o.Definition, o.ImageId, o.ExitCode = m.c.ContainerID, m.c.Definition, m.c.ImageID, int32(m.c.ExitCode)
		o.State, since, o.Message = m.observeContainer()
		o.Unit = m.c.Unit.observation(m.c.PID)
		if m.c.State == Running {
			o.Address, o.Ports = m.c.Address, m.c.Ports
		}
	}
	switch {
	case m.mem.Doing == Stop || m.mem.Doing == Remove:
		o.State, since = argosyv1.MemberState_MEMBER_STATE_STOPPING, m.mem.Since
	case m.mem.Fault != "" && m.mem.FaultOf == m.def && m.mem.Doing == 0:
		o.Message = m.mem.Fault
		if m.mem.RetryAt.After(m.mem.FaultAt) {
			o.RetryAt = timestamppb.New(m.mem.RetryAt)
		}
		if o.State <= argosyv1.MemberState_MEMBER_STATE_CREATED {
			o.State, since = argosyv1.MemberState_MEMBER_STATE_BACKOFF, m.mem.FaultAt
		}
	case m.wanted() && m.c != nil && !m.current(m.c):
		if s := m.replace(m.step()); s.Reason != "" && o.Message == "" {
			o.Message = "to be replaced: " + s.Reason
		}
	}
	ended := m.c != nil && m.c.State == Exited
	if o.State == argosyv1.MemberState_MEMBER_STATE_BACKOFF && o.RetryAt == nil && ended {
		_, _, at := m.afterExit(m.c.FinishedAt)
		o.RetryAt = timestamppb.New(at)
	}
	if !since.IsZero() {
		o.Since = timestamppb.New(since)
	}
	return o
}

func (m *member) observeNothing() (argosyv1.MemberState, time.Time, string) {
	switch m.mem.Doing {
	case Pull:
		message := m.mem.Progress
		if message == "" {
			message = "looking for its image"
		}
		return argosyv1.MemberState_MEMBER_STATE_PULLING, m.mem.Since, message
	case Prepare:
		return argosyv1.MemberState_MEMBER_STATE_WAITING, m.mem.Since, "its volumes and files are being made"
	case Create:
		if m.unit != nil {
			return argosyv1.MemberState_MEMBER_STATE_WAITING, m.mem.Since, "its file is being written"
		}
		return argosyv1.MemberState_MEMBER_STATE_WAITING, m.mem.Since, "its container is being created"
	}
	return argosyv1.MemberState_MEMBER_STATE_WAITING, time.Time{}, cmp.Or(m.missingSecrets(), m.notConnected(), m.unarmed())
}

func (m *member) observeContainer() (argosyv1.MemberState, time.Time, string) {
	c := m.c
	if m.mem.Doing == Start {
		return argosyv1.MemberState_MEMBER_STATE_STARTING, m.mem.Since, "being started"
	}
	if m.unit != nil && c.Unit != nil {
		return m.observeUnit()
	}
	switch c.State {
	case Created:
		if w := m.obstacle(); w != "" && m.wanted() {
			return argosyv1.MemberState_MEMBER_STATE_WAITING, c.CreatedAt, w
		}
		return argosyv1.MemberState_MEMBER_STATE_CREATED, c.CreatedAt, ""
	case Running:
		if c.Vanished != 0 {
			return argosyv1.MemberState_MEMBER_STATE_UNHEALTHY, c.StartedAt, c.vanished()
		}
		switch c.Health {
		case CheckStarting:
			return argosyv1.MemberState_MEMBER_STATE_STARTING, c.StartedAt, "runs, not yet healthy"
		case Unhealthy:
			message := "its health check fails"
			if c.HealthOutput != "" {
				message += ": " + c.HealthOutput
			}
			return argosyv1.MemberState_MEMBER_STATE_UNHEALTHY, c.StartedAt, message
		}
		return argosyv1.MemberState_MEMBER_STATE_RUNNING, c.StartedAt, ""
	case Paused:
		return argosyv1.MemberState_MEMBER_STATE_UNHEALTHY, c.StartedAt, "was paused by hand on the machine; docker unpause lets it go on"
	case Exited:
		return m.observeExit()
	}
	return argosyv1.MemberState_MEMBER_STATE_STOPPING, time.Time{}, ""
}

func (m *member) observeExit() (argosyv1.MemberState, time.Time, string) {
	if !m.wanted() {
		return argosyv1.MemberState_MEMBER_STATE_STOPPING, m.c.FinishedAt, ""
	}
	switch v, _, _ := m.afterExit(m.c.FinishedAt); v {
	case completed:
		return argosyv1.MemberState_MEMBER_STATE_COMPLETED, m.c.FinishedAt, ""
	case failed:
		message := m.ended() + " and its restart policy leaves it so"
		if m.unit != nil {
			message = m.ended() + " and its file says Restart=no"
		}
		if n := m.spec.GetRestart().GetMaxAttempts(); n > 0 {
			message = fmt.Sprintf("%s and was started again %d times already, as its restart policy allows", m.ended(), n)
		}
		return argosyv1.MemberState_MEMBER_STATE_FAILED, m.c.FinishedAt, message
	}
	message := m.ended()
	if w := m.obstacle(); w != "" {
		message += "; " + w
	}
	return argosyv1.MemberState_MEMBER_STATE_BACKOFF, m.c.FinishedAt, message
}
