package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/agent/volume"
	"github.com/argosy-cluster/argosy/internal/claims"
	step "github.com/argosy-cluster/argosy/internal/claims/guard"
	"github.com/argosy-cluster/argosy/internal/guard/machine"
	"github.com/argosy-cluster/argosy/internal/guard/port"
	"github.com/argosy-cluster/argosy/internal/lease"
)

var db = core.Key{Tenant: "default", App: "shop", Stack: "db", Number: 1}

func token(n uint64) claims.Token { return claims.Token{Generation: 1, Revision: n} }

// scene is a Keeper, its database, and a guard of which only the socket is real.
type scene struct {
	*testing.T
	dir   string
	shelf *volume.Shelf
	k     *Keeper
	port  *port.Port
	end   func()

	mu       sync.Mutex
	values   map[string]string
	full     bool // the database takes nothing
	heard    []string
	reports  []*argosyv1.StorageReport
	devices  []string // that the machine reaches
	endGuard func()
}

func newScene(t *testing.T) *scene {
	s := &scene{T: t, dir: t.TempDir(), shelf: volume.NewShelf(), values: map[string]string{}, devices: []string{"LABEL=b", "/dev/sdb", "LABEL=b"}}
	s.start()
	t.Cleanup(func() { s.end() })
	return s
}

// start is an agent that starts.
func (s *scene) start() {
	s.Helper()
	k, err := New(Config{
		Socket: filepath.Join(s.dir, "g"), Device: volume.NewFake(s.shelf), Mount: volume.NewFake(s.shelf), Log: slog.New(slog.DiscardHandler),
		Value:   func(n string) (string, error) { s.mu.Lock(); defer s.mu.Unlock(); return s.values[n], nil },
		Keep:    s.keep,
		Changed: func(core.Key) {},
		Report:  func(r *argosyv1.StorageReport) { s.mu.Lock(); defer s.mu.Unlock(); s.reports = append(s.reports, r) },
		Reached: func() ([]string, []string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return slices.Clone(s.devices), []string{"nfs"}
		},
		Stamp: func() string { s.mu.Lock(); defer s.mu.Unlock(); return strings.Join(s.devices, " ") },
	})
	if err != nil {
		s.Fatal(err)
	}
	s.k = k
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); k.Run(ctx) }()
	s.end = sync.OnceFunc(func() { cancel(); <-ended })
}

// keep is the database, on a disk that may be full. Whoever asks while it writes is answered.
func (s *scene) keep(name, value string) error {
	s.k.Claims(db)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full {
		s.heard = append(s.heard, "not kept: "+value)
		return errors.New("no space left on device")
	}
	s.values[name] = value
	return nil
}

// guard is one that starts, and knows nothing.
func (s *scene) guard() {
	s.Helper()
	l, err := lease.Listen(filepath.Join(s.dir, "g"))
	if err != nil {
		s.Fatal(err)
	}
	s.port = port.New(port.Config{Guard: s, Machine: s, Log: slog.New(slog.DiscardHandler), Servers: func(m *leasev1.LeaseServers) error {
		s.note("servers %s", m.GetProfile())
		return nil
	}})
	s.port.State(&leasev1.GuardState{Version: "1", Key: []byte("key"), Watchdog: "Good Dog"})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	p := s.port
	go func() { ended <- p.Serve(ctx, l) }()
	s.endGuard = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			s.Error(err)
		}
	})
	s.Cleanup(s.endGuard)
}

func (s *scene) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = append(s.heard, fmt.Sprintf(format, args...))
}

