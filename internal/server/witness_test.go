package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/lease"
)

var witnessBuilt struct {
	once sync.Once
	path string
	err  error
}

// witnessPath is the real argosy-witness.
func witnessPath(t *testing.T) string {
	t.Helper()
	witnessBuilt.once.Do(func() {
		dir, err := os.MkdirTemp("", "argosy-witness")
		if err != nil {
			witnessBuilt.err = err
			return
		}
		witnessBuilt.path = filepath.Join(dir, "argosy-witness")
		if out, err := exec.Command("go", "build", "-o", witnessBuilt.path, "../../cmd/argosy-witness").CombinedOutput(); err != nil {
			witnessBuilt.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if witnessBuilt.err != nil {
		t.Fatal(witnessBuilt.err)
	}
	return witnessBuilt.path
}

// witness is an argosy-witness beside a server under test.
type witnessProcess struct {
	t         *testing.T
	dir, addr string
	cmd       *exec.Cmd
}

func (w *witnessProcess) start() {
	w.t.Helper()
	w.cmd = exec.Command(witnessPath(w.t), "--server-dir", filepath.Join(w.dir, "data"), "--listen", w.addr, "--socket", filepath.Join(w.dir, "witness.sock"))
	w.cmd.Stderr = os.Stderr
	if err := w.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *witnessProcess) kill() {
	_ = w.cmd.Process.Kill()
	_ = w.cmd.Wait()
}

// leased is a server whose witness runs beside it and decides about leases.
func leased(t *testing.T) (*cluster, *witnessProcess) {
	t.Helper()
	dir := shortDir(t)
	addr, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	w := &witnessProcess{t: t, dir: dir, addr: addr}
	w.start() // which waits until the server says who it is
	t.Cleanup(w.kill)
	settings := DefaultSettings()
	settings.LeaseProfile = "fast"
	c := own(t, dir, func(cfg *Config) { cfg.WitnessAdvertise, cfg.Settings = addr, settings })
	c.until(t, "the witness votes", func() bool {
		s := c.listed(t)
		h := s.Servers[0].Health.GetWitness()
		return len(s.LeaseMembers) == 1 && h != nil && !h.Silent && h.Epoch.GetGeneration() > 0
	})
	return c, w
}

func (c *cluster) until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for limit := time.Now().Add(time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("never: %s\n%s", what, c.log)
		}
	}
}

func (c *cluster) listed(t *testing.T) *argosyv1.ListServersResponse {
	t.Helper()
	res, err := argosyv1connect.NewServerServiceClient(c.local.hc, c.local.base).ListServers(t.Context(), connect.NewRequest(&argosyv1.ListServersRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	return res.Msg
}

// guardOf is a machine's guard, as far as the servers know it.
type guardOf struct {
	id     *lease.Identity
	told   *argosyv1.LeaseServers
	conn   *tls.Conn
	rounds uint64
}

// guarded has a machine say that it has a guard, and that it reaches some devices, and waits until it was told whom to ask.
func (f *fakeAgent) guarded(t *testing.T, devices ...uint64) *guardOf {
	t.Helper()
	id, err := lease.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(devices)
	if err := f.send(&argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Storage{Storage: &argosyv1.StorageReport{
		Guard: &argosyv1.Guard{Key: id.Pin[:], Version: "test", Watchdog: "softdog"}, Devices: devices}}}); err != nil {
		t.Fatal(err)
	}
	select {
	case told := <-f.leases:
		return &guardOf{id: id, told: told}
	case <-time.After(30 * time.Second):
		t.Fatal("the machine is not told whom its guard asks for leases")
		return nil
	}
}

// ask sends one renewal to the first of the witnesses, and returns its answer or why there is none.
func (g *guardOf) ask(ctx context.Context, session string, items ...*leasev1.Item) (*leasev1.Ack, error) {
	if g.conn == nil {
		pin, err := lease.PinOf(g.told.Servers[0].Key)
		if err != nil {
			return nil, err
		}
		d := tls.Dialer{Config: g.id.Dial(pin)}
		c, err := d.DialContext(ctx, "tcp", g.told.Servers[0].Address)
		if err != nil {
			return nil, err
		}
		g.conn = c.(*tls.Conn)
	}
	g.rounds++
	ack := &leasev1.Ack{}
	err := lease.Write(g.conn, &leasev1.Renewal{Session: session, Round: g.rounds, Items: items,
		Epoch: &leasev1.Stamp{Generation: g.told.Epoch.Generation, Revision: g.told.Epoch.Revision}})
	if err == nil {
		err = lease.Read(g.conn, ack)
	}
	if err != nil {
		_ = g.conn.Close()
		g.conn = nil
	}
	return ack, err
}

// A server's witness is a process of its own: it learns from the server whom it speaks to, and goes on answering guards when the
// server is gone; the server finds another process in its place.
func TestWitness(t *testing.T) {
	c, w := leased(t)
	m := c.machine(t, facts())
	m.connect(t)
	g := m.guarded(t)
	if g.told.Profile != "fast" || len(g.told.Members) != 1 || len(g.told.Servers) != 1 || g.told.Servers[0].Address != w.addr {
		t.Fatalf("a guard is told %v", g.told)
	}
	claim := &leasev1.Item{Claim: "default/shop/db.1/data", Token: &leasev1.Stamp{Generation: 1, Revision: 1}, Intent: leasev1.Intent_INTENT_ACQUIRE}
	agrees := func() bool {
		ack, err := g.ask(t.Context(), "one", claim)
		return err == nil && ack.Refused == "" && ack.Verdicts[0].Ok
	}
	c.until(t, "the witness knows the guard and agrees", agrees)

	w.kill()
	c.until(t, "the server misses its witness", func() bool { return c.listed(t).Servers[0].Health.GetWitness() == nil })
	w.start()
	c.until(t, "the server finds it again", func() bool { return c.listed(t).Servers[0].Health.GetWitness().GetEpoch() != nil })
	c.until(t, "guards do, too", agrees)

	c.stop()
	for range 3 {
		if !agrees() {
			t.Fatal("without the server, the witness does not answer guards")
		}
	}
	if again := own(t, c.dir, func(cfg *Config) { cfg.WitnessAdvertise = w.addr }); again.listed(t).LeaseMembers[0] != g.told.Members[0] {
		t.Error("the set of servers that decide about leases is another after a restart")
	}
}
