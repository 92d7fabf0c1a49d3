package systemd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/google/go-cmp/cmp"
)

// twin is systemd in memory, as far as a Bus shows it: it reads files from its directory and runs nothing. What ExecStart
// says is what happens: true ends well, false fails, anything else goes on.
type twin struct {
	dir     string
	mu      sync.Mutex
	units   map[string]*twinUnit
	foreign map[string]string // fragments of units of the machine's own
	reloads int
	changed func(string)
}

type twinUnit struct {
	text                   string
	active, result         string
	status                 int32
	left, entered          time.Time
	invocations, condition int
}

// broken says whether systemd does not load it.
func (u *twinUnit) broken() bool { return strings.Contains(u.text, "not a unit file") }

func newTwin(dir string) *twin {
	return &twin{dir: dir, units: map[string]*twinUnit{}, foreign: map[string]string{"systemd-journald.service": "/lib/systemd/system/systemd-journald.service"}}
}

func (b *twin) Version(context.Context) (string, error) { return "252", nil }

func (b *twin) Paths(context.Context) ([]string, error) {
	return []string{"/lib/systemd/system", b.dir}, nil
}

func (b *twin) Knows(_ context.Context, name string) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.foreign[name] != "" || b.units[name] != nil, nil
}

// load is the unit as it was first read, nil when there is no file.
func (b *twin) load(name string) *twinUnit {
	if u := b.units[name]; u != nil {
		return u
	}
	text, err := os.ReadFile(filepath.Join(b.dir, name))
	if err != nil {
		return nil
	}
	b.units[name] = &twinUnit{text: string(text), active: "inactive", result: "success"}
	return b.units[name]
}

func (b *twin) Properties(_ context.Context, name string) (Properties, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if from := b.foreign[name]; from != "" {
		return Properties{"LoadState": "loaded", "ActiveState": "active", "FragmentPath": from}, nil
	}
	u := b.load(name)
	if u == nil {
		return Properties{"LoadState": "not-found", "ActiveState": "inactive"}, nil
	}
	now, err := os.ReadFile(filepath.Join(b.dir, name))
	p := Properties{"LoadState": "loaded", "ActiveState": u.active, "SubState": "dead", "Result": u.result, "FragmentPath": filepath.Join(b.dir, name),
		"NeedDaemonReload": err != nil || string(now) != u.text, "ExecMainStatus": u.status, "ExecMainCode": int32(1)}
	if !u.left.IsZero() {
		p["InactiveExitTimestamp"] = uint64(u.left.UnixMicro())
	}
	if !u.entered.IsZero() {
		p["InactiveEnterTimestamp"] = uint64(u.entered.UnixMicro())
	}
	if u.broken() {
		p["LoadState"], p["LoadError"] = "bad-setting", []any{"org.freedesktop.systemd1.BadUnitSetting", "Unit has a bad unit file setting."}
	}
	return p, nil
}

func (b *twin) Show(ctx context.Context, name string) (Properties, error) {
	return b.Properties(ctx, name)
}

func (b *twin) States(_ context.Context, names []string) (map[string]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[string]string{}
	for _, n := range names {
		if u := b.units[n]; u != nil {
			out[n] = u.active
		}
	}
	return out, nil
}

func (b *twin) Start(_ context.Context, name string, taken func()) (string, error) {
	taken()
	b.mu.Lock()
	u := b.load(name)
	if u == nil || u.broken() {
		b.mu.Unlock()
		return "", errors.New("it is not loaded properly")
	}
	u.left, u.active = time.Now(), "active"
	result := "done"
	switch {
	case strings.Contains(u.text, "/false"):
		u.active, u.result, u.status, u.entered = "failed", "exit-code", 1, time.Now()
		if strings.Contains(u.text, "oneshot") {
			result = "failed"
		}
	case strings.Contains(u.text, "/true"):
		u.active, u.result, u.entered = "inactive", "success", time.Now()
	}
	changed := b.changed
	b.mu.Unlock()
	if changed != nil {
		changed(name)
	}
	return result, nil
}

func (b *twin) Stop(_ context.Context, name string) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if u := b.units[name]; u != nil && u.active == "active" {
		u.active, u.entered = "inactive", time.Now()
	}
	return "done", nil
}

