package systemd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/unitfile"
)

// Bus is systemd, as far as units need it.
type Bus interface {
	// Version of the systemd that answers.
	Version(ctx context.Context) (string, error)
	// Properties has systemd load a unit, if it can, and returns from which file.
	Properties(ctx context.Context, name string) (Properties, error)
	// Show returns all that a look is about. What systemd told by itself of a unit that is watched is not asked again.
	Show(ctx context.Context, name string) (Properties, error)
	// Paths are the directories that systemd reads units from.
	Paths(ctx context.Context) ([]string, error)
	// Knows says whether systemd has a unit of that name at present. It loads none: for a file that is new systemd looks through
	// all directories again.
	Knows(ctx context.Context, name string) (bool, error)
	// States shows the active states of units by name; those that are not loaded may be missing. Whatever was told before is asked
	// again when it is looked at next.
	States(ctx context.Context, names []string) (map[string]string, error)
	// Start and Stop wait for their job and return systemd's word on how it ended: done, failed, dependency, … Start calls taken as soon
	// as systemd has the job, and so has loaded the unit.
	Start(ctx context.Context, name string, taken func()) (string, error)
	Stop(ctx context.Context, name string) (string, error)
	ResetFailed(ctx context.Context, name string) error
	Reload(ctx context.Context) error
	// Watch calls changed for each of our units to which something happens after it called ready, until ctx or the connection ends.
	// ours gives the id of a unit's file, and is empty when it is not ours; that may change at any time.
	Watch(ctx context.Context, ours func(name string) string, ready func(), changed func(name string)) error
}

// Dir is where unit files are kept that do not outlive the machine's run.
const Dir = "/run/systemd/system"

// Config of a Manager. ClusterID and Bus are needed.
type Config struct {
	ClusterID string
	Bus       Bus
	Dir       string // empty means Dir
	Log       *slog.Logger
}

// Manager runs the units of one machine. Its methods may be called at any time by anybody.
type Manager struct {
	cfg    Config
	reload batch
	shifts shifts

	mu    sync.Mutex
	marks map[string]mark // by name: files of this cluster
	fresh map[string]bool // ids of files that systemd cannot have read an earlier version of
	paths []string        // Bus.Paths, once they were asked for
}

// New makes a Manager.
func New(cfg Config) *Manager {
	if cfg.Dir == "" {
		cfg.Dir = Dir
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	m := &Manager{cfg: cfg, marks: map[string]mark{}, fresh: map[string]bool{}}
	m.reload.do = cfg.Bus.Reload
	return m
}

// Glimpse is what a listing shows of a unit.
type Glimpse struct {
	ID     string
	State  core.ContainerState
	Health core.Health
}

// Glance lists the units whose files are this cluster's: a look into the directory, and one call.
func (m *Manager) Glance(ctx context.Context) ([]Glimpse, error) {
	m.mu.Lock()
	before := maps.Clone(m.marks)
	m.mu.Unlock()
	entries, err := os.ReadDir(m.cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("list the units: %w", err)
	}
	found := map[string]mark{}
	var names []string
	for _, e := range entries {
		if !e.Type().IsRegular() || !unitfile.IsName(e.Name()) {
			continue
		}
		k, err := readMark(filepath.Join(m.cfg.Dir, e.Name()))
		if err != nil || k.Cluster != m.cfg.ClusterID || nameOf(k.ID) != e.Name() {
			continue
		}
		found[e.Name()] = k
		names = append(names, e.Name())
	}
	states := map[string]string{}
	if len(names) > 0 {
		if states, err = m.cfg.Bus.States(ctx, names); err != nil {
			return nil, err
		}
	} else if _, err := m.cfg.Bus.Version(ctx); err != nil {
		return nil, err
	}
	m.mark(before, found)
	list := make([]Glimpse, 0, len(names))
	for _, name := range names {
		g := Glimpse{ID: found[name].ID}
		g.State, g.Health = stateOf(states[name], false)
		list = append(list, g)
	}
	return list, nil
}

// mark notes which files there are, of which those before were known when they were listed: what was written meanwhile stays.
func (m *Manager) mark(before, found map[string]mark) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, k := range before {
		if m.marks[name].ID == k.ID {
			delete(m.marks, name)
		}
	}
	for name, k := range found {
		if _, newer := m.marks[name]; !newer {
			m.marks[name] = k
		}
	}
}

// Look looks at one unit. The fault core.FaultGone says that its file is not there any more.
func (m *Manager) Look(ctx context.Context, id string) (core.Container, error) {
	k, err := m.find(id)
	if err != nil {
		return core.Container{}, err
	}
	p, err := m.cfg.Bus.Show(ctx, nameOf(id))
	if err != nil {
		return core.Container{}, err
	}
	return container(k, p, func(name string) string {
		m.mu.Lock()
		defer m.mu.Unlock()
		if s, ok := m.marks[name]; ok && s.owner() == k.owner() {
			return s.Member
		}
		return ""
	}), nil
}