func (s *scene) Want(id claims.ID, t claims.Token) error { s.note("want %s %v", id, t); return nil }
func (s *scene) Release(id claims.ID, t claims.Token)    { s.note("release %s %v", id, t) }
func (s *scene) Stopped(id claims.ID, t claims.Token)    { s.note("stopped %s %v", id, t) }
func (s *scene) Leave(time.Duration)                     {}
func (s *scene) Remain()                                 {}
func (s *scene) Forget(claims.ID, claims.Token) error    { return nil }
func (s *scene) Place(_ claims.ID, _ claims.Token, v volume.Volume) error {
	if v.Device == nil || v.Device.Source != "LABEL=data-1" || v.Name != "default/shop/db.1/data" {
		return fmt.Errorf("placed at %+v", v.Device)
	}
	return nil
}
func (s *scene) Show(claims.ID, claims.Token) machine.Shown {
	return machine.Shown{Armed: true, Path: "/p", Slice: "a-b-c.slice", Group: "/a/b", UUID: "u", Size: 9, Free: 8}
}

func (s *scene) until(what string, ok func() bool) {
	s.Helper()
	for limit := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(limit) {
			list, why := s.k.Claims(db)
			s.Fatalf("waiting for %s: %+v %q, heard %q", what, list, why, s.heard)
		}
	}
}

func (s *scene) hears(what string) {
	s.Helper()
	s.until(what, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return strings.Contains(strings.Join(s.heard, "\n"), what)
	})
}

// troubled waits until the machine reports such trouble, or none.
func (s *scene) troubled(text string) {
	s.Helper()
	s.until("the machine's trouble is "+text, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.reports) == 0 {
			return false
		}
		got := s.reports[len(s.reports)-1].GetGuard().GetTrouble()
		return (got == "") == (text == "") && strings.Contains(got, text)
	})
}

func (s *scene) claim(n uint64) core.Claim {
	list, _ := s.k.Claims(db)
	for _, c := range list {
		if c.Token == token(n) {
			return c
		}
	}
	return core.Claim{}
}

func (s *scene) phase(n uint64, p argosyv1.ClaimPhase) {
	s.Helper()
	s.until(p.String(), func() bool { return s.claim(n).Phase == p })
}

func (s *scene) tell(n uint64, p step.Phase, why string) {
	s.port.Tell(step.Tell{Claim: "default/shop/db.1/data", Token: token(n), Phase: p, Why: why})
}

func wants(n uint64) core.ClaimStep {
	return core.ClaimStep{Kind: core.WantClaim, Key: db, Volume: "data", Token: token(n), Spec: &argosyv1.VolumeSpec{Name: "data", Device: &argosyv1.DeviceSource{Device: "LABEL=data-{replica}"}}}
}

