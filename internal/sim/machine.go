package sim

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	agent "github.com/argosy-cluster/argosy/internal/agent/core"
)

// Machine is a machine: an engine, what its agent keeps on disk, and the agent while it runs.
type Machine struct {
	w        *World
	ID, Name string
	prefix   string // of addresses of its containers
	record   *argosyv1.Machine
	engine   *engine
	boots    int
	up       bool // the machine runs
	cut      bool // nobody can reach it, nor it anybody
	removed  bool

	// On disk.
	wanted   map[agent.Key]*argosyv1.Assignment
	complete bool
	outbox   []*argosyv1.Transition
	last     uint64 // number of the last transition ever made
	kept     map[agent.ID]*argosyv1.ReplicaObservation

	agent *agentProcess
}

// agentProcess is a run of the agent.
type agentProcess struct {
	id     string
	memory agent.Memory
	told   map[agent.ID]*argosyv1.ReplicaObservation
	looked bool // a look is due already
	conn   *conn
	dirty  map[agent.ID]bool
	dead   bool
}

// startAgent starts the agent, if it does not run.
func (m *Machine) startAgent() {
	if !m.up || m.agent != nil {
		return
	}
	a := &agentProcess{id: m.w.id("a"), told: map[agent.ID]*argosyv1.ReplicaObservation{}, dirty: map[agent.ID]bool{}}
	a.memory.Complete = m.complete
	maps.Copy(a.told, m.kept)
	m.agent = a
	m.w.trace("%s: agent %s starts", m.Name, a.id)
	m.look()
	m.w.after(m.w.span(10*time.Millisecond, 200*time.Millisecond), func() { m.dial(a) })
	m.beat(a)
}

// killAgent kills the agent at once. Steps in flight may or may not take effect.
func (m *Machine) killAgent() {
	if m.agent == nil {
		return
	}
	m.w.trace("%s: agent %s is killed", m.Name, m.agent.id)
	m.agent.dead = true
	if c := m.agent.conn; c != nil {
		c.hangUp()
	}
	m.agent = nil
}

// look has the agent look at the engine soon.
func (m *Machine) look() {
	a := m.agent
	if a == nil || a.looked {
		return
	}
	a.looked = true
	m.w.after(m.w.span(100*time.Microsecond, time.Millisecond), func() {
		if !a.dead {
			a.looked = false
			m.decide(a)
		}
	})
}

// decide is the agent's loop: decide, act, observe.
func (m *Machine) decide(a *agentProcess) {
	w := m.w
	wanted := slices.SortedFunc(maps.Values(m.wanted), func(x, y *argosyv1.Assignment) int { return agent.IDOf(x).Compare(agent.IDOf(y)) })
	seen := m.engine.seen()
	for _, s := range agent.Decide(w.now, wanted, seen, a.memory) {
		if s.Kind == agent.Wait {
			if !s.At.IsZero() {
				w.after(s.At.Sub(w.now), m.look)
			}
			continue
		}
		m.act(a, s)
	}
	m.observe(a, wanted, seen)
}

// act carries out a step: its effect falls somewhere between its beginning and its end.
func (m *Machine) act(a *agentProcess, s agent.Step) {
	w := m.w
	a.memory.Begin(w.now, s)
	w.trace("%s: %s", m.Name, s)
	boot := m.boots
	var err error
	total := w.span(2*time.Millisecond, 400*time.Millisecond)
	effect := w.span(0, total)
	if a.dead {
		return
	}
	w.after(effect, func() {
		if m.boots == boot && m.up && (!a.dead || w.chance(0.5)) {
			err = m.engine.do(s)
		}
	})
	w.after(total, func() {
		if !a.dead && m.boots == boot {
			a.memory.Done(w.now, s, err)
			m.look()
		}
	})
}

// observe notes what differs from what was last told, on disk and for the leader.
func (m *Machine) observe(a *agentProcess, wanted []*argosyv1.Assignment, seen agent.Seen) {
	w := m.w
	now := map[agent.ID]*argosyv1.ReplicaObservation{}
	for _, o := range agent.Observe(w.now, wanted, seen, a.memory) {
		now[agent.ID{Key: agent.KeyOf(o.GetKey()), AppUID: o.GetAppUid(), Incarnation: o.GetIncarnation()}] = o
	}
	ids := map[agent.ID]bool{}
	for id := range now {
		ids[id] = true
	}
	for id := range a.told {
		ids[id] = true
	}
	changed := false
	for _, id := range slices.SortedFunc(maps.Keys(ids), agent.ID.Compare) {
		before, after := a.told[id], now[id]
		if agent.Same(before, after) {
			continue
		}
		changed = true
		for _, t := range agent.Transitions(w.now, before, after) {
			m.last++
			t.OutboxSeq = m.last
			m.outbox = append(m.outbox, t)
		}
		a.dirty[id] = true
		if after == nil {
			delete(a.told, id)
		} else {
			a.told[id] = after
		}
	}
	a.memory.Forget(func(id agent.ID) bool { return now[id] != nil })
	if changed {
		m.kept = maps.Clone(a.told)
		m.send(a)
	}
}

