package leases_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/lease"
	"github.com/argosy-cluster/argosy/internal/leases"
	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/memory"
	"github.com/argosy-cluster/argosy/internal/witness"
	"google.golang.org/protobuf/proto"
)

// beside runs a witness for one server until it is stopped.
func beside(t *testing.T, dir, id string) (stop func()) {
	t.Helper()
	w, err := witness.Open(witness.Config{Dir: filepath.Join(dir, "w"), ID: claims.Witness(id), Profile: claims.Fast(), Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	server, err := witness.Listen(filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	guards, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = w.Run(ctx, guards, server) }()
	stop = func() { cancel(); <-ended; _ = w.Close() }
	t.Cleanup(stop)
	return stop
}

func put(t *testing.T, st store.Store, key string, m proto.Message) {
	t.Helper()
	op, err := store.Put(key, m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Commit(t.Context(), store.Txn{Ops: []store.Op{op}}); err != nil {
		t.Fatal(err)
	}
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for limit := time.Now().Add(30 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("never: " + what)
		}
	}
}

// The witness comes after the server, and comes again: it is told what is in the store each time, and what changes.
func TestKeeper(t *testing.T) {
	dir, err := os.MkdirTemp("", "argosy") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	st := memory.New()
	guard, err := lease.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	put(t, st, store.MachineKey("m1"), &argosyv1.Machine{Id: "m1", GuardKey: guard.Pin[:]})
	put(t, st, store.LeasesKey, &storev1.Leases{Epoch: &argosyv1.FencingToken{Generation: 1, Revision: 3}, Members: []string{"s1"}})
	looks := make(chan claims.Sights, 1000)
	k := leases.New(leases.Config{Socket: filepath.Join(dir, "s"), Store: st, Server: "s1", Leading: func() bool { return true },
		Looked: func(s claims.Sights) { looks <- s }, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = k.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	if s := <-looks; !strings.Contains(s.Mute, "is argosy-witness running beside this server?") {
		t.Errorf("without a witness, the leader hears %q", s.Mute)
	}
	stop := beside(t, dir, "s1")
	knows := func(revision uint64) func() bool {
		return func() bool { return k.Status().Report.GetConfig().GetEpoch().GetRevision() == revision }
	}
	until(t, "it knows the set of servers", knows(3))
	put(t, st, store.LeasesKey, &storev1.Leases{Epoch: &argosyv1.FencingToken{Generation: 1, Revision: 9}, Members: []string{"s1", "s2"}})
	until(t, "it knows the later set", knows(9))
	stop()
	until(t, "it is missed", func() bool { return k.Status().Report == nil })
	stop = beside(t, dir, "s1")
	until(t, "it is back", knows(9))
	stop()
	beside(t, dir+"/", "s1") // the file of guards outlives it
	text, err := os.ReadFile(filepath.Join(dir, "w", "machines"))
	if err != nil || !strings.Contains(string(text), "m1") {
		t.Errorf("it was not told of the guard: %q, %v", text, err)
	}
}

// The witness of another server is told nothing.
func TestOthersWitness(t *testing.T) {
	dir, err := os.MkdirTemp("", "argosy")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	st := memory.New()
	put(t, st, store.LeasesKey, &storev1.Leases{Epoch: &argosyv1.FencingToken{Generation: 1, Revision: 3}, Members: []string{"s1"}})
	beside(t, dir, "s2")
	k := leases.New(leases.Config{Socket: filepath.Join(dir, "s"), Store: st, Server: "s1", Leading: func() bool { return true }, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = k.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	until(t, "it is found to be another's", func() bool { return strings.Contains(k.Status().Why, "stands beside server") })
	if k.Status().Report != nil {
		t.Error("another server's witness counts as this one's")
	}
}

// Who does not say whose witness it is, is told nothing.
func TestNamelessWitness(t *testing.T) {
	dir, err := os.MkdirTemp("", "argosy")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := lease.Listen(filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan int, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		n := 0
		for lease.Read(c, &leasev1.Order{}) == nil {
			if n++; n == 1 {
				_, err = c.Write([]byte{0, 0, 0, 1, 0xff}) // no report
			} else {
				err = lease.Write(c, &leasev1.Report{Witness: "s1"})
			}
			if err != nil {
				break
			}
		}
		heard <- n
	}()
	k := leases.New(leases.Config{Socket: filepath.Join(dir, "s"), Store: memory.New(), Server: "s1", Leading: func() bool { return true }, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	_, err = k.Order(t.Context(), &leasev1.Order{Order: &leasev1.Order_Fence{Fence: &leasev1.Fence{Session: "x"}}})
	if err == nil || !strings.Contains(err.Error(), "broke off") {
		t.Errorf("it was told something: %v", err)
	}
	_ = l.Close()
	if n := <-heard; n != 1 {
		t.Errorf("it heard %d orders", n)
	}
}