// TestLife: the storage is looked for before anything is asked for; what the guard says is what is known; an agent that follows, and
// finds no guard, does not take a lease for given back; a guard that knows nothing has nothing.
func TestLife(t *testing.T) {
	s := newScene(t)
	s.until("the lack of a guard to be noticed", func() bool { _, why := s.k.Claims(db); return strings.Contains(why, "systemctl start argosy-guard") })
	if err := s.k.Servers(&argosyv1.LeaseServers{Profile: "fast", Epoch: &argosyv1.FencingToken{Generation: 1, Revision: 1}, Members: []string{"s1"}}); err != nil {
		t.Fatal(err)
	}
	s.guard()
	s.hears("servers fast")
	s.k.Do(wants(7))
	s.until("the device to be missed", func() bool { return strings.Contains(s.claim(7).Message, "no device is LABEL=data-1") })
	if c := s.claim(7); c.Phase != argosyv1.ClaimPhase_CLAIM_PHASE_ATTACHING {
		t.Errorf("%+v", c)
	}
	s.shelf.Change("LABEL=data-1", func(st *volume.Stored) { st.UUID = "u" })
	s.hears("want default/shop/db.1/data 1-7")
	s.tell(7, step.Asking, "1 of 3 servers agreed")
	s.phase(7, argosyv1.ClaimPhase_CLAIM_PHASE_ASKING)
	s.tell(7, step.Mounting, "")
	s.tell(7, step.Armed, "")
	s.phase(7, argosyv1.ClaimPhase_CLAIM_PHASE_ARMED)
	if c := s.claim(7); c.Path != "/p" || c.Slice != "a-b-c.slice" || c.Group != "/a/b" || c.UUID != "u" || c.Class != argosyv1.VolumeClass_VOLUME_CLASS_TIMED_DETECTED || c.At != "LABEL=data-1" {
		t.Errorf("%+v", c)
	}

	s.end()
	s.start() // and the guard is there
	s.phase(7, argosyv1.ClaimPhase_CLAIM_PHASE_ARMED)
	s.end()
	s.endGuard()
	s.start()
	if c := s.claim(7); c.Phase != argosyv1.ClaimPhase_CLAIM_PHASE_ATTACHING || c.Path != "" {
		t.Errorf("without a guard: %+v", c)
	}
	s.guard()
	s.until("what the guard does not know to be forgotten", func() bool { return s.claim(7).Token.IsZero() })
	s.hears("servers fast")

	s.k.Do(wants(8))
	s.hears("want default/shop/db.1/data 1-8")
	s.tell(8, step.Armed, "")
	s.phase(8, argosyv1.ClaimPhase_CLAIM_PHASE_ARMED)
	s.k.Do(core.ClaimStep{Kind: core.ReleaseClaim, Key: db, Volume: "data", Token: token(8)})
	s.hears("release default/shop/db.1/data 1-8")
	s.tell(8, step.Stopping, "")
	s.k.Do(core.ClaimStep{Kind: core.ClaimStopped, Key: db, Volume: "data", Token: token(8)})
	s.hears("stopped default/shop/db.1/data 1-8")
	s.tell(8, step.Sealed, "")
	s.phase(8, argosyv1.ClaimPhase_CLAIM_PHASE_OVER)
	s.mu.Lock()
	kept := s.values[keptClaims]
	last := s.reports[len(s.reports)-1]
	s.mu.Unlock()
	if kept != "[]" && kept != "null" {
		t.Errorf("kept: %s", kept)
	}
	if len(last.GetDevices()) != 2 || last.GetMountTypes()[0] != "nfs" || string(last.GetGuard().GetKey()) != "key" || last.GetGuard().GetWatchdog() != "Good Dog" {
		t.Errorf("%v", last)
	}
}

// TestConnected: a device that is connected is reported soon, and not when it is time to look again.
func TestConnected(t *testing.T) {
	s := newScene(t)
	reached := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.reports) == 0 {
			return 0
		}
		return len(s.reports[len(s.reports)-1].GetDevices())
	}
	s.until("what it reaches to be reported", func() bool { return reached() == 2 })
	begun := time.Now()
	s.mu.Lock()
	s.devices = append(s.devices, "LABEL=c")
	s.mu.Unlock()
	s.until("the new device to be reported", func() bool { return reached() == 3 })
	if took := time.Since(begun); took >= reachEvery {
		t.Errorf("it took %s", took)
	}
}

// TestWhyItEnds: a guard says why when it gives a claim up, and no more after that; whoever asks what became of the claim still hears it.
func TestWhyItEnds(t *testing.T) {
	s := newScene(t)
	s.guard()
	s.shelf.Change("LABEL=data-1", func(st *volume.Stored) { st.UUID = "u" })
	s.k.Do(wants(7))
	s.hears("want default/shop/db.1/data 1-7")
	s.tell(7, step.Asking, "1 of 3 servers agreed")
	s.tell(7, step.Mounting, "")
	s.phase(7, argosyv1.ClaimPhase_CLAIM_PHASE_MOUNTING)
	if c := s.claim(7); c.Message != "" {
		t.Errorf("what was waited for is still said: %+v", c)
	}
	for _, phase := range []step.Phase{step.Clearing, step.Sealing, step.Sealed} {
		why := ""
		if phase == step.Clearing {
			why = "not mounted: access denied"
		}
		s.tell(7, phase, why)
	}
	s.phase(7, argosyv1.ClaimPhase_CLAIM_PHASE_OVER)
	if c := s.claim(7); c.Message != "not mounted: access denied" {
		t.Errorf("%+v", c)
	}
}

