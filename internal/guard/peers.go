package guard

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/lease"
)

// Peer is where a witness is, and what it is known by.
type Peer struct {
	Witness claims.Witness
	Address string // host:port
	Key     lease.Pin
}

// peers are the connections to the witnesses. Each keeps one renewal that waits to be sent: the latest, since it says all that an
// earlier one said.
type peers struct {
	cfg Config
	ack func(claims.Ack)
	all sync.WaitGroup

	mu   sync.Mutex
	ctx  context.Context // nil before run
	open map[claims.Witness]*peer
}

type peer struct {
	Peer
	next   chan claims.Renewal // holds one
	cancel context.CancelFunc  // nil until it is started
}

// Of a connection that fails, the next one is tried after a renewal period, or after the longest pause if that is shorter.
const (
	longestPause = time.Second
	dialTime     = 2 * time.Second
)

func newPeers(cfg Config, ack func(claims.Ack)) *peers {
	return &peers{cfg: cfg, ack: ack, open: map[claims.Witness]*peer{}}
}

// set replaces the list. Who is still on it, at the same place and with the same key, keeps its connection.
func (p *peers) set(list []Peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	keep := map[claims.Witness]bool{}
	for _, l := range list {
		keep[l.Witness] = true
		if old := p.open[l.Witness]; old != nil && old.Peer == l {
			continue
		} else if old != nil {
			old.end()
		}
		n := &peer{Peer: l, next: make(chan claims.Renewal, 1)}
		p.open[l.Witness] = n
		p.start(n)
	}
	for w, old := range p.open {
		if !keep[w] {
			old.end()
			delete(p.open, w)
		}
	}
}

func (p *peer) end() {
	if p.cancel != nil {
		p.cancel()
	}
}

// start is called with mu held.
func (p *peers) start(n *peer) {
	if p.ctx == nil || p.ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithCancel(p.ctx)
	n.cancel = cancel
	p.all.Go(func() { p.talk(ctx, n) })
}

func (p *peers) run(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ctx = ctx
	for _, n := range p.open {
		p.start(n)
	}
}

func (p *peers) close() {
	p.mu.Lock()
	for _, n := range p.open {
		n.end()
	}
	p.mu.Unlock()
	p.all.Wait()
}

// send has a renewal go to a witness, instead of one that still waits. It does not wait.
func (p *peers) send(w claims.Witness, r claims.Renewal) {
	p.mu.Lock()
	n := p.open[w]
	p.mu.Unlock()
	if n == nil {
		return // where it is has not been told yet
	}
	select {
	case <-n.next:
	default:
	}
	n.next <- r // only the stepping goroutine sends
}

// talk keeps a connection while there is something to say.
func (p *peers) talk(ctx context.Context, n *peer) {
	for {
		var r claims.Renewal
		select {
		case <-ctx.Done():
			return
		case r = <-n.next:
		}
		if err := p.converse(ctx, n, r); err != nil && ctx.Err() == nil {
			p.cfg.Log.Debug("a witness cannot be reached", "witness", n.Witness, "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(min(p.cfg.Profile.Renew/4, longestPause)):
		}
	}
}

// converse sends renewals over one connection until that fails.
func (p *peers) converse(ctx context.Context, n *peer, r claims.Renewal) error {
	hands, cancel := context.WithTimeout(ctx, dialTime)
	d := tls.Dialer{NetDialer: &net.Dialer{}, Config: p.cfg.Identity.Dial(n.Key)}
	c, err := d.DialContext(hands, "tcp", n.Address)
	cancel()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	defer c.Close()
	ended := make(chan error, 1)
	p.all.Go(func() { ended <- p.listen(c, n) })
	for {
		if err := c.SetWriteDeadline(time.Now().Add(p.cfg.Profile.Lease)); err != nil {
			return err
		}
		if err := lease.Write(c, lease.RenewalTo(r)); err != nil {
			return err
		}
		select {
		case err := <-ended:
			return err
		case r = <-n.next:
		}
	}
}

// listen takes in answers. One that does not come for a whole lease is no longer waited for.
func (p *peers) listen(c net.Conn, n *peer) error {
	defer c.Close()
	for {
		if err := c.SetReadDeadline(time.Now().Add(p.cfg.Profile.Lease)); err != nil {
			return err
		}
		m := &leasev1.Ack{}
		if err := lease.Read(c, m); err != nil {
			return err
		}
		a, err := lease.AckFrom(n.Witness, m)
		if err != nil {
			return err
		}
		p.ack(a)
	}
}
