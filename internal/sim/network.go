package sim

import (
	"time"

	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/dispatcher"
)

// conn is a connection between a machine and a leader. Each direction keeps its order. When it breaks, what is on its way
// may be lost, or arrive late at somebody who no longer wants it.
type conn struct {
	w       *World
	m       *Machine
	l       *leaderProcess
	session *dispatcher.Session
	// open is true until somebody noticed that it broke.
	machineOpen, leaderOpen bool
	// stuck: nothing gets through, and nobody has noticed yet.
	stuck bool
	// dry: something was lost on the way up, so nothing later arrives.
	dry      bool
	up, down time.Time // when the last message of each direction arrives
	reported bool      // the machine has sent its full report
	beats    uint64
	sent     uint64 // last transition
}

// noticeAfter is when a side of a stuck connection gives it up.
const noticeAfter = 5 * time.Second

func (c *conn) delay(last *time.Time) time.Duration {
	w := c.w
	d := w.span(200*time.Microsecond, 3*time.Millisecond)
	if w.chance(w.faults.Late) {
		d = w.span(0, 2*time.Second)
	}
	at := w.now.Add(d)
	if at.Before(*last) {
		at = *last
	}
	*last = at
	return at.Sub(w.now)
}

// toLeader sends a message up.
func (c *conn) toLeader(msg *argosyv1.SessionRequest) {
	if !c.machineOpen || c.stuck {
		return
	}
	if c.w.chance(c.w.faults.Cut) {
		c.cut()
		return
	}
	msg = proto.CloneOf(msg)
	c.w.after(c.delay(&c.up), func() {
		// A broken connection may still deliver what is on its way, in order, up to some point.
		if c.stuck && c.w.chance(0.3) {
			c.dry = true
		}
		if !c.dry {
			c.l.receive(c, msg)
		}
	})
}

// toMachine sends a message down.
func (c *conn) toMachine(msg *argosyv1.SessionResponse) {
	if !c.leaderOpen || c.stuck {
		return
	}
	msg = proto.CloneOf(msg)
	c.w.after(c.delay(&c.down), func() {
		if !c.stuck {
			c.m.receive(c, msg)
		}
	})
}

// cut makes nothing get through any more; both sides notice in their own time.
func (c *conn) cut() {
	if c.stuck {
		return
	}
	c.stuck = true
	c.w.trace("connection of %s breaks", c.m.Name)
	c.w.after(c.w.span(time.Millisecond, noticeAfter), func() { c.closeMachine() })
	c.w.after(c.w.span(time.Millisecond, noticeAfter), func() { c.closeLeader() })
}

// hangUp is what a process that dies does: the other side hears of it.
func (c *conn) hangUp() {
	c.machineOpen = false
	c.w.after(c.delay(&c.up), func() { c.closeLeader() })
}

func (c *conn) closeLeader() {
	if c.leaderOpen {
		c.leaderOpen = false
		c.l.closed(c)
	}
}

func (c *conn) closeMachine() {
	if c.machineOpen {
		c.machineOpen = false
		c.m.disconnected(c)
	}
}