// find reads the mark of a file that is to be ours, with this id.
func (m *Manager) find(id string) (mark, error) {
	gone := &core.Fault{Kind: core.FaultGone, Message: "the unit's file is gone"}
	name := nameOf(id)
	if name == "" {
		return mark{}, gone
	}
	k, err := readMark(filepath.Join(m.cfg.Dir, name))
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errNotOurs), err == nil && k.ID != id:
		return mark{}, gone
	case err != nil:
		return mark{}, fmt.Errorf("read unit %s: %w", name, err)
	}
	m.mu.Lock()
	m.marks[name] = k
	m.mu.Unlock()
	return k, nil
}

// Creation is what Create needs to know.
type Creation struct {
	Assignment *argosyv1.Assignment
	Unit       *argosyv1.Unit
	Definition string
}

// Create writes a unit's file, unless the machine has a unit of that name already.
func (m *Manager) Create(ctx context.Context, c Creation) (id string, err error) {
	key := core.KeyOf(c.Assignment.GetKey())
	name := unitfile.ForReplica(c.Unit.GetName(), key.Number)
	if !unitfile.IsName(name) {
		return "", &core.Fault{Kind: core.FaultRefused, Message: fmt.Sprintf("%q is not the name of a unit", name)}
	}
	known, err := m.free(ctx, name, core.IDOf(c.Assignment))
	if err != nil {
		return "", err
	}
	k := mark{
		ID: newID(name), Cluster: m.cfg.ClusterID, Tenant: key.Tenant, App: key.App, Stack: key.Stack, Number: key.Number, Member: c.Unit.GetName(),
		AppUID: c.Assignment.GetAppUid(), Incarnation: c.Assignment.GetIncarnation(), Definition: c.Definition,
		Revision: c.Assignment.GetRevision(), Restart: c.Assignment.GetRestart(), At: time.Now().UTC(),
	}
	text, err := k.text(c.Unit.GetContent())
	if err != nil {
		return "", err
	}
	leave := m.shifts.enter(ctx, writing)
	err = write(m.cfg.Dir, name, text)
	leave()
	if err != nil {
		return "", err
	}
	m.mu.Lock()
	m.marks[name] = k
	if !known {
		m.fresh[k.ID] = true
	}
	m.mu.Unlock()
	return k.ID, nil
}

// free says who has a name on the machine; the error is nil when nobody has. known says that systemd has a unit of that name all the
// same, whose file is gone.
func (m *Manager) free(ctx context.Context, name string, owner core.ID) (known bool, err error) {
	taken := func(format string, args ...any) (bool, error) {
		return false, &core.Fault{Kind: core.FaultRefused, Message: fmt.Sprintf(format, args...)}
	}
	k, err := readMark(filepath.Join(m.cfg.Dir, name))
	switch {
	case err == nil && k.Cluster == m.cfg.ClusterID && k.owner() == owner:
		return false, fmt.Errorf("the file of unit %s is there already", name) // an earlier try, which a listing shows
	case err == nil && k.Cluster == m.cfg.ClusterID:
		return taken("%s has a unit %s on this machine; a unit is on its machine once", k.owner().Key, name)
	case !errors.Is(err, fs.ErrNotExist):
		return taken("this machine has a unit %s of its own (%s), which is left alone", name, filepath.Join(m.cfg.Dir, name))
	}
	if path, err := m.foreign(ctx, name); err != nil {
		return false, err
	} else if path != "" {
		return taken("this machine has a unit %s of its own (%s), which is left alone", name, path)
	}
	if known, err := m.cfg.Bus.Knows(ctx, name); err != nil || !known {
		return false, err
	}
	p, err := m.cfg.Bus.Properties(ctx, name)
	if err != nil {
		return false, err
	}
	from := p.text("FragmentPath")
	switch {
	case p.text("LoadState") == "not-found", from == filepath.Join(m.cfg.Dir, name): // of one that was removed a moment ago
		return true, nil
	case from != "":
		return taken("this machine has a unit %s of its own (%s), which is left alone", name, from)
	}
	return taken("this machine has a unit %s of its own (%s), which is left alone", name, p.text("LoadState")+", "+p.text("ActiveState"))
}

// foreign is the file from which systemd would have a unit that has none of ours: its own, or its template's. It is empty when there
// is none.
func (m *Manager) foreign(ctx context.Context, name string) (string, error) {
	m.mu.Lock()
	paths := m.paths
	m.mu.Unlock()
	if paths == nil {
		var err error
		if paths, err = m.cfg.Bus.Paths(ctx); err != nil {
			return "", err
		}
		m.mu.Lock()
		m.paths = paths
		m.mu.Unlock()
	}
	files := []string{name}
	if n, err := unitfile.ParseName(name); err == nil && n.IsInstance() {
		files = append(files, n.Template())
	}
	for _, dir := range paths {
		for _, file := range files {
			path := filepath.Join(dir, file)
			if _, err := os.Lstat(path); err == nil && path != filepath.Join(m.cfg.Dir, name) {
				return path, nil
			}
		}
	}
	return "", nil
}

