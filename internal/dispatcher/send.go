package dispatcher

import (
	"fmt"
	"slices"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/state"
)

// Mark notes that what a machine should know of a replica may have changed.
func (c *Core) Mark(id string, k state.Key) {
	if m := c.machines[id]; m != nil && m.session != nil && !m.session.full {
		m.session.dirty.Add(k)
		c.wake(m.session)
	}
}

// MarkAll notes that everything a machine was told should be told again.
func (c *Core) MarkAll(id string) {
	if m := c.machines[id]; m != nil && m.session != nil {
		m.session.full = true
		clear(m.session.dirty)
		c.wake(m.session)
	}
}

// MarkForeseen notes that what a machine would get if others were lost may have changed.
func (c *Core) MarkForeseen(id string) {
	if m := c.machines[id]; m != nil && m.session != nil {
		m.session.foreseen = true
		c.wake(m.session)
	}
}

// MarkWelcome notes that what all machines are greeted with has changed.
func (c *Core) MarkWelcome() {
	for _, m := range c.machines {
		if m.session != nil {
			m.session.welcome = true
			c.wake(m.session)
		}
	}
}

// MarkLeases notes that whom guards ask for leases has changed.
func (c *Core) MarkLeases() {
	for _, m := range c.machines {
		if m.session != nil && m.storage != nil {
			m.session.leases = true
			c.wake(m.session)
		}
	}
}

// Work hands work to a machine.
func (c *Core) Work(id string, w *argosyv1.Work) error {
	m := c.machines[id]
	if m == nil || m.session == nil {
		return fmt.Errorf("the machine has no connection to the cluster now: try again when it is ready")
	}
	if len(m.session.work) >= maxWork {
		return fmt.Errorf("the machine does not take work fast enough (%d wait): try again later", maxWork)
	}
	m.session.work = append(m.session.work, w)
	c.wake(m.session)
	return nil
}

// Next is the next message for a session, nil when it has been told everything. A refusal is the last one.
func (c *Core) Next(s *Session) *argosyv1.SessionResponse {
	switch {
	case s.refusal != nil:
		r := s.refusal
		s.refusal, s.closed = nil, true
		return &argosyv1.SessionResponse{Message: &argosyv1.SessionResponse_Refusal{Refusal: r}}
	case s.closed:
		return nil
	case s.welcome:
		s.welcome = false
		return &argosyv1.SessionResponse{Message: &argosyv1.SessionResponse_Welcome{Welcome: c.source.Welcome(s.machine.id)}}
	case s.marks.due != 0:
		return &argosyv1.SessionResponse{Message: &argosyv1.SessionResponse_Mark{Mark: &argosyv1.Mark{Number: s.marks.take()}}}
	case s.pace != c.pace:
		return &argosyv1.SessionResponse{Message: &argosyv1.SessionResponse_UsagePace{UsagePace: c.usagePace(s)}}
	case s.full:
		return &argosyv1.SessionResponse{Message: &argosyv1.SessionResponse_Assignments{Assignments: c.allAssignments(s)}}
	case len(s.dirty) > 0:
		return &argosyv1.SessionResponse{Message: &argosyv1.SessionResponse_Assignments{Assignments: c.changedAssignments(s)}}
	case s.foreseen:
		s.foreseen = false
		return &argosyv1.SessionResponse{Message: &argosyv1.SessionResponse_Foreseen{Foreseen: &argosyv1.Foreseen{Replicas: c.source.Foreseen(s.machine.id)}}}
	case s.ackDue:
		s.ackDue = false
		return &argosyv1.SessionResponse{Message: &argosyv1.SessionResponse_TransitionsAck{TransitionsAck: &argosyv1.TransitionsAck{OutboxSeq: s.acked}}}
	case len(s.work) > 0:
		w := s.work[0]
		s.work = s.work[1:]
		return &argosyv1.SessionResponse{Message: &argosyv1.SessionResponse_Work{Work: w}}
	}
	if s.leases {
		s.leases = false
		if l := c.source.LeaseServers(); l != nil {
			return &argosyv1.SessionResponse{Message: &argosyv1.SessionResponse_LeaseServers{LeaseServers: l}}
		}
	}
	if u := c.networkUpdate(s); u != nil {
		return &argosyv1.SessionResponse{Message: &argosyv1.SessionResponse_Network{Network: u}}
	}
	return nil
}

func (c *Core) allAssignments(s *Session) *argosyv1.Assignments {
	s.full = false
	clear(s.dirty)
	out := &argosyv1.Assignments{Full: true}
	for _, k := range c.source.Assigned(s.machine.id) {
		if a := c.source.Assignment(s.machine.id, k); a != nil {
			out.Set = append(out.Set, a)
		}
	}
	return out
}

func (c *Core) changedAssignments(s *Session) *argosyv1.Assignments {
	keys := make([]state.Key, 0, len(s.dirty))
	for k := range s.dirty {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, state.Key.Compare)
	out := &argosyv1.Assignments{}
	for _, k := range keys[:min(len(keys), deltaSize)] {
		delete(s.dirty, k)
		if a := c.source.Assignment(s.machine.id, k); a != nil {
			out.Set = append(out.Set, a)
		} else {
			out.Removed = append(out.Removed, k.Proto())
		}
	}
	return out
}
