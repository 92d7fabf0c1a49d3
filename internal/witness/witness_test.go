package witness_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/lease"
	"github.com/argosy-cluster/argosy/internal/witness"
)

// clock is one that tests set.
type clock struct{ now atomic.Int64 }

func (c *clock) Now() time.Duration   { return time.Duration(c.now.Load()) }
func (c *clock) pass(d time.Duration) { c.now.Add(int64(d)) }

// rig is a witness that runs, with the guards and the server that speak to it.
type rig struct {
	t      testing.TB
	dir    string
	clock  *clock
	w      *witness.Witness
	listen net.Listener
	stop   func() error
	guards map[string]*lease.Identity
	server net.Conn
}

var epoch = claims.Epoch{Generation: 1, Revision: 1}

// start starts a witness that votes: it has its first configuration, and W has passed since.
func start(t testing.TB) *rig {
	r := &rig{t: t, dir: t.TempDir(), clock: &clock{}, guards: map[string]*lease.Identity{}}
	r.restart()
	for _, m := range []string{"m1", "m2"} {
		id, err := lease.NewIdentity()
		if err != nil {
			t.Fatal(err)
		}
		r.guards[m] = id
	}
	r.order(&leasev1.Order{Order: &leasev1.Order_Machines{Machines: r.machines("m1", "m2")}})
	r.order(&leasev1.Order{Order: &leasev1.Order_Configure{Configure: lease.ConfigTo(claims.Config{Epoch: epoch, Members: []claims.Witness{"s1"}})}})
	r.clock.pass(claims.Default().Wait)
	return r
}

func (r *rig) machines(names ...string) *leasev1.Machines {
	list := &leasev1.Machines{}
	for _, m := range names {
		list.Machines = append(list.Machines, &leasev1.Machine{Id: m, Key: r.guards[m].Pin[:]})
	}
	return list
}

func (r *rig) restart() {
	r.t.Helper()
	r.end()
	var err error
	if r.w, err = witness.Open(witness.Config{Dir: r.dir, ID: "s1", Profile: claims.Default(), Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Clock: r.clock}); err != nil {
		r.t.Fatal(err)
	}
	socket := filepath.Join(r.t.TempDir(), "s")
	server, err := witness.Listen(socket)
	if err != nil {
		r.t.Fatal(err)
	}
	if r.listen, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	w, l := r.w, r.listen
	go func() { ended <- w.Run(ctx, l, server) }()
	r.stop = func() error { cancel(); err := <-ended; _ = w.Close(); return err }
	r.t.Cleanup(r.end)
	if r.server, err = net.Dial("unix", socket); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) end() {
	if r.stop == nil {
		return
	}
	_ = r.server.Close()
	if err := r.stop(); err != nil {
		r.t.Errorf("the witness ended: %v", err)
	}
	r.stop = nil
}

func (r *rig) order(o *leasev1.Order) *leasev1.Report {
	r.t.Helper()
	rep := &leasev1.Report{}
	if err := lease.Write(r.server, o); err != nil {
		r.t.Fatal(err)
	}
	if err := lease.Read(r.server, rep); err != nil {
		r.t.Fatal(err)
	}
	return rep
}

func (r *rig) look() *leasev1.Report {
	return r.order(&leasev1.Order{Order: &leasev1.Order_Look{Look: &leasev1.Look{}}})
}

// dial connects a guard.
func (r *rig) dial(as *lease.Identity) (*tls.Conn, error) {
	raw, err := net.Dial("tcp", r.listen.Addr().String())
	if err != nil {
		return nil, err
	}
	r.t.Cleanup(func() { raw.Close() })
	c := tls.Client(raw, as.Dial(r.w.Key()))
	return c, c.HandshakeContext(context.Background())
}

