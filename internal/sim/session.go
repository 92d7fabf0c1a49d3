package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	agent "github.com/argosy-cluster/argosy/internal/agent/core"
)

// What package agent/session does: sessions with every server that leads, or believes so.

// keepDialling connects to whoever leads, again and again.
func (m *Machine) keepDialling(a *agentProcess) {
	m.dial(a)
	a.after(m.w.span(200*time.Millisecond, 2*time.Second), func() { m.keepDialling(a) })
}

// dial connects to the servers that lead and that there is no session with.
func (m *Machine) dial(a *agentProcess) {
	if m.removed || !m.hears() || !m.speaks() {
		return
	}
	for _, l := range m.w.reigns {
		if !l.serving() || l.stops > 0 || slices.ContainsFunc(a.conns, func(c *conn) bool { return c.l == l }) {
			continue
		}
		c := &conn{w: m.w, m: m, a: a, l: l, machineOpen: true, leaderOpen: true}
		a.conns = append(a.conns, c)
		l.conns = append(l.conns, c)
		c.toLeader(&argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Hello{Hello: &argosyv1.Hello{
			BootId: fmt.Sprintf("%s-boot%d", m.Name, m.boots), SessionId: a.id, Capacity: m.record.GetCapacity(), Address: m.record.GetAddress(),
			SystemdVersion: "252", Marks: true,
		}}})
	}
}

// disconnected is when the agent notices that a connection is over.
func (m *Machine) disconnected(c *conn) {
	a := c.a
	i := slices.Index(a.conns, c)
	if i < 0 || a.dead {
		return
	}
	a.conns = slices.Delete(a.conns, i, i+1)
	a.after(m.w.span(200*time.Millisecond, time.Second), func() { m.dial(a) })
}

// quit ends a session that makes no sense, or of which the agent could not take in something.
func (c *conn) quit(why string) {
	c.w.trace("%s: leaves the session with %s: %s", c.m.Name, c.l.server.name, why)
	c.hangUp()
	c.m.disconnected(c)
}

// leading reports whether the server leads, as far as the agent knows: it said so, and nobody has since.
func (c *conn) leading() bool { return c.leads && c.term >= c.a.met }

// receive is a message from a leader.
func (m *Machine) receive(c *conn, msg *argosyv1.SessionResponse) {
	a := c.a
	if !c.machineOpen || a.dead {
		return
	}
	switch what := msg.GetMessage().(type) {
	case *argosyv1.SessionResponse_Welcome:
		m.welcomed(c, what.Welcome)
	case *argosyv1.SessionResponse_Assignments:
		if !c.leading() {
			c.quit("a server that does not lead sent assignments")
			return
		}
		m.write(a, func(d *disk) { d.assign(what.Assignments) }, func(err error) {
			if err != nil {
				c.quit(err.Error())
				return
			}
			m.assigned(a, what.Assignments)
		})
	case *argosyv1.SessionResponse_Foreseen:
		if c.leading() {
			m.foreseen(a, what.Foreseen)
		}
	case *argosyv1.SessionResponse_LeaseServers:
		if a.storage != nil {
			if err := a.storage.Servers(what.LeaseServers); err != nil {
				m.w.trace("%s: whom the guard is to ask cannot be taken: %v", m.Name, err)
			}
			m.speak(a)
		}
	case *argosyv1.SessionResponse_Mark:
		c.mark = what.Mark.GetNumber()
		c.toLeader(&argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Beat{Beat: &argosyv1.Beat{Number: c.beats, Answer: true}}})
	case *argosyv1.SessionResponse_TransitionsAck:
		seq := what.TransitionsAck.GetOutboxSeq()
		m.write(a, func(d *disk) {
			for _, t := range d.acknowledge(seq) {
				m.w.acked.transition(m.ID, t)
			}
		}, func(err error) {
			if err != nil {
				c.quit(err.Error())
				return
			}
			c.sent = max(c.sent, seq)
			m.send(a)
		})
	case *argosyv1.SessionResponse_Refusal:
		m.w.trace("%s: refused: %s", m.Name, what.Refusal.GetReason())
		m.removed = m.removed || what.Refusal.GetFinal()
		c.hangUp()
		m.disconnected(c)
	}
}