// dial connects to the leader, again and again.
func (m *Machine) dial(a *agentProcess) {
	w := m.w
	again := func() { w.after(w.span(200*time.Millisecond, 2*time.Second), func() { m.dial(a) }) }
	switch {
	case a.dead || m.removed:
		return
	case a.conn != nil:
		return
	case m.cut || w.leader == nil || !w.leader.serving():
		again()
		return
	}
	c := &conn{w: w, m: m, l: w.leader, machineOpen: true, leaderOpen: true}
	a.conn = c
	c.l.conns = append(c.l.conns, c)
	c.toLeader(&argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Hello{Hello: &argosyv1.Hello{
		BootId: fmt.Sprintf("%s-boot%d", m.Name, m.boots), SessionId: a.id, Capacity: m.record.GetCapacity(), Address: m.record.GetAddress(),
	}}})
}

// disconnected is when the agent notices that its connection is over.
func (m *Machine) disconnected(c *conn) {
	a := m.agent
	if a == nil || a.conn != c {
		return
	}
	a.conn = nil
	m.w.after(m.w.span(200*time.Millisecond, time.Second), func() { m.dial(a) })
}

// receive is a message from the leader.
func (m *Machine) receive(c *conn, msg *argosyv1.SessionResponse) {
	a := m.agent
	if a == nil || a.conn != c || !c.machineOpen {
		return
	}
	switch what := msg.GetMessage().(type) {
	case *argosyv1.SessionResponse_Welcome:
		if !c.reported {
			m.reportAll(a, c)
		}
	case *argosyv1.SessionResponse_Assignments:
		m.assigned(a, what.Assignments)
	case *argosyv1.SessionResponse_TransitionsAck:
		m.acknowledged(what.TransitionsAck.GetOutboxSeq())
		m.send(a)
	case *argosyv1.SessionResponse_Refusal:
		m.w.trace("%s: refused: %s", m.Name, what.Refusal.GetReason())
		m.removed = m.removed || what.Refusal.GetFinal()
		c.hangUp()
		m.disconnected(c)
	}
}

func (m *Machine) assigned(a *agentProcess, as *argosyv1.Assignments) {
	if as.GetFull() {
		clear(m.wanted)
		m.complete, a.memory.Complete = true, true
	}
	for _, k := range as.GetRemoved() {
		delete(m.wanted, agent.KeyOf(k))
	}
	for _, as := range as.GetSet() {
		m.wanted[agent.KeyOf(as.GetKey())] = as
	}
	m.look()
}

func (m *Machine) acknowledged(seq uint64) {
	i := 0
	for i < len(m.outbox) && m.outbox[i].GetOutboxSeq() <= seq {
		m.w.acked.transition(m.ID, m.outbox[i])
		i++
	}
	m.outbox = m.outbox[i:]
}

// reportAll is a session's first report.
func (m *Machine) reportAll(a *agentProcess, c *conn) {
	c.reported = true
	clear(a.dirty)
	r := &argosyv1.Report{Full: true}
	for _, id := range slices.SortedFunc(maps.Keys(a.told), agent.ID.Compare) {
		r.Replicas = append(r.Replicas, a.told[id])
	}
	c.toLeader(&argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Report{Report: r}})
	m.send(a)
}

// send sends what changed since it was last told, and what the outbox holds.
func (m *Machine) send(a *agentProcess) {
	c := a.conn
	if c == nil || !c.reported {
		return
	}
	if len(a.dirty) > 0 {
		r := &argosyv1.Report{}
		for _, id := range slices.SortedFunc(maps.Keys(a.dirty), agent.ID.Compare) {
			if o := a.told[id]; o != nil {
				r.Replicas = append(r.Replicas, o)
			} else {
				r.Gone = append(r.Gone, &argosyv1.ReplicaObservation{Key: id.Key.Proto(), AppUid: id.AppUID, Incarnation: id.Incarnation,
					ObservedAt: timestamppb.New(m.w.now)})
			}
		}
		clear(a.dirty)
		c.toLeader(&argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Report{Report: r}})
	}
	var ts []*argosyv1.Transition
	for _, t := range m.outbox {
		if t.GetOutboxSeq() > c.sent {
			c.sent = t.GetOutboxSeq()
			ts = append(ts, proto.CloneOf(t))
		}
	}
	if len(ts) > 0 {
		c.toLeader(&argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Transitions{Transitions: &argosyv1.Transitions{Transitions: ts}}})
	}
}

// beat sends a sign of life every second.
func (m *Machine) beat(a *agentProcess) {
	m.w.after(m.w.span(900*time.Millisecond, 1100*time.Millisecond), func() {
		if a.dead {
			return
		}
		if c := a.conn; c != nil {
			c.beats++
			c.toLeader(&argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Beat{Beat: &argosyv1.Beat{Number: c.beats}}})
		}
		m.beat(a)
	})
}
