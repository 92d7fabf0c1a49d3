package systemd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
)

// ErrNone says that systemd is not the machine's first process.
var ErrNone = errors.New("systemd does not run this machine, so it cannot run units")

// Connection is the Bus of the machine's own systemd. It connects when it is first needed, and again after it was lost.
type Connection struct {
	mu   sync.Mutex
	conn *dbus.Conn
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
)

func (b *Connection) get(ctx context.Context) (*dbus.Conn, error) {
	if !AtHand() {
		return nil, ErrNone
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn != nil && b.conn.Connected() {
		return b.conn, nil
	}
	if b.conn != nil {
		b.conn.Close()
		b.conn = nil
	}
	// systemd's own socket needs no message bus on the machine. Its context ends the connection, so it is not the caller's.
	conn, err := dbus.NewSystemdConnectionContext(context.WithoutCancel(ctx))
	if err != nil {
		var other error
		if conn, other = dbus.NewSystemConnectionContext(context.WithoutCancel(ctx)); other != nil {
			return nil, fmt.Errorf("systemd cannot be reached: %w", errors.Join(err, other))
		}
	}
	if err := conn.Subscribe(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("have systemd tell of changes: %w", err)
	}
	b.conn = conn
	return conn, nil
}

// call makes one call that is to be answered soon.
func call[T any](ctx context.Context, b *Connection, do func(context.Context, *dbus.Conn) (T, error)) (out T, err error) {
	conn, err := b.get(ctx)
	if err != nil {
		return out, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	return do(ctx, conn)
}

// Version implements Bus.
func (b *Connection) Version(ctx context.Context) (string, error) {
	return call(ctx, b, func(_ context.Context, c *dbus.Conn) (string, error) {
		s, err := c.GetManagerProperty("Version")
		version, _, _ := strings.Cut(strings.Trim(s, `"`), " ")
		return version, err
	})
}

// Paths implements Bus.
func (b *Connection) Paths(ctx context.Context) ([]string, error) {
	return call(ctx, b, func(_ context.Context, c *dbus.Conn) ([]string, error) {
		text, err := c.GetManagerProperty("UnitPath") // as GVariant writes a list: ["/etc/systemd/system", …]
		if err != nil {
			return nil, fmt.Errorf("ask where systemd reads units from: %w", err)
		}
		var list []string
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			return nil, fmt.Errorf("ask where systemd reads units from: it says %q: %w", text, err)
		}
		return list, nil
	})
}

// Knows implements Bus.
func (b *Connection) Knows(ctx context.Context, name string) (bool, error) {
	list, err := call(ctx, b, func(ctx context.Context, c *dbus.Conn) ([]dbus.UnitStatus, error) {
		return c.ListUnitsByPatternsContext(ctx, nil, []string{strings.ReplaceAll(name, `\`, `\\`)})
	})
	if err != nil {
		return false, fmt.Errorf("ask for unit %s: %w", name, err)
	}
	return slices.ContainsFunc(list, func(u dbus.UnitStatus) bool { return u.Name == name && u.LoadState != "not-found" }), nil
}

// ofType are the properties of a type that are looked at. All of a service's are some three hundred, for which systemd reads the
// files of its cgroup: that takes three times as long as the properties that units of all types have.
var ofType = map[string][]string{
	"Service": {"Result", "MainPID", "NRestarts", "ExecMainStatus", "ExecMainCode"},
	"Socket":  {"Result"}, "Mount": {"Result"}, "Automount": {"Result"}, "Swap": {"Result"}, "Timer": {"Result"}, "Path": {"Result"},
}

// Properties implements Bus.
func (b *Connection) Properties(ctx context.Context, name string) (Properties, error) {
	p, err := call(ctx, b, func(ctx context.Context, c *dbus.Conn) (map[string]any, error) {
		p, err := c.GetUnitPropertiesContext(ctx, name)
		if err != nil || p["LoadState"] != "loaded" {
			return p, err
		}
		if p["ActiveState"] == "inactive" && p["InactiveExitTimestamp"] == uint64(0) {
			return p, nil // it never ran, so there is no more to know
		}
		kind := typeOf(name)
		for _, property := range ofType[kind] {
			one, err := c.GetUnitTypePropertyContext(ctx, name, kind, property)
			if err != nil {
				return nil, err
			}
			p[property] = one.Value.Value()
		}
		return p, nil
	})
	if err != nil {
		return nil, fmt.Errorf("look at unit %s: %w", name, err)
	}
	return p, nil
}

// typeOf is the type of a unit as D-Bus writes it: Service.
func typeOf(name string) string {
	kind := name[strings.LastIndexByte(name, '.')+1:]
	if kind == "" {
		return ""
	}
	return strings.ToUpper(kind[:1]) + kind[1:]
}

// States implements Bus.
func (b *Connection) States(ctx context.Context, names []string) (map[string]string, error) {
	list, err := call(ctx, b, func(ctx context.Context, c *dbus.Conn) ([]dbus.UnitStatus, error) {
		return c.ListUnitsByNamesContext(ctx, names)
	})
	if err != nil {
		return nil, fmt.Errorf("list the units: %w", err)
	}
	out := map[string]string{}
	for _, u := range list {
		if u.LoadState != "not-found" {
			out[u.Name] = u.ActiveState
		}
	}
	return out, nil
}

// job starts a job and waits for its end.
func (b *Connection) job(ctx context.Context, what, name string, begin func(context.Context, *dbus.Conn, chan<- string) error) (string, error) {
	end := make(chan string, 1)
	_, err := call(ctx, b, func(ctx context.Context, c *dbus.Conn) (struct{}, error) { return struct{}{}, begin(ctx, c, end) })
	switch {
	case err != nil && strings.Contains(err.Error(), "not loaded"):
		return "done", nil
	case err != nil:
		return "", fmt.Errorf("%s unit %s: %w", what, name, err)
	}
	check := time.NewTicker(pingEvery)
	defer check.Stop()
	for {
		select {
		case result := <-end:
			return result, nil
		case <-ctx.Done():
			return "", ctx.Err()
		case <-check.C: // a connection that is lost tells nothing any more
			b.mu.Lock()
			lost := b.conn == nil || !b.conn.Connected()
			b.mu.Unlock()
			if lost {
				return "", fmt.Errorf("%s unit %s: systemd was lost from sight", what, name)
			}
		}
	}
}

// Start implements Bus.
func (b *Connection) Start(ctx context.Context, name string) (string, error) {
	return b.job(ctx, "start", name, func(ctx context.Context, c *dbus.Conn, end chan<- string) error {
		_, err := c.StartUnitContext(ctx, name, "replace", end)
		return err
	})
}

// Stop implements Bus.
func (b *Connection) Stop(ctx context.Context, name string) (string, error) {
	return b.job(ctx, "stop", name, func(ctx context.Context, c *dbus.Conn, end chan<- string) error {
		_, err := c.StopUnitContext(ctx, name, "replace", end)
		return err
	})
}

// ResetFailed implements Bus.
func (b *Connection) ResetFailed(ctx context.Context, name string) error {
	_, err := call(ctx, b, func(ctx context.Context, c *dbus.Conn) (struct{}, error) {
		return struct{}{}, c.ResetFailedUnitContext(ctx, name)
	})
	return err
}

// Reload implements Bus.
func (b *Connection) Reload(ctx context.Context) error {
	conn, err := b.get(ctx)
	if err != nil {
		return err
	}
	return conn.ReloadContext(ctx)
}

// Watch implements Bus.
func (b *Connection) Watch(ctx context.Context, ready func(), changed func(name string)) error {
	conn, err := b.get(ctx)
	if err != nil {
		return err
	}
	updates, missed := make(chan *dbus.PropertiesUpdate, 4096), make(chan error, 1)
	conn.SetPropertiesSubscriber(updates, missed)
	defer conn.SetPropertiesSubscriber(nil, nil)
	ready()
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case u := <-updates:
			changed(u.UnitName)
		case <-missed:
			ready() // something was not told: everything is looked at again
		case <-ping.C:
			if !conn.Connected() {
				return errors.New("systemd was lost from sight")
			}
			if _, err := b.Version(ctx); err != nil {
				return err
			}
		}
	}
}