func (b *twin) ResetFailed(_ context.Context, name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if u := b.units[name]; u != nil && u.active == "failed" {
		u.active = "inactive"
	}
	if _, err := os.Stat(filepath.Join(b.dir, name)); err != nil {
		delete(b.units, name)
	}
	return nil
}

func (b *twin) Reload(context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reloads++
	for name, u := range b.units {
		text, err := os.ReadFile(filepath.Join(b.dir, name))
		if err != nil {
			delete(b.units, name)
			continue
		}
		u.text = string(text)
	}
	return nil
}

func (b *twin) Watch(ctx context.Context, ours func(string) string, ready func(), changed func(string)) error {
	b.mu.Lock()
	b.changed = func(name string) {
		if ours(name) != "" {
			changed(name)
		}
	}
	b.mu.Unlock()
	ready()
	<-ctx.Done()
	return ctx.Err()
}

// suite is what any Bus has to do, with the units of one cluster.
func suite(t *testing.T, m *Manager, dir string) {
	ctx := t.Context()
	const name = "argosy-suite@.service"
	assignment := func(incarnation uint64) *argosyv1.Assignment {
		return &argosyv1.Assignment{Key: &argosyv1.ReplicaKey{Tenant: "default", App: "suite", Stack: "s", Number: 3}, AppUid: "u", Incarnation: incarnation, Revision: 7}
	}
	create := func(t *testing.T, unit, text string) string {
		t.Helper()
		id, err := m.Create(ctx, Creation{Assignment: assignment(1), Unit: &argosyv1.Unit{Name: unit, Content: text}, Definition: "d"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := m.Stop(context.WithoutCancel(ctx), id); err == nil {
				_ = m.Remove(context.WithoutCancel(ctx), id)
			}
		})
		return id
	}
	look := func(t *testing.T, id string) core.Container {
		t.Helper()
		c, err := m.Look(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// settles waits for what a process of the unit does by itself.
	settles := func(t *testing.T, id string, state core.ContainerState) core.Container {
		t.Helper()
		until := time.NewTimer(20 * time.Second)
		defer until.Stop()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			c := look(t, id)
			if c.State == state {
				return c
			}
			select {
			case <-until.C:
				t.Fatalf("it is %s (%+v), not %s", c.State, c.Unit, state)
			case <-tick.C:
			}
		}
	}
	t.Run("life", func(t *testing.T) {
		id := create(t, name, "[Service]\nExecStart=/bin/sleep infinity\n")
		c := look(t, id)
		if c.State != core.Created || c.Owner != core.IDOf(assignment(1)) || c.Member != name || c.Definition != "d" || c.Unit.Name != "argosy-suite@3.service" {
			t.Errorf("written, it is %+v", c)
		}
		must(t, m.Start(ctx, id))
		if c = look(t, id); c.State != core.Running || c.Health != core.Healthy || c.StartedAt.IsZero() {
			t.Errorf("started, it is %+v", c)
		}
		list, err := m.Glance(ctx)
		must(t, err)
		if len(list) != 1 || list[0].ID != id || list[0].State != core.Running || list[0].Health != core.Healthy {
			t.Errorf("listed: %+v", list)
		}
		must(t, m.Stop(ctx, id))
		if c = look(t, id); c.Alive() {
			t.Errorf("stopped, it is %+v", c)
		}
		must(t, m.Remove(ctx, id))
		if _, err := m.Look(ctx, id); !isGone(err) {
			t.Errorf("removed, a look says %v", err)
		}
		if _, err := os.Stat(filepath.Join(dir, "argosy-suite@3.service")); err == nil {
			t.Error("its file is left")
		}
		states, err := m.cfg.Bus.States(ctx, []string{"argosy-suite@3.service"})
		if err != nil || len(states) > 0 {
			t.Errorf("systemd still knows it: %v, %v", states, err)
		}
	})
	t.Run("failure", func(t *testing.T) {
		id := create(t, name, "[Service]\nExecStart=/bin/false\n")
		must(t, m.Start(ctx, id))
		if c := settles(t, id, core.Exited); c.ExitCode != 1 || c.Error != "exited with code 1" {
			t.Errorf("failed, it is %d, %q", c.ExitCode, c.Error)
		}
	})
	t.Run("a changed file is another", func(t *testing.T) {
		old := create(t, name, "[Service]\nExecStart=/bin/sleep infinity\n")
		must(t, m.Start(ctx, old))
		must(t, m.Stop(ctx, old))
		must(t, m.Remove(ctx, old))
		id := create(t, name, "[Service]\nType=oneshot\nExecStart=/bin/false\n")
		if id == old {
			t.Error("it has the id of its predecessor")
		}
		must(t, m.Start(ctx, id))
		if c := settles(t, id, core.Exited); c.ExitCode == 0 {
			t.Errorf("the earlier file was run: %+v", c)
		}
		if err := m.Stop(ctx, old); !isGone(err) {
			t.Errorf("the predecessor can be stopped: %v", err)
		}
	})
	t.Run("refused", func(t *testing.T) {
		refused := func(what string, err error) {
			t.Helper()
			var f *core.Fault
			if !errors.As(err, &f) || f.Kind != core.FaultRefused {
				t.Errorf("%s: %v", what, err)
			}
		}
		_, err := m.Create(ctx, Creation{Assignment: assignment(1), Unit: &argosyv1.Unit{Name: "systemd-journald.service", Content: "[Service]\n"}})
		refused("a unit of the machine's own", err)
		if path, err := m.foreign(ctx, "argosy-suite.service"); err != nil || path != "" {
			t.Errorf("a name that nobody has: %s, %v", path, err)
		}
		must(t, os.WriteFile(filepath.Join(dir, "argosy-theirs@.service"), []byte("[Service]\nExecStart=/bin/true\n"), 0o644))
		defer os.Remove(filepath.Join(dir, "argosy-theirs@.service"))
		_, err = m.Create(ctx, Creation{Assignment: assignment(1), Unit: &argosyv1.Unit{Name: "argosy-theirs@.service", Content: "[Service]\n"}})
		refused("an instance of a template of the machine's own", err)
		_, err = m.Create(ctx, Creation{Assignment: assignment(1), Unit: &argosyv1.Unit{Name: "../x.service"}})
		refused("a name that climbs", err)
		id := create(t, "argosy-suite.service", "[Service]\nExecStart=/bin/sleep infinity\n")
		_, err = m.Create(ctx, Creation{Assignment: assignment(2), Unit: &argosyv1.Unit{Name: "argosy-suite.service", Content: "[Service]\n"}})
		refused("a unit of another replica", err)
		must(t, m.Remove(ctx, id))
		id = create(t, "argosy-suite.service", "[Service]\nType=simple\n# not a unit file: it runs nothing\n")
		refused("a file that systemd does not load", m.Start(ctx, id))
	})
	t.Run("a new manager finds what is there", func(t *testing.T) {
		id := create(t, name, "[Service]\nExecStart=/bin/sleep infinity\n")
		must(t, m.Start(ctx, id))
		before := look(t, id)
		again := New(m.cfg)
		list, err := again.Glance(ctx)
		must(t, err)
		if len(list) != 1 || list[0].ID != id {
			t.Fatalf("it finds %+v", list)
		}
		if c, err := again.Look(ctx, id); err != nil || !c.StartedAt.Equal(before.StartedAt) || c.Owner != before.Owner {
			t.Errorf("it sees %+v, %v", c, err)
		}
		other := New(Config{ClusterID: "another", Bus: m.cfg.Bus, Dir: m.cfg.Dir})
		if list, err := other.Glance(ctx); err != nil || len(list) > 0 {
			t.Errorf("another cluster takes it for its own: %+v, %v", list, err)
		}
	})
}

func isGone(err error) bool {
	var f *core.Fault
	return errors.As(err, &f) && f.Kind == core.FaultGone
}

func TestTwinIsSystemd(t *testing.T) {
	dir := t.TempDir()
	suite(t, New(Config{ClusterID: "suite", Bus: newTwin(dir), Dir: dir}), dir)
}

// TestSystemd runs the suite with the machine's own systemd. Where there is none, and this is not root, the twin alone is
// tried; the end-to-end tests run it on machines that have one.
func TestSystemd(t *testing.T) {
	if !AtHand() || os.Geteuid() != 0 {
		t.Skip("systemd does not run this machine, or may not be asked")
	}
	suite(t, New(Config{ClusterID: "suite", Bus: Connect()}), Dir)
}

// TestReloadsAreShared: whoever asks while systemd reloads shares the next reload with all others who do.
func TestReloadsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		n := 0
		b := &batch{do: func(context.Context) error {
			n++
			<-release
			return nil
		}}
		var wg sync.WaitGroup
		wg.Go(func() { _ = b.ask(t.Context()) })
		synctest.Wait()
		for range 20 {
			wg.Go(func() { _ = b.ask(t.Context()) })
		}
		synctest.Wait()
		close(release)
		wg.Wait()
		if n != 2 {
			t.Errorf("%d reloads, not one for the first and one for the others", n)
		}
	})
}