// ready has systemd know the unit's file as it is.
func (m *Manager) ready(ctx context.Context, name string) error {
	for try := range 2 {
		p, err := m.cfg.Bus.Properties(ctx, name)
		if err != nil {
			return err
		}
		load, current := p.text("LoadState"), p.text("FragmentPath") == filepath.Join(m.cfg.Dir, name) && !p.yes("NeedDaemonReload")
		switch {
		case load == "loaded" && current:
			return nil
		case try == 0 && !current:
			if err := m.reload.ask(ctx); err != nil {
				return fmt.Errorf("have systemd read its files again: %w", err)
			}
		default:
			return &core.Fault{Kind: core.FaultRefused, Message: fmt.Sprintf("systemd does not load it (%s): %s", load, p.loadError())}
		}
	}
	return errors.New("systemd goes on showing an earlier file of the unit")
}

// Start starts a unit and waits for what systemd says of that. One that failed to start is no error: it was started, and a
// look shows how it ended.
func (m *Manager) Start(ctx context.Context, id string) error {
	if _, err := m.find(id); err != nil {
		return err
	}
	result, err := m.start(ctx, id, nameOf(id))
	switch {
	case err != nil:
		return err
	case result == "done", result == "failed", result == "timeout", result == "skipped":
		return nil
	case result == "dependency":
		return &core.Fault{Message: "a unit that it requires did not start"}
	case result == "canceled":
		return &core.Fault{Message: "somebody on the machine asked systemd for something else meanwhile"}
	}
	return &core.Fault{Message: "systemd says of its start: " + result}
}

// start asks nothing about a file that systemd reads now for the first time; only where it cannot start that, why.
func (m *Manager) start(ctx context.Context, id, name string) (result string, err error) {
	m.mu.Lock()
	fresh := m.fresh[id]
	delete(m.fresh, id)
	m.mu.Unlock()
	if fresh {
		if result, err = m.begin(ctx, name); err == nil || ctx.Err() != nil {
			return result, err
		}
	}
	if err := m.ready(ctx, name); err != nil {
		return "", err
	}
	_ = m.cfg.Bus.ResetFailed(ctx, name) // so that systemd counts anew; where nothing failed it says so
	return m.begin(ctx, name)
}

// begin has systemd start a unit when nobody writes a file.
func (m *Manager) begin(ctx context.Context, name string) (result string, err error) {
	leave := m.shifts.enter(ctx, beginning)
	defer leave()
	return m.cfg.Bus.Start(ctx, name, leave)
}

// Stop stops a unit and waits until it is stopped. How long it may take its file says.
func (m *Manager) Stop(ctx context.Context, id string) error {
	if _, err := m.find(id); err != nil {
		return err
	}
	result, err := m.cfg.Bus.Stop(ctx, nameOf(id))
	if err == nil && result == "canceled" {
		err = errors.New("somebody on the machine asked systemd for something else meanwhile")
	}
	return err
}

// Remove removes the file of a unit that does not run, and what systemd remembers of it.
func (m *Manager) Remove(ctx context.Context, id string) error {
	if _, err := m.find(id); err != nil {
		return err
	}
	name := nameOf(id)
	if err := os.Remove(filepath.Join(m.cfg.Dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove unit %s: %w", name, err)
	}
	m.mu.Lock()
	delete(m.marks, name)
	delete(m.fresh, id)
	m.mu.Unlock()
	_ = m.cfg.Bus.ResetFailed(ctx, name)
	known, err := m.cfg.Bus.Knows(ctx, name)
	if known {
		err = m.reload.ask(ctx)
	}
	if err != nil { // the file is gone, which is what counts; the next reading of all files settles the rest
		m.cfg.Log.Warn("systemd may still know a unit that was removed", "unit", name, "error", err)
	}
	return nil
}

// Watch calls changed with the id of each unit to which something happens.
func (m *Manager) Watch(ctx context.Context, ready func(), changed func(id string)) error {
	ours := func(name string) string {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.marks[name].ID
	}
	return m.cfg.Bus.Watch(ctx, ours, ready, func(name string) {
		if id := ours(name); id != "" {
			changed(id)
		}
	})
}

// batch does something for all who ask while it is being done once: they wait for the next time together.
type batch struct {
	do func(ctx context.Context) error

	mu   sync.Mutex
	next *turn
	busy bool
}

type turn struct {
	done chan struct{}
	err  error
}

func (b *batch) ask(ctx context.Context) error {
	b.mu.Lock()
	if b.next == nil {
		b.next = &turn{done: make(chan struct{})}
	}
	t := b.next
	if !b.busy {
		b.busy = true
		go b.run(context.WithoutCancel(ctx))
	}
	b.mu.Unlock()
	select {
	case <-t.done:
		return t.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *batch) run(ctx context.Context) {
	for {
		b.mu.Lock()
		t := b.next
		b.next = nil
		if t == nil {
			b.busy = false
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		own, cancel := context.WithTimeout(ctx, reloadTime)
		t.err = b.do(own)
		cancel()
		close(t.done)
	}
}

const reloadTime = time.Minute
