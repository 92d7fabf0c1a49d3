package systemd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	sdbus "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// Version implements Bus.
func (b *Connection) Version(ctx context.Context) (string, error) {
	v, err := b.ofManager(ctx, "Version")
	if err != nil {
		return "", fmt.Errorf("ask systemd for its version: %w", err)
	}
	text, _ := v.(string)
	version, _, _ := strings.Cut(text, " ")
	return version, nil
}

// Paths implements Bus.
func (b *Connection) Paths(ctx context.Context) ([]string, error) {
	v, err := b.ofManager(ctx, "UnitPath")
	list, ok := v.([]string)
	if err == nil && !ok {
		err = fmt.Errorf("it says %v", v)
	}
	if err != nil {
		return nil, fmt.Errorf("ask where systemd reads units from: %w", err)
	}
	return list, nil
}

func (b *Connection) ofManager(ctx context.Context, name string) (any, error) {
	l, err := b.get(ctx)
	if err != nil {
		return nil, err
	}
	return l.property(ctx, root, "Manager", name)
}

// Knows implements Bus.
func (b *Connection) Knows(ctx context.Context, name string) (bool, error) {
	known, err := b.knows(ctx, name)
	if err != nil {
		return false, fmt.Errorf("ask for unit %s: %w", name, err)
	}
	return known, nil
}

func (b *Connection) knows(ctx context.Context, name string) (bool, error) {
	l, err := b.get(ctx)
	if err != nil {
		return false, err
	}
	var path dbus.ObjectPath
	if _, err := l.call(ctx, root, manager+".GetUnit", []any{name}, &path); err != nil {
		if isNoUnit(err) {
			return false, nil
		}
		return false, err
	}
	load, err := l.property(ctx, path, "Unit", "LoadState")
	return load != "not-found", err
}

// isNoUnit says whether systemd says that it has no unit of that name.
func isNoUnit(err error) bool {
	var e dbus.Error
	return errors.As(err, &e) && e.Name == destination+".NoSuchUnit"
}

// Properties implements Bus.
func (b *Connection) Properties(ctx context.Context, name string) (Properties, error) {
	l, err := b.get(ctx)
	if err == nil {
		var p Properties
		if p, _, err = l.ask(ctx, name); err == nil {
			return p, nil
		}
	}
	return nil, fmt.Errorf("look at unit %s: %w", name, err)
}

// ask asks for what all units have.
func (l *link) ask(ctx context.Context, name string) (Properties, uint64, error) {
	var all map[string]dbus.Variant
	at, err := l.call(ctx, pathOf(name), properties+".GetAll", []any{destination + ".Unit"}, &all)
	return values(all), at, err
}

// Show implements Bus.
func (b *Connection) Show(ctx context.Context, name string) (Properties, error) {
	l, err := b.get(ctx)
	if err == nil {
		var p Properties
		if p, err = l.show(ctx, name); err == nil {
			return p, nil
		}
	}
	return nil, fmt.Errorf("look at unit %s: %w", name, err)
}

func (l *link) show(ctx context.Context, name string) (Properties, error) {
	if p, ok := l.told.show(name); ok {
		return p, nil
	}
	known := l.told.of(name)
	p, at, err := l.ask(ctx, name)
	if err != nil || p["LoadState"] != "loaded" {
		return p, err
	}
	if p["ActiveState"] == "inactive" && p["InactiveExitTimestamp"] == uint64(0) {
		return p, nil // it never ran, so there is no more to know
	}
	kind := typeOf(name)
	more, ok := l.told.said(known, kind)
	if !ok {
		if more, err = l.askMore(ctx, name, kind, p); err != nil {
			return nil, err
		}
	}
	maps.Copy(p, more)
	l.told.keep(name, known, p, at)
	return p, nil
}

// askMore asks for those properties of a unit's type that are looked at.
func (l *link) askMore(ctx context.Context, name, kind string, p Properties) (Properties, error) {
	more := Properties{}
	for _, one := range ofType[kind] {
		if strings.HasPrefix(one, "ExecMain") && !p.failed() { // how it ended last is not shown then
			continue
		}
		v, err := l.property(ctx, pathOf(name), kind, one)
		if err != nil {
			return nil, err
		}
		more[one] = v
	}
	return more, nil
}

