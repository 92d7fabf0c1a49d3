package guard_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	step "github.com/argosy-cluster/argosy/internal/claims/guard"
	"github.com/argosy-cluster/argosy/internal/guard"
	"github.com/argosy-cluster/argosy/internal/lease"
	"github.com/argosy-cluster/argosy/internal/witness"
)

// quick is a timing for tests: whatever the host does, a lease that it breaks is only lost, never doubled.
var quick = claims.Profile{Name: "test", Lease: 1500 * time.Millisecond, Wait: 1700 * time.Millisecond, Kill: 300 * time.Millisecond, Renew: 100 * time.Millisecond,
	Drift: 0.02, Slack: 20 * time.Millisecond}

const db = claims.ID("default/shop/db.1/data")

func token(n uint64) claims.Token { return claims.Token{Generation: 1, Revision: n} }

// town is three witnesses and the machines whose guards speak to them, and it sees to it that one at most can write.
type town struct {
	t      *testing.T
	config claims.Config
	peers  []guard.Peer
	ids    map[string]*lease.Identity

	mu     sync.Mutex
	writer string // who has the volume mounted or armed
	worst  string // what must not have happened
}

func newTown(t *testing.T, machines ...string) *town {
	w := &town{t: t, config: claims.Config{Epoch: claims.Epoch{Generation: 1, Revision: 1}}, ids: map[string]*lease.Identity{}}
	list := &leasev1.Machines{}
	for _, m := range machines {
		id, err := lease.NewIdentity()
		if err != nil {
			t.Fatal(err)
		}
		w.ids[m] = id
		list.Machines = append(list.Machines, &leasev1.Machine{Id: m, Key: id.Pin[:]})
	}
	for i := range 3 {
		w.config.Members = append(w.config.Members, claims.Witness(fmt.Sprint("s", i+1)))
	}
	for _, id := range w.config.Members {
		w.witness(id, list)
	}
	t.Cleanup(func() {
		if w.worst != "" {
			t.Error(w.worst)
		}
	})
	return w
}

func (w *town) witness(id claims.Witness, list *leasev1.Machines) {
	t := w.t
	x, err := witness.Open(witness.Config{Dir: t.TempDir(), ID: id, Profile: quick, Log: silent()})
	if err != nil {
		t.Fatal(err)
	}
	guards, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, err := witness.Listen(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- x.Run(ctx, guards, server) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, x.Close()); err != nil {
			t.Error(err)
		}
	})
	c, err := net.Dial("unix", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, o := range []*leasev1.Order{{Order: &leasev1.Order_Machines{Machines: list}}, {Order: &leasev1.Order_Configure{Configure: lease.ConfigTo(w.config)}}} {
		rep := &leasev1.Report{}
		if err := errors.Join(lease.Write(c, o), lease.Read(c, rep)); err != nil || rep.Refused != "" {
			t.Fatal(err, rep.Refused)
		}
	}
	w.peers = append(w.peers, guard.Peer{Witness: id, Address: guards.Addr().String(), Key: x.Key()})
}

func silent() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// machine has a guard, an agent that does what it is asked, and a volume that only the guard mounts.
type machine struct {
	*town
	name   string
	dir    string
	g      *guard.Guard
	end    func()
	stuck  bool // what runs cannot be killed
	resets chan string
	tells  chan step.Tell
}

func (w *town) machine(name string) *machine {
	m := &machine{town: w, name: name, dir: w.t.TempDir(), resets: make(chan string, 1), tells: make(chan step.Tell, 4096)}
	m.start()
	w.t.Cleanup(func() { m.end() })
	m.g.Witnesses(w.config, w.peers)
	return m
}

func (m *machine) start() {
	m.t.Helper()
	var err error
	m.g, err = guard.Open(guard.Config{Dir: m.dir, Profile: quick, Boot: "boot-1", Identity: m.ids[m.name], Actuator: m, Log: silent(),
		Tell: m.tell, Reset: func(why string) { m.resets <- why }})
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	g := m.g
	go func() { ended <- g.Run(ctx) }()
	m.end = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			m.t.Error(err)
		}
	})
}

func (m *machine) tell(t step.Tell) {
	if t.Phase == step.Stopping && !m.stuck {
		go m.g.Stopped(t.Claim, t.Token)
	}
	m.tells <- t
}

// until waits until a claim is told to be in a phase.
func (m *machine) until(phase step.Phase, t claims.Token) {
	m.t.Helper()
	limit := time.After(time.Minute)
	for {
		select {
		case told := <-m.tells:
			if told.Token == t && told.Phase == phase && !told.Refused {
				return
			}
		case why := <-m.resets:
			m.t.Fatalf("%s is reset: %s", m.name, why)
		case <-limit:
			m.t.Fatalf("%s did not get to be %v", m.name, phase)
		}
	}
}

