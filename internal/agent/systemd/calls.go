package systemd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
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
		if p, _, err = l.properties(ctx, name, "Unit", loading); err == nil {
			return p, nil
		}
	}
	return nil, fmt.Errorf("look at unit %s: %w", name, err)
}

// properties reads some properties of one interface of a unit, and says when the first was answered. They are asked for one by one, but
// all at once: among all that a unit has are some for which systemd reads every directory of units twice, or the unit's cgroup.
func (l *link) properties(ctx context.Context, name, face string, wanted []string) (Properties, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	unit := l.Object(destination, pathOf(name))
	asked := make([]*dbus.Call, len(wanted))
	for i, one := range wanted {
		asked[i] = unit.GoWithContext(ctx, properties+".Get", 0, make(chan *dbus.Call, 1), destination+"."+face, one)
	}
	p := make(Properties, len(wanted))
	for i, call := range asked {
		<-call.Done
		var v dbus.Variant
		if err := call.Store(&v); err != nil {
			return nil, 0, err
		}
		p[wanted[i]] = v.Value()
	}
	return p, uint64(asked[0].ResponseSequence), nil
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
	p, at, err := l.properties(ctx, name, "Unit", lasting)
	if err != nil {
		return nil, err
	}
	if err := l.add(ctx, p, name, "Unit", known, changing); err != nil {
		return nil, err
	}
	if p["LoadState"] != "loaded" || p["ActiveState"] == "inactive" && p["InactiveExitTimestamp"] == uint64(0) {
		return p, nil // it never ran, so there is no more to know
	}
	kind := typeOf(name)
	wanted := slices.DeleteFunc(slices.Clone(ofType[kind]), func(one string) bool {
		return strings.HasPrefix(one, "ExecMain") && !p.failed() // how it ended last is not shown then
	})
	if err := l.add(ctx, p, name, kind, known, wanted); err != nil {
		return nil, err
	}
	l.told.keep(name, known, p, at)
	return p, nil
}

// add adds to what is known of a unit what was told last of one of its interfaces; if nothing was, it is asked for.
func (l *link) add(ctx context.Context, p Properties, name, face string, known *saying, wanted []string) error {
	said, ok := l.told.said(known, face)
	if !ok && len(wanted) > 0 {
		var err error
		if said, _, err = l.properties(ctx, name, face, wanted); err != nil {
			return err
		}
	}
	maps.Copy(p, said)
	return nil
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