// foreseen fetches the images of what the machine would get if another were lost. Nothing else comes of it.
func (m *Machine) foreseen(a *agentProcess, f *argosyv1.Foreseen) {
	for _, as := range f.GetReplicas() {
		for _, spec := range as.GetContainers() {
			a.after(time.Second, func() {
				if !m.suffers(DiskFull) && !strings.Contains(spec.GetImage(), "missing") {
					m.engine.images[spec.GetImage()] = true
				}
			})
		}
	}
}

func (m *Machine) welcomed(c *conn, w *argosyv1.Welcome) {
	a, term := c.a, w.GetTerm()
	if term < a.met {
		c.quit("this machine has met a later leader")
		return
	}
	if term > a.met {
		a.met = term
		m.write(a, func(d *disk) { d.met = term }, func(error) {})
	}
	if c.leads && c.term == term && c.reported {
		return
	}
	c.leads, c.term = true, term
	m.reportAll(a, c)
}

func (m *Machine) assigned(a *agentProcess, as *argosyv1.Assignments) {
	if as.GetFull() {
		for k := range a.wanted {
			a.marks[k] = true
		}
		clear(a.wanted)
		if !a.memory.Complete {
			a.memory.Complete = true
			for k := range m.engine.byKey {
				a.marks[k] = true
			}
		}
	}
	for _, k := range as.GetRemoved() {
		delete(a.wanted, agent.KeyOf(k))
		a.marks[agent.KeyOf(k)] = true
	}
	for _, as := range as.GetSet() {
		k := agent.KeyOf(as.GetKey())
		a.wanted[k] = as
		a.marks[k] = true
	}
	if as.GetFull() {
		m.begin(a)
	}
	m.lookForStrays(a)
	m.soon(a)
}

// reportAll is what a leader is told first.
func (m *Machine) reportAll(a *agentProcess, c *conn) {
	c.reported, c.sent = true, 0
	clear(a.dirty)
	r := &argosyv1.Report{Full: true}
	for _, k := range slices.SortedFunc(maps.Keys(a.told), agent.Key.Compare) {
		for _, id := range slices.SortedFunc(maps.Keys(a.told[k]), agent.ID.Compare) {
			r.Replicas = append(r.Replicas, a.told[k][id])
		}
	}
	c.toLeader(&argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Report{Report: r}})
	if len(a.strays.GetVolumes()) > 0 {
		c.toLeader(strayMessage(a.strays))
	}
	if a.reaches != nil {
		c.toLeader(&argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Storage{Storage: proto.CloneOf(a.reaches)}})
	}
	m.send(a)
}

// send sends the leader what changed since it was last told, and what the outbox holds.
func (m *Machine) send(a *agentProcess) {
	i := slices.IndexFunc(a.conns, func(c *conn) bool { return c.leading() && c.reported })
	if i < 0 {
		return
	}
	c := a.conns[i]
	if len(a.dirty) > 0 {
		r := &argosyv1.Report{}
		for _, id := range slices.SortedFunc(maps.Keys(a.dirty), agent.ID.Compare) {
			if o := a.told[id.Key][id]; o != nil {
				r.Replicas = append(r.Replicas, o)
			} else {
				r.Gone = append(r.Gone, &argosyv1.ReplicaObservation{Key: id.Key.Proto(), AppUid: id.AppUID, Incarnation: id.Incarnation,
					State: argosyv1.ReplicaState_REPLICA_STATE_GONE})
			}
		}
		clear(a.dirty)
		c.toLeader(&argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Report{Report: r}})
	}
	var ts []*argosyv1.Transition
	for _, t := range m.disk.outbox {
		if t.GetOutboxSeq() > c.sent {
			c.sent = t.GetOutboxSeq()
			ts = append(ts, proto.CloneOf(t))
		}
	}
	if len(ts) > 0 {
		c.toLeader(&argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Transitions{Transitions: &argosyv1.Transitions{Transitions: ts}}})
	}
}

// beat sends a sign of life every second, to all servers. A process that stood still says so by connecting anew: what it
// would confirm, it may not have looked at since.
func (m *Machine) beat(a *agentProcess) {
	a.after(m.w.span(900*time.Millisecond, 1100*time.Millisecond), func() {
		now := m.clock.now()
		stood := now.Sub(a.ticked) > stalled
		a.ticked = now
		if m.speaks() {
			m.beaten = m.w.now
		}
		for _, c := range slices.Clone(a.conns) {
			if stood {
				c.quit("it stood still")
				continue
			}
			c.beats++
			c.toLeader(&argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Beat{Beat: &argosyv1.Beat{Number: c.beats}}})
		}
		m.beat(a)
	})
}