// States implements Bus.
func (b *Connection) States(ctx context.Context, names []string) (map[string]string, error) {
	l, err := b.get(ctx)
	if err != nil {
		return nil, err
	}
	l.told.begin()
	var list []sdbus.UnitStatus
	if _, err := l.call(ctx, root, manager+".ListUnitsByNames", []any{names}, &list); err != nil {
		return nil, fmt.Errorf("list the units: %w", err)
	}
	out := make(map[string]string, len(list))
	for _, u := range list {
		if u.LoadState != "not-found" {
			out[u.Name] = u.ActiveState
		}
	}
	return out, nil
}

// job starts a job and waits for its end.
func (b *Connection) job(ctx context.Context, what, method, name string, taken func()) (string, error) {
	result, err := b.await(ctx, method, name, taken)
	if err != nil {
		return "", fmt.Errorf("%s unit %s: %w", what, name, err)
	}
	return result, nil
}

func (b *Connection) await(ctx context.Context, method, name string, taken func()) (string, error) {
	l, err := b.get(ctx)
	if err != nil {
		return "", err
	}
	end := l.jobs.await(name)
	defer l.jobs.leave(end)
	var path dbus.ObjectPath
	if _, err := l.call(ctx, root, manager+"."+method, []any{name, "replace"}, &path); err != nil {
		return "", err
	}
	taken()
	l.jobs.named(end, string(path))
	select {
	case result := <-end.done:
		return result, nil
	case <-ctx.Done():
		return "", ctx.Err()
	case <-l.Context().Done(): // a connection that is lost tells nothing any more
		return "", errLost
	}
}

// errLost says that the connection is gone.
var errLost = errors.New("systemd was lost from sight")

// Start implements Bus.
func (b *Connection) Start(ctx context.Context, name string, taken func()) (string, error) {
	return b.job(ctx, "start", "StartUnit", name, taken)
}

// Stop implements Bus.
func (b *Connection) Stop(ctx context.Context, name string) (string, error) {
	result, err := b.job(ctx, "stop", "StopUnit", name, func() {})
	if isNoUnit(err) {
		return "done", nil
	}
	return result, err
}

// ResetFailed implements Bus.
func (b *Connection) ResetFailed(ctx context.Context, name string) error {
	return b.call(ctx, "ResetFailedUnit", []any{name})
}

// Reload implements Bus.
func (b *Connection) Reload(ctx context.Context) error {
	l, err := b.get(ctx)
	if err != nil {
		return err
	}
	return l.Object(destination, root).CallWithContext(ctx, manager+".Reload", 0).Err
}

// Watch implements Bus.
func (b *Connection) Watch(ctx context.Context, ours func(name string) string, ready func(), changed func(name string)) error {
	l, err := b.get(ctx)
	if err != nil {
		return err
	}
	l.told.watch(ours)
	defer l.told.watch(nil)
	ready()
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.Context().Done():
			return errLost
		case <-l.told.wake:
			for _, name := range l.told.take() {
				changed(name)
			}
		case <-ping.C:
			if _, err := b.Version(ctx); err != nil {
				return err
			}
		}
	}
}

// unitPrefix is where systemd has its units as objects.
const unitPrefix = string(root) + "/unit/"

func pathOf(name string) dbus.ObjectPath {
	return dbus.ObjectPath(unitPrefix + sdbus.PathBusEscape(name))
}

// unitOf is the unit that an object is; empty when it is none.
func unitOf(path string) string {
	escaped, ok := strings.CutPrefix(path, unitPrefix)
	if !ok {
		return ""
	}
	var name strings.Builder
	for i := 0; i < len(escaped); i++ {
		if escaped[i] == '_' && i+2 < len(escaped) {
			if c, err := strconv.ParseUint(escaped[i+1:i+3], 16, 8); err == nil {
				name.WriteByte(byte(c))
				i += 2
				continue
			}
		}
		name.WriteByte(escaped[i])
	}
	return name.String()
}
