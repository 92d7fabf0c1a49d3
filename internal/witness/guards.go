package witness

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	table "github.com/argosy-cluster/argosy/internal/claims/witness"
	"github.com/argosy-cluster/argosy/internal/lease"
)

const (
	// handshakeTime is how long a guard may take to show who it is.
	handshakeTime = 5 * time.Second
	// strangers is how many may be at that at once. Others are turned away, and come again.
	strangers = 64
	// idleTime is after what silence a guard is given up; it speaks every few seconds.
	idleTime = 2 * time.Minute
	// answerTime is how long an answer may take to be sent.
	answerTime = 10 * time.Second
)

// guards are the connections of guards, one for each machine: a new one takes the place of the last.
type guards struct {
	mu     sync.Mutex
	conns  map[claims.Machine]net.Conn
	unsure int // that have not shown who they are
}

// enter counts somebody who has not shown who it is, unless there are too many of them.
func (g *guards) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.unsure >= strangers {
		return false
	}
	g.unsure++
	return true
}

func (g *guards) entered() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.unsure--
}

func (g *guards) take(m claims.Machine, c net.Conn) (leave func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if old := g.conns[m]; old != nil {
		_ = old.Close()
	}
	if g.conns == nil {
		g.conns = map[claims.Machine]net.Conn{}
	}
	g.conns[m] = c
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.conns[m] == c {
			delete(g.conns, m)
		}
	}
}

// guard serves one guard: a renewal, an answer, and so on.
func (w *Witness) guard(ctx context.Context, raw net.Conn) {
	if !w.guards.enter() {
		return
	}
	c := tls.Server(raw, w.id.Serve(func(p lease.Pin) bool { _, ok := w.machines.of(p); return ok }))
	hands, cancel := context.WithTimeout(ctx, handshakeTime)
	err := c.HandshakeContext(hands)
	cancel()
	w.guards.entered()
	if err != nil {
		w.cfg.Log.Debug("somebody is not spoken to", "from", raw.RemoteAddr(), "err", err)
		return
	}
	pin, err := lease.PeerOf(c)
	if err != nil {
		return
	}
	machine, known := w.machines.of(pin)
	if !known {
		return // forgotten since the handshake
	}
	defer w.guards.take(machine, c)()
	if err := w.converse(c, machine); err != nil {
		w.cfg.Log.Debug("a guard's connection ended", "machine", machine, "err", err)
	}
}

// renew answers a renewal.
func (w *Witness) renew(r claims.Renewal) (*claims.Ack, error) {
	w.mu.Lock()
	ack, ok := table.Hear(&w.state, w.cfg.Clock.Now(), r)
	w.mu.Unlock()
	if ok {
		return &ack, nil
	}
	return w.step(table.Renewal{Renewal: r})
}

func (w *Witness) converse(c net.Conn, machine claims.Machine) error {
	for {
		if err := c.SetReadDeadline(time.Now().Add(idleTime)); err != nil {
			return err
		}
		m := &leasev1.Renewal{}
		if err := lease.Read(c, m); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		r, err := lease.RenewalFrom(machine, m)
		if err != nil {
			return err
		}
		ack, err := w.renew(r)
		if err != nil || ack == nil {
			continue // the table could not be written: silence is the answer
		}
		if err := c.SetWriteDeadline(time.Now().Add(answerTime)); err != nil {
			return err
		}
		if err := lease.Write(c, lease.AckTo(*ack)); err != nil {
			return err
		}
	}
}