func FuzzMark(f *testing.F) {
	text, _ := mark{ID: newID("a.service"), Cluster: "c", Tenant: "t", App: "a", Stack: "s", Member: "a.service", Number: 1}.text("[Service]\n")
	f.Add(text)
	f.Add("# Argosy \n[X-Argosy]\nMark={}\n")
	f.Fuzz(func(t *testing.T, s string) {
		if m, err := parseMark(s); err == nil && nameOf(m.ID) == "" {
			t.Errorf("a mark without a unit: %+v", m)
		}
	})
}

func TestJournalEntries(t *testing.T) {
	for text, want := range map[string]string{
		`{"__REALTIME_TIMESTAMP":"1700000000000001","MESSAGE":"hello","PRIORITY":"6"}`: "hello",
		`{"MESSAGE":[104,105,255],"PRIORITY":"3"}`:                                     "hi\xff",
		`{"MESSAGE":null}`: "", `{`: "", `{"MESSAGE":{}}`: "",
	} {
		if got, _ := parseEntry([]byte(text)); string(got.Text) != want {
			t.Errorf("%s: %q", text, got.Text)
		}
	}
}

// asked is a Bus that counts what systemd is asked.
type asked struct {
	*twin
	calls []string
}

func (b *asked) Knows(ctx context.Context, name string) (bool, error) {
	b.calls = append(b.calls, "knows")
	return b.twin.Knows(ctx, name)
}