// ask is a round of one claim.
func (r *rig) ask(m string, session string, token uint64, intent leasev1.Intent, round uint64) (*leasev1.Verdict, error) {
	c, err := r.dial(r.guards[m])
	if err != nil {
		return nil, err
	}
	defer c.Close()
	msg := &leasev1.Renewal{Session: session, Epoch: &leasev1.Stamp{Generation: 1, Revision: 1}, Round: round,
		Items: []*leasev1.Item{{Claim: "default/shop/db.1/data", Token: &leasev1.Stamp{Generation: 1, Revision: token}, Intent: intent}}}
	if err := lease.Write(c, msg); err != nil {
		return nil, err
	}
	ack := &leasev1.Ack{}
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if err := lease.Read(c, ack); err != nil {
		return nil, err
	}
	if ack.Refused != "" {
		return nil, fmt.Errorf("refused: %s", ack.Refused)
	}
	return ack.Verdicts[0], nil
}

func (r *rig) must(ok bool, m, session string, token uint64, intent leasev1.Intent, round uint64) *leasev1.Verdict {
	r.t.Helper()
	v, err := r.ask(m, session, token, intent, round)
	if err != nil || v.Ok != ok {
		r.t.Fatalf("%s with token %d: %v, %v; want ok %v", m, token, v, err, ok)
	}
	return v
}

// TestLeaseSurvives: what a witness said yes to it still knows after it was restarted, and gives away only after the waiting
// time, counted from when it came back.
func TestLeaseSurvives(t *testing.T) {
	r := start(t)
	r.must(true, "m1", "one", 10, leasev1.Intent_INTENT_ACQUIRE, 1)
	r.clock.pass(time.Hour)
	r.restart()
	r.clock.pass(claims.Default().Wait - time.Second)
	if v := r.must(false, "m2", "two", 11, leasev1.Intent_INTENT_ACQUIRE, 1); !strings.Contains(v.Why, "held by m1") || !strings.Contains(v.Why, "1.0 s more") {
		t.Errorf("it says why: %q", v.Why)
	}
	if rep := r.look(); len(rep.Sights) != 1 || rep.Sights[0].Machine != "m1" || time.Duration(rep.Sights[0].Age) != claims.Default().Wait-time.Second {
		t.Errorf("the server is told %v", rep)
	}
	r.clock.pass(time.Second)
	r.must(true, "m2", "two", 11, leasev1.Intent_INTENT_ACQUIRE, 2)
	r.must(false, "m1", "one", 10, leasev1.Intent_INTENT_CONTINUE, 2)
	r.must(true, "m2", "two", 11, leasev1.Intent_INTENT_RELEASE, 3)
	r.restart()
	r.must(true, "m1", "three", 12, leasev1.Intent_INTENT_ACQUIRE, 1)
}

