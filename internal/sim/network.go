package sim

import (
	"time"

	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/dispatcher"
)

// conn is a connection between an agent and a server that leads. Each direction keeps its order, as TCP does: what cannot get
// through waits, and arrives when it can, unless somebody gave up the connection before. When it breaks, what is on its way
// may be lost, or arrive late at somebody who no longer wants it.
type conn struct {
	w       *World
	m       *Machine
	a       *agentProcess
	l       *leaderProcess
	session *dispatcher.Session
	// open is true until somebody noticed that it broke.
	machineOpen, leaderOpen bool
	// stuck: nothing gets through ever again, and nobody has noticed yet.
	stuck bool
	// dry: something was lost on the way up, so nothing later arrives.
	dry      bool
	up, down lane
	// heard: the leader has a report of this session.
	heard bool

	// What the agent knows of this session.
	leads    bool   // the server said that it leads
	term     uint64 // since when
	reported bool   // it has had the full report
	beats    uint64
	sent     uint64 // last transition
	mark     uint64 // the last one received
}

// lane is one direction of a connection.
type lane struct {
	last time.Time // when the last message arrives
	held []func()  // what arrived at a network that does not let it through
	lag  time.Duration
}

// noticeAfter is when a side of a broken connection gives it up; giveUp when the agent gives up one on which it hears
// nothing: it pings after five seconds of silence, and waits five for the answer.
const (
	noticeAfter = 5 * time.Second
	giveUp      = 10 * time.Second
)

// hears reports whether anything gets to the machine, and speaks whether anything gets from it to servers.
func (m *Machine) hears() bool  { return !m.cut && !m.suffers(Partition) && !m.suffers(Deaf) }
func (m *Machine) speaks() bool { return !m.cut && !m.suffers(Partition) && !m.suffers(Mute) }

func (c *conn) delay(l *lane) time.Duration {
	w := c.w
	d := w.span(200*time.Microsecond, 3*time.Millisecond)
	if w.suffers(Delay) && w.chance(0.1) {
		d = w.span(0, 2*time.Second)
	}
	switch {
	case !w.suffers(Reorder):
		l.lag = 0 // a connection that is slow for good would rightly be called out of sight
	case l.lag == 0 && w.chance(0.02):
		l.lag = w.span(0, 5*time.Second)
	}
	at := w.now.Add(d + l.lag)
	if at.Before(l.last) {
		at = l.last
	}
	l.last = at
	return at.Sub(w.now)
}

// twice reports whether a message comes twice.
func (c *conn) twice() bool { return c.w.suffers(Duplicate) && c.w.chance(0.2) }

// toLeader sends a message up.
func (c *conn) toLeader(msg *argosyv1.SessionRequest) {
	if !c.machineOpen || c.stuck {
		return
	}
	if c.w.suffers(Loss) && c.w.chance(0.02) {
		c.cut()
		return
	}
	if msg.GetBeat() == nil {
		c.w.messages++
	}
	copies, blind := 1, c.a.blind()
	msg.Mark = c.mark
	if msg.GetHello() == nil && c.twice() {
		copies = 2
	}
	for range copies {
		msg := proto.CloneOf(msg)
		c.pass(&c.up, c.m.speaks, func() {
			// A broken connection may still deliver what is on its way, in order, up to some point.
			if c.stuck && c.w.chance(0.3) {
				c.dry = true
			}
			if c.dry {
				return
			}
			c.l.run(func() { c.l.receive(c, msg, blind+c.l.blind()) })
		})
	}
}

// toMachine sends a message down.
func (c *conn) toMachine(msg *argosyv1.SessionResponse) {
	if !c.leaderOpen || c.stuck {
		return
	}
	if msg.GetMark() == nil {
		c.w.messages++
	}
	copies := 1
	if c.twice() {
		copies = 2
	}
	for range copies {
		msg := proto.CloneOf(msg)
		c.pass(&c.down, c.m.hears, func() {
			if !c.stuck {
				c.a.run(func() { c.m.receive(c, msg) })
			}
		})
	}
}

// pass has a message arrive in its turn, when the network lets it through.
func (c *conn) pass(l *lane, through func() bool, arrive func()) {
	c.w.after(c.delay(l), func() {
		if !through() || len(l.held) > 0 {
			l.held = append(l.held, arrive)
			return
		}
		arrive()
	})
}

// release has arrive what was held up.
func (c *conn) release(l *lane) {
	held := l.held
	l.held = nil
	for _, arrive := range held {
		arrive()
	}
}

// network is called when what a machine's network lets through has changed.
func (m *Machine) network() {
	w := m.w
	a := m.agent
	if a == nil {
		return
	}
	for _, c := range a.conns {
		switch {
		case m.hears() && m.speaks():
			w.after(w.span(time.Millisecond, 500*time.Millisecond), func() {
				if m.speaks() {
					c.release(&c.up)
				}
				if m.hears() {
					c.release(&c.down)
				}
			})
		default:
			// The agent's pings go unanswered, whichever way is blocked.
			a.after(w.span(giveUp/2, giveUp), func() {
				if !m.hears() || !m.speaks() {
					c.hangUp()
					m.disconnected(c)
				}
			})
		}
	}
}

// cut makes nothing get through any more; both sides notice in their own time.
func (c *conn) cut() {
	if c.stuck {
		return
	}
	c.stuck = true
	c.w.trace("connection of %s to %s breaks", c.m.Name, c.l.server.name)
	c.a.after(c.w.span(time.Millisecond, noticeAfter), c.closeMachine)
	c.l.after(c.w.span(time.Millisecond, noticeAfter), c.closeLeader)
}

// hangUp is what a process that dies or gives up does: the other side hears of it, if that gets through.
func (c *conn) hangUp() {
	c.machineOpen = false
	c.pass(&c.up, c.m.speaks, func() { c.l.run(c.closeLeader) })
}

func (c *conn) closeLeader() {
	if c.leaderOpen {
		c.leaderOpen = false
		c.l.closed(c)
	}
}

// leave is the leader ending a session.
func (c *conn) leave() {
	if c.leaderOpen {
		c.leaderOpen = false
		c.pass(&c.down, c.m.hears, func() { c.a.run(c.closeMachine) })
	}
}

func (c *conn) closeMachine() {
	if c.machineOpen {
		c.machineOpen = false
		c.m.disconnected(c)
	}
}
