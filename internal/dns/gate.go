package dns

import (
	"net"
	"net/netip"
	"sync"
)

const (
	gateMost = 1024 // TCP connections at once
	gateEach = 64   // of one container
)

// gate is a TCP listener that closes connections of strangers, and those beyond
// its limits, before they are read from: one container that opens connections
// and says nothing keeps no other from asking.
type gate struct {
	net.Listener
	admits func(netip.Addr) bool

	mu    sync.Mutex
	total int
	each  map[netip.Addr]int // never zero
}

func (g *gate) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		src, _ := remote(c.RemoteAddr())
		if g.admits(src) && g.enter(src) {
			return &gated{Conn: c, leave: sync.OnceFunc(func() { g.leave(src) })}, nil
		}
		_ = c.Close()
	}
}

func (g *gate) enter(src netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.total >= gateMost || g.each[src] >= gateEach {
		return false
	}
	g.total++
	g.each[src]++
	return true
}

func (g *gate) leave(src netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	if g.each[src]--; g.each[src] == 0 {
		delete(g.each, src)
	}
}

type gated struct {
	net.Conn
	leave func()
}

func (c *gated) Close() error {
	c.leave()
	return c.Conn.Close()
}