// TestTableIsLost: a witness whose table is damaged has no vote for the waiting time, and says so.
func TestTableIsLost(t *testing.T) {
	r := start(t)
	r.must(true, "m1", "one", 10, leasev1.Intent_INTENT_ACQUIRE, 1)
	r.end()
	for _, name := range []string{"leases-0", "leases-1"} {
		path := filepath.Join(r.dir, name)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b[40] ^= 1
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.restart()
	if rep := r.look(); !rep.Silent {
		t.Errorf("it votes: %v", rep)
	}
	config := &leasev1.Order{Order: &leasev1.Order_Configure{Configure: lease.ConfigTo(claims.Config{Epoch: epoch, Members: []claims.Witness{"s1"}})}}
	r.order(config)
	r.clock.pass(claims.Default().Wait - time.Millisecond)
	if _, err := r.ask("m2", "two", 11, leasev1.Intent_INTENT_ACQUIRE, 1); err == nil || !strings.Contains(err.Error(), "this server's table is new") {
		t.Errorf("it answers %v", err)
	}
	r.clock.pass(time.Millisecond)
	r.must(true, "m2", "two", 11, leasev1.Intent_INTENT_ACQUIRE, 2)
}

// TestStrangers: whoever has no key that the server told is not spoken to, nor one whose machine was removed.
func TestStrangers(t *testing.T) {
	r := start(t)
	stranger, err := lease.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	r.guards["stranger"] = stranger
	if v, err := r.ask("stranger", "one", 10, leasev1.Intent_INTENT_ACQUIRE, 1); err == nil {
		t.Errorf("a stranger is told %v", v)
	}
	r.order(&leasev1.Order{Order: &leasev1.Order_Machines{Machines: r.machines("m2")}})
	if v, err := r.ask("m1", "one", 10, leasev1.Intent_INTENT_ACQUIRE, 1); err == nil {
		t.Errorf("a removed machine is told %v", v)
	}
	r.restart()                         // the server is away: those that it told last are still known
	r.clock.pass(claims.Default().Wait) // the table was new, and nobody had heard its silence end
	r.must(true, "m2", "two", 10, leasev1.Intent_INTENT_ACQUIRE, 1)
	if rep := r.order(&leasev1.Order{Order: &leasev1.Order_Machines{Machines: &leasev1.Machines{Machines: []*leasev1.Machine{{Id: "m1", Key: []byte("short")}}}}}); rep.Refused == "" {
		t.Error("a key of five bytes is taken in")
	}
	if rep := r.order(&leasev1.Order{}); !strings.Contains(rep.Refused, "does not know such an order") {
		t.Errorf("an order of a later release: %v", rep)
	}
}

// TestHostileGuard: nothing that a guard, or who pretends to be one, sends keeps others from being answered.
func TestHostileGuard(t *testing.T) {
	r := start(t)
	raw, err := net.Dial("tcp", r.listen.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if _, err := raw.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"\xff\xff\xff\xff", "\x00\x00\x00\x03\xff\xff\xff", "\x00\x00\x00\x00"} {
		c, err := r.dial(r.guards["m1"])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	r.must(true, "m2", "two", 10, leasev1.Intent_INTENT_ACQUIRE, 1)
}

// TestTableCannotBeWritten: what is not on disk is not said, and the server is told why guards hear nothing.
func TestTableCannotBeWritten(t *testing.T) {
	r := start(t)
	r.must(true, "m1", "one", 10, leasev1.Intent_INTENT_ACQUIRE, 1)
	r.w.BreakFiles()
	c, err := r.dial(r.guards["m1"])
	if err != nil {
		t.Fatal(err)
	}
	round := func(claim string, token uint64, intent leasev1.Intent, n uint64) *leasev1.Renewal {
		return &leasev1.Renewal{Session: "one", Epoch: &leasev1.Stamp{Generation: 1, Revision: 1}, Round: n,
			Items: []*leasev1.Item{{Claim: claim, Token: &leasev1.Stamp{Generation: 1, Revision: token}, Intent: intent}}}
	}
	// Of these two only the second needs nothing written.
	for _, m := range []*leasev1.Renewal{round("other", 11, leasev1.Intent_INTENT_ACQUIRE, 2), round("default/shop/db.1/data", 10, leasev1.Intent_INTENT_CONTINUE, 3)} {
		if err := lease.Write(c, m); err != nil {
			t.Fatal(err)
		}
	}
	ack := &leasev1.Ack{}
	if err := lease.Read(c, ack); err != nil || ack.Round != 3 || !ack.Verdicts[0].Ok {
		t.Errorf("the first answer is %v, %v", ack, err)
	}
	if rep := r.look(); rep.Trouble == "" || len(rep.Sights) != 1 {
		t.Errorf("the server is told %v", rep)
	}
}

// TestOneForEachDirectory: two witnesses never share a table.
func TestOneForEachDirectory(t *testing.T) {
	r := start(t)
	_, err := witness.Open(witness.Config{Dir: r.dir, ID: "s1", Profile: claims.Default(), Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err == nil || !strings.Contains(err.Error(), "stop that one first") {
		t.Errorf("a second one: %v", err)
	}
}
