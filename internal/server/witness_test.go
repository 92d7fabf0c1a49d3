package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/lease"
	"github.com/argosy-cluster/argosy/internal/volumesource"
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

// beside starts a witness, which waits until the server that it stands beside says who it is.
func beside(t *testing.T, dir string) *witnessProcess {
	t.Helper()
	w := &witnessProcess{t: t, dir: dir, addr: freePort(t)}
	w.start()
	t.Cleanup(w.kill)
	return w
}

// leased is a server whose witness runs beside it and decides about leases.
func leased(t *testing.T, change ...func(*Config)) (*cluster, *witnessProcess) {
	t.Helper()
	dir := shortDir(t)
	w := beside(t, dir)
	settings := DefaultSettings()
	settings.LeaseProfile = "fast"
	c := own(t, dir, func(cfg *Config) {
		cfg.WitnessAdvertise, cfg.Settings = w.addr, settings
		for _, f := range change {
			f(cfg)
		}
	})
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

// A volume on shared storage: refused until a machine has a guard; granted with a token that the real witness takes; not released by
// force while that hears of the holder, and released when it does not, with an entry in history and a later token for the next.
func TestSharedVolume(t *testing.T) {
	c, _ := leased(t)
	volumes := argosyv1connect.NewVolumeServiceClient(c.local.hc, c.local.base)
	s := spec("shop", 1)
	s.Stacks[0].Volumes = []*argosyv1.VolumeSpec{{Name: "data", Class: argosyv1.VolumeClass_VOLUME_CLASS_TIMED_DETECTED,
		Device: &argosyv1.DeviceSource{Device: "LABEL=shop-{replica}", Filesystem: "ext4"}}}
	_, err := c.local.apps.Apply(t.Context(), connect.NewRequest(&argosyv1.ApplyRequest{Spec: s}))
	wantError(t, err, connect.CodeFailedPrecondition, "no machine has a guard")
	m := c.machine(t, facts())
	m.connect(t)
	g := m.guarded(t, volumesource.Reach("LABEL=shop-1"))
	c.until(t, "a machine has a guard, so that it is taken", func() bool {
		_, err := c.local.apps.Apply(t.Context(), connect.NewRequest(&argosyv1.ApplyRequest{Spec: s}))
		return err == nil
	})
	granted := func() *argosyv1.FencingToken {
		t.Helper()
		for limit := time.After(30 * time.Second); ; {
			select {
			case a := <-m.given:
				if len(a.GetClaims()) == 1 && a.Claims[0].Token != nil {
					return a.Claims[0].Token
				}
			case <-limit:
				t.Fatalf("the machine is granted nothing\n%s", c.log)
			}
		}
	}
	token := granted()
	item := func(k *argosyv1.FencingToken) *leasev1.Item {
		return &leasev1.Item{Claim: "default/shop/web.1/data", Token: &leasev1.Stamp{Generation: k.Generation, Revision: k.Revision}, Intent: leasev1.Intent_INTENT_ACQUIRE}
	}
	acquire := func(k *argosyv1.FencingToken) bool {
		ack, err := g.ask(t.Context(), "one", item(k))
		return err == nil && ack.Refused == "" && ack.Verdicts[0].Ok
	}
	status := func() *argosyv1.VolumeStatus {
		t.Helper()
		res, err := volumes.ListVolumes(t.Context(), connect.NewRequest(&argosyv1.ListVolumesRequest{}))
		if err != nil || len(res.Msg.Volumes) != 1 {
			t.Fatal(err, res)
		}
		return res.Msg.Volumes[0]
	}
	c.until(t, "the guard has the lease, and the leader sees it", func() bool {
		return acquire(token) && status().State == argosyv1.VolumeState_VOLUME_STATE_HELD
	})
	release := &argosyv1.ReleaseVolumeRequest{Replica: &argosyv1.ReplicaKey{App: "shop", Stack: "web", Number: 1}, Name: "data", Force: true, Reason: "it burned down", IdempotencyKey: "r1"}
	_, err = volumes.ReleaseVolume(t.Context(), connect.NewRequest(release))
	wantError(t, err, connect.CodeFailedPrecondition, "ago and may still write: a claim is given up only after 4.5 s of silence, which is in")
	bob := c.user(t, "bob", "operator")
	_, err = argosyv1connect.NewVolumeServiceClient(bob.hc, bob.base).ReleaseVolume(t.Context(), connect.NewRequest(release))
	wantError(t, err, connect.CodePermissionDenied, "")
	c.until(t, "it is released once its holder was silent for long enough", func() bool {
		_, err := volumes.ReleaseVolume(t.Context(), connect.NewRequest(release))
		return err == nil
	})
	next := granted()
	if next.Generation != token.Generation || next.Revision <= token.Revision {
		t.Errorf("after token %v it is granted with %v", token, next)
	}
	if acquire(token) {
		t.Error("what was fenced is held again")
	}
	until(t, "history has followed", func(ctx context.Context) error {
		events, err := c.local.cluster.ListEvents(ctx, connect.NewRequest(&argosyv1.ListEventsRequest{App: "shop"}))
		if err != nil {
			return err
		}
		defer events.Close()
		text := ""
		for events.Receive() {
			for _, e := range events.Msg().Events {
				text += e.To + ": " + e.Cause + "\n"
			}
		}
		if !strings.Contains(text, "volume data released by force: local forced claim default/shop/web.1/data, held by "+m.m.Name) || !strings.Contains(text, ": it burned down") {
			return fmt.Errorf("it says nothing of the release:\n%s", text)
		}
		return events.Err()
	})
}