// TestLeaving: that the machine is about to be shut down is reported of its guard, and that it is not after all.
func TestLeaving(t *testing.T) {
	s := newScene(t)
	s.guard()
	leaving := func(is bool) func() bool {
		return func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(s.reports) > 0 && len(s.reports[len(s.reports)-1].GetGuard().GetKey()) > 0 && s.reports[len(s.reports)-1].GetGuard().GetLeaving() == is
		}
	}
	s.until("the guard to be reported", leaving(false))
	s.port.State(&leasev1.GuardState{Version: "1", Key: []byte("key"), Leaving: true, Exposed: 1})
	s.until("that it leaves to be reported", leaving(true))
	s.port.State(&leasev1.GuardState{Version: "1", Key: []byte("key")})
	s.until("that it stays to be reported", leaving(false))
}

// TestNeverAsked: what no guard heard of is given back at once.
func TestNeverAsked(t *testing.T) {
	s := newScene(t)
	s.k.Do(wants(7))
	s.k.Do(core.ClaimStep{Kind: core.ReleaseClaim, Key: db, Volume: "data", Token: token(7)})
	if list, _ := s.k.Claims(db); len(list) > 0 {
		t.Errorf("%+v", list)
	}
}

// TestNotKept: what cannot be written down is not told the guard, and told once it can be; what is taken back meanwhile never is.
func TestNotKept(t *testing.T) {
	s := newScene(t)
	s.guard()
	s.shelf.Change("LABEL=data-1", func(st *volume.Stored) { st.UUID = "u" })
	s.mu.Lock()
	s.full = true
	s.mu.Unlock()
	s.k.Do(wants(7))
	s.hears(`not kept: [{`)
	s.troubled("no space left on device): make room for its database")
	s.until("the claim says what it waits for", func() bool { return strings.Contains(s.claim(7).Message, "no space left on device") })
	s.k.Do(core.ClaimStep{Kind: core.ReleaseClaim, Key: db, Volume: "data", Token: token(7)})
	if c := s.claim(7); !c.Token.IsZero() {
		t.Errorf("what no guard heard of is not given back: %+v", c)
	}
	s.k.Do(wants(8))
	s.hears(`"revision":8`)
	s.mu.Lock()
	s.full = false
	s.mu.Unlock()
	s.hears("want default/shop/db.1/data 1-8")
	s.troubled("")
	s.mu.Lock()
	defer s.mu.Unlock()
	if text := strings.Join(s.heard, "\n"); strings.Contains(text, "data 1-7") || !strings.Contains(s.values[keptClaims], `"revision":8`) {
		t.Errorf("kept %s, heard\n%s", s.values[keptClaims], text)
	}
}

// TestDeviceFallsSilent: an agent that ends does not wait for a device that does not answer.
func TestDeviceFallsSilent(t *testing.T) {
	begun, answers := make(chan struct{}), make(chan struct{})
	defer close(answers)
	k, err := New(Config{
		Socket: filepath.Join(t.TempDir(), "g"), Log: slog.New(slog.DiscardHandler), Changed: func(core.Key) {}, Report: func(*argosyv1.StorageReport) {},
		Value:   func(string) (string, error) { return "", nil },
		Reached: func() ([]string, []string) { close(begun); <-answers; return nil, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); k.Run(ctx) }()
	<-begun
	cancel()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("it waits")
	}
}

func TestNameOf(t *testing.T) {
	n := named{core.Key{Tenant: "acme", App: "shop", Stack: "db.main", Number: 12}, "data", token(3)}
	if got, err := nameOf(n.id(), lease.StampTo(n.Token)); err != nil || got != n {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "a/b/c/d", "a/b/c.x/d", "a/b/c.1", "a/b/c.1/d/e", "a/b/c.-1/d"} {
		if got, err := nameOf(bad, nil); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}