func (b *asked) Properties(ctx context.Context, name string) (Properties, error) {
	b.calls = append(b.calls, "properties")
	return b.twin.Properties(ctx, name)
}

func (b *asked) Show(ctx context.Context, name string) (Properties, error) {
	b.calls = append(b.calls, "show")
	return b.twin.Properties(ctx, name)
}

func (b *asked) Start(ctx context.Context, name string, taken func()) (string, error) {
	b.calls = append(b.calls, "start")
	return b.twin.Start(ctx, name, taken)
}

func (b *asked) ResetFailed(ctx context.Context, name string) error {
	b.calls = append(b.calls, "reset")
	return b.twin.ResetFailed(ctx, name)
}

func (b *asked) Reload(ctx context.Context) error {
	b.calls = append(b.calls, "reload")
	return b.twin.Reload(ctx)
}

// TestANewUnitIsStartedWithoutQuestions: of a name that systemd did not know it has what is in the file. Of any other it is asked.
func TestANewUnitIsStartedWithoutQuestions(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	b := &asked{twin: newTwin(dir)}
	m := New(Config{ClusterID: "c", Bus: b, Dir: dir})
	start := func(when string, want ...string) string {
		t.Helper()
		b.calls = nil
		id, err := m.Create(ctx, Creation{Unit: &argosyv1.Unit{Name: "a.service", Content: "[Service]\nExecStart=/bin/sleep infinity\n"},
			Assignment: &argosyv1.Assignment{Key: &argosyv1.ReplicaKey{Tenant: "t", App: "a", Stack: "s", Number: 1}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Start(ctx, id); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, b.calls); diff != "" {
			t.Errorf("%s: %s", when, diff)
		}
		return id
	}
	id := start("a new name", "knows", "start")
	b.calls = nil
	if err := errors.Join(m.Stop(ctx, id), m.Start(ctx, id)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"properties", "reset", "start"}, b.calls); diff != "" {
		t.Errorf("started again: %s", diff)
	}
	if err := errors.Join(m.Stop(ctx, id), os.Remove(filepath.Join(dir, "a.service"))); err != nil { // by hand
		t.Fatal(err)
	}
	start("a name whose file was removed by hand", "knows", "properties", "properties", "reload", "properties", "reset", "start")
}
