package systemd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
)

// ErrNone says that systemd is not the machine's first process.
var ErrNone = errors.New("systemd does not run this machine, so it cannot run units")

// Connection is the Bus of the machine's own systemd. It connects when it is first needed, and again after it was lost.
type Connection struct {
	mu   sync.Mutex
	link *link
}

// link is one connection while it lasts, and what was heard by it. It is the only one for everything: systemd sends what happens to
// any unit to each connection that it has, and only on one and the same is it certain what was said first.
type link struct {
	*dbus.Conn
	told *told
	jobs *jobs
}

// Connect makes a Connection.
func Connect() *Connection { return &Connection{} }

// AtHand says whether systemd runs the machine.
func AtHand() bool {
	_, err := os.Stat("/run/systemd/system")
	return err == nil
}

const (
	callTime  = 20 * time.Second
	pingEvery = 5 * time.Second
	// greetEvery is how often a systemd that has not answered yet is greeted again.
	greetEvery = 200 * time.Millisecond

	// systemd's own socket needs no message bus on the machine.
	ownSocket = "/run/systemd/private"
	busSocket = "/run/dbus/system_bus_socket"

	destination = "org.freedesktop.systemd1"
	root        = dbus.ObjectPath("/org/freedesktop/systemd1")
	manager     = destination + ".Manager"
	properties  = "org.freedesktop.DBus.Properties"
)

// get is the link as it is, or a new one.
func (b *Connection) get(ctx context.Context) (*link, error) {
	if !AtHand() {
		return nil, ErrNone
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.link != nil && b.link.Connected() {
		return b.link, nil
	}
	if b.link != nil {
		b.link.Close()
		b.link = nil
	}
	l, err := open(ctx, ownSocket)
	if err != nil {
		var other error
		if l, other = openBus(ctx); other != nil {
			return nil, fmt.Errorf("systemd cannot be reached: %w", errors.Join(err, other))
		}
	}
	if _, err := l.call(ctx, root, manager+".Subscribe", nil); err != nil {
		l.Close()
		return nil, fmt.Errorf("have systemd tell of changes: %w", err)
	}
	b.link = l
	return l, nil
}

// open connects to a socket. The connection outlives ctx.
func open(ctx context.Context, socket string) (*link, error) {
	var d net.Dialer
	raw, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	l := &link{told: newTold(), jobs: newJobs()}
	_ = raw.SetDeadline(time.Now().Add(callTime))
	if l.Conn, err = dbus.NewConn(newSieve(raw, l.wants), dbus.WithSignalHandler(l)); err != nil {
		raw.Close()
		return nil, err
	}
	if err := l.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Geteuid()))}); err != nil {
		l.Close()
		return nil, err
	}
	_ = raw.SetDeadline(time.Time{})
	if err := l.greet(ctx); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// greet waits for the first answer. What reaches a busy systemd together with the end of the greeting is not looked at before more
// comes: one who waits for an answer to it waits for ever.
func (l *link) greet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	answers := make(chan *dbus.Call, callTime/greetEvery+2)
	again := time.NewTicker(greetEvery)
	defer again.Stop()
	for {
		l.Object(destination, root).GoWithContext(ctx, "org.freedesktop.DBus.Peer.Ping", 0, answers)
		select {
		case a := <-answers:
			return a.Err
		case <-again.C:
		}
	}
}

// openBus connects by way of the machine's message bus.
func openBus(ctx context.Context) (*link, error) {
	l, err := open(ctx, busSocket)
	if err != nil {
		return nil, err
	}
	err = l.Hello()
	for _, face := range []string{manager, properties} {
		err = errors.Join(err, l.AddMatchSignalContext(ctx, dbus.WithMatchSender(destination), dbus.WithMatchInterface(face)))
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// call makes one call that is to be answered soon, and reads what it returns. The number says when that was, among all that systemd
// said by this link.
func (l *link) call(ctx context.Context, path dbus.ObjectPath, method string, args []any, into ...any) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	answer := l.Object(destination, path).CallWithContext(ctx, method, 0, args...)
	return uint64(answer.ResponseSequence), answer.Store(into...)
}

// call is that of the link as it is.
func (b *Connection) call(ctx context.Context, method string, args []any, into ...any) error {
	l, err := b.get(ctx)
	if err != nil {
		return err
	}
	_, err = l.call(ctx, root, manager+"."+method, args, into...)
	return err
}

// property reads one property.
func (l *link) property(ctx context.Context, path dbus.ObjectPath, face, name string) (any, error) {
	var v dbus.Variant
	_, err := l.call(ctx, path, properties+".Get", []any{destination + "." + face, name}, &v)
	return v.Value(), err
}

// wants says which signals are looked at.
func (l *link) wants(path, member string) bool {
	switch member {
	case "JobRemoved":
		return l.jobs.any()
	case "UnitRemoved", "Reloading":
		return true
	case "PropertiesChanged":
		name := unitOf(path)
		return name != "" && l.told.wants(name)
	}
	return false
}

// DeliverSignal implements dbus.SignalHandler. Signals come one after another, in the order in which systemd sent them.
func (l *link) DeliverSignal(face, member string, s *dbus.Signal) {
	var path dbus.ObjectPath
	var unit string
	switch face + "." + member {
	case manager + ".JobRemoved":
		var id uint32
		var result string
		if dbus.Store(s.Body, &id, &path, &unit, &result) == nil {
			l.jobs.removed(string(path), unit, result)
		}
	case manager + ".Reloading":
		l.told.reread()
	case manager + ".UnitRemoved":
		if dbus.Store(s.Body, &unit, &path) == nil {
			l.told.forget(unit)
		}
	case properties + ".PropertiesChanged":
		if len(s.Body) < 2 {
			return
		}
		of, _ := s.Body[0].(string)
		face := strings.TrimPrefix(of, destination+".")
		if changed, ok := s.Body[1].(map[string]dbus.Variant); ok { // not by dbus.Store, which makes a copy of all of them
			name := unitOf(string(s.Path))
			l.told.hear(name, face, values(changed, looked(name, face)), uint64(s.Sequence))
		}
	}
}

// values are those properties of a list that are looked at.
func values(list map[string]dbus.Variant, names []string) Properties {
	p := make(Properties, len(names))
	for _, name := range names {
		if v, ok := list[name]; ok {
			p[name] = v.Value()
		}
	}
	return p
}