// reset waits until the machine is reset, and says all of this.
func (m *machine) reset(says ...string) {
	m.t.Helper()
	select {
	case why := <-m.resets:
		for _, text := range says {
			if !strings.Contains(why, text) {
				m.t.Errorf("it says %q, and not %q", why, text)
			}
		}
	case <-time.After(time.Minute):
		m.t.Error("it is not reset")
	}
}

func (m *machine) want(n uint64) {
	m.t.Helper()
	if err := m.g.Want(db, token(n)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) Mount(context.Context, claims.ID, claims.Token) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.writer != "" && m.writer != m.name {
		m.worst = fmt.Sprintf("%s mounts what %s can still write", m.name, m.writer)
	}
	m.writer = m.name
	return nil
}

func (m *machine) Arm(context.Context, claims.ID, claims.Token) error { return nil }

func (m *machine) Clear(context.Context, claims.ID, claims.Token) error {
	if m.stuck {
		return errors.New("process 4711 does not end")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.writer == m.name {
		m.writer = ""
	}
	return nil
}

func (m *machine) Seal(context.Context, claims.ID, claims.Token) error { return nil }

// TestHandedOver: what one machine gives back the next one has at once, and not only after the waiting time.
func TestHandedOver(t *testing.T) {
	w := newTown(t, "m1", "m2")
	a, b := w.machine("m1"), w.machine("m2")
	a.want(10)
	a.until(step.Armed, token(10))
	b.want(11)
	b.until(step.Asking, token(11))
	a.g.Release(db, token(10))
	a.until(step.Sealed, token(10))
	b.until(step.Armed, token(11))
}

// TestCutOff: a machine that reaches no witness ends by itself, and another one goes on, with nobody's help.
func TestCutOff(t *testing.T) {
	w := newTown(t, "m1", "m2")
	a, b := w.machine("m1"), w.machine("m2")
	a.want(10)
	a.until(step.Armed, token(10))
	b.want(11)
	nowhere := append([]guard.Peer(nil), w.peers...)
	for i := range nowhere {
		nowhere[i].Address = "127.0.0.1:1"
	}
	a.g.Witnesses(w.config, nowhere)
	a.until(step.Sealed, token(10))
	b.until(step.Armed, token(11))
}

// TestAnotherProcess: a guard that is killed is followed by one that goes on, and nothing is stopped.
func TestAnotherProcess(t *testing.T) {
	w := newTown(t, "m1")
	a := w.machine("m1")
	a.want(10)
	a.until(step.Armed, token(10))
	for range 3 {
		a.end()
		a.start()
		a.g.Witnesses(w.config, w.peers)
		a.want(10) // as an agent asks that does not know
		a.until(step.Armed, token(10))
	}
	a.g.Release(db, token(10))
	a.until(step.Sealed, token(10))
	select {
	case why := <-a.resets:
		t.Errorf("it was reset: %s", why)
	default:
	}
}

// TestNotQuiet: a machine on which something cannot be killed is reset when its lease runs out, and says so.
func TestNotQuiet(t *testing.T) {
	w := newTown(t, "m1")
	a := w.machine("m1")
	a.stuck = true
	a.want(10)
	a.until(step.Armed, token(10))
	a.g.Witnesses(w.config, nil)
	a.reset("process 4711 does not end", string(db))
}

// TestCannotSave: a guard that cannot write down what it promises does not promise it.
func TestCannotSave(t *testing.T) {
	w := newTown(t, "m1")
	a := w.machine("m1")
	a.want(10)
	a.until(step.Armed, token(10))
	if err := os.Rename(a.dir, a.dir+".away"); err != nil { // it may be writing
		t.Fatal(err)
	}
	a.reset("cannot write down")
}

// TestWhatWasLeft: what is damaged, or of another boot, is not gone on with.
func TestWhatWasLeft(t *testing.T) {
	w := newTown(t, "m1")
	a := w.machine("m1")
	a.want(10)
	a.until(step.Armed, token(10))
	a.end()
	cfg := guard.Config{Dir: a.dir, Profile: quick, Boot: "boot-2", Identity: a.ids["m1"], Actuator: a, Log: silent(), Tell: a.tell, Reset: func(string) {}}
	if _, err := guard.Open(cfg); err == nil || !strings.Contains(err.Error(), `of boot "boot-1"`) {
		t.Errorf("of another boot: %v", err)
	}
	path := filepath.Join(a.dir, "state")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-3] ^= 4
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Boot = "boot-1"
	if _, err := guard.Open(cfg); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged file: %v", err)
	}
}
