package embedded_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/embedded"
	"github.com/argosy-cluster/argosy/internal/store/etcd"
	"github.com/argosy-cluster/argosy/internal/store/storetest"
)

func start(t testing.TB, dir string) *embedded.Member {
	t.Helper()
	m, err := embedded.Start(t.Context(), embedded.Config{Dir: dir, Name: "s1", Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Stop)
	return m
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Subject {
		t.Parallel()
		m := start(t, t.TempDir())
		return storetest.Subject{
			Store: etcd.New(m.Client()),
			Compact: func(ctx context.Context, rev int64) error {
				_, err := m.Client().Compact(ctx, rev, clientv3.WithCompactPhysical())
				return err
			},
			Break: m.Stop,
		}
	})
}

// A server on an empty directory accepts an apply within two seconds; the store has a part of them.
func TestStartIsQuick(t *testing.T) {
	begin := time.Now()
	m := start(t, t.TempDir())
	s := etcd.New(m.Client())
	term, _, err := store.AcquireTerm(t.Context(), s, "s1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), store.Txn{Term: term, Ops: []store.Op{{Key: "/k", Value: []byte("v")}}}); err != nil {
		t.Fatal(err)
	}
	took := time.Since(begin)
	t.Logf("first commit %v after the start", took)
	if took > time.Minute { // how quick it is, make bench tells
		t.Errorf("it took %v", took)
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	m := start(t, dir)
	s := etcd.New(m.Client())
	rev, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: "/k", Value: []byte("v")}}})
	if err != nil {
		t.Fatal(err)
	}
	m.Stop()
	m.Stop() // again is harmless
	snap, err := etcd.New(start(t, dir).Client()).List(t.Context(), "/k")
	if err != nil || len(snap.KVs) != 1 || snap.KVs[0].ModRevision != rev || string(snap.KVs[0].Value) != "v" {
		t.Fatalf("after a restart: %+v, %v; want the value of revision %d", snap, err, rev)
	}
}

func TestLead(t *testing.T) {
	m := start(t, t.TempDir())
	s := etcd.New(m.Client())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var terms []store.Leadership
	err := store.Lead(ctx, s, m, "s1", func(ctx context.Context, l store.Leadership) error {
		terms = append(terms, l)
		switch len(terms) {
		case 1: // another server takes over behind our back
			if _, _, err := store.AcquireTerm(ctx, s, "s2", time.Now()); err != nil {
				return err
			}
			_, err := s.Commit(ctx, store.Txn{Term: l.Term, Ops: []store.Op{{Key: "/k", Value: []byte("late")}}})
			return err
		case 2:
			_, err := s.Commit(ctx, store.Txn{Term: l.Term, Ops: []store.Op{{Key: "/k", Value: []byte("v")}}})
			if err != nil {
				return err
			}
			go m.Stop()
			<-ctx.Done() // leadership ends with the member
			cancel()
			return ctx.Err()
		}
		return errors.New("led a third time")
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("Lead ended with %v", err)
	}
	if len(terms) != 2 || terms[0].Number != 1 || terms[1].Number != 3 || terms[1].Term <= terms[0].Term {
		t.Fatalf("led in %+v", terms)
	}
}

func TestRefusesForeignDirectories(t *testing.T) {
	write := func(t *testing.T, dir, name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cases := []struct {
		name    string
		prepare func(t *testing.T, dir string)
		says    string
	}{
		{"something else's", func(t *testing.T, dir string) { write(t, dir, "notes.txt", "mine") }, "notes.txt"},
		{"a later layout", func(t *testing.T, dir string) {
			write(t, dir, "store.json", `{"layout": 7, "etcd": "3.7.3", "member": "s1"}`)
		}, "layout 7"},
		{"a later etcd", func(t *testing.T, dir string) {
			write(t, dir, "store.json", `{"layout": 1, "etcd": "3.9.0", "member": "s1"}`)
		}, "etcd 3.9.0"},
		{"a much earlier etcd", func(t *testing.T, dir string) {
			write(t, dir, "store.json", `{"layout": 1, "etcd": "3.4.0", "member": "s1"}`)
		}, "etcd 3.4.0"},
		{"nonsense for a version", func(t *testing.T, dir string) {
			write(t, dir, "store.json", `{"layout": 1, "etcd": "x", "member": "s1"}`)
		}, "etcd x"},
		{"another server's", func(t *testing.T, dir string) {
			write(t, dir, "store.json", `{"layout": 1, "etcd": "3.7.3", "member": "s2"}`)
		}, "server s2"},
		{"damaged", func(t *testing.T, dir string) { write(t, dir, "store.json", `{"lay`) }, "store.json"},
		{"in use", func(t *testing.T, dir string) { start(t, dir) }, "another process"},
		{"a damaged log", func(t *testing.T, dir string) {
			start(t, dir).Stop()
			wals, err := filepath.Glob(filepath.Join(dir, "etcd/member/wal/*.wal"))
			if err != nil || len(wals) == 0 {
				t.Fatal("no write-ahead log", err)
			}
			data, err := os.ReadFile(wals[0])
			if err != nil {
				t.Fatal(err)
			}
			for i := range 200 {
				data[40+i] ^= 0x5a
			}
			write(t, filepath.Dir(wals[0]), filepath.Base(wals[0]), string(data))
		}, "starting the store in"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			c.prepare(t, dir)
			m, err := embedded.Start(t.Context(), embedded.Config{Dir: dir, Name: "s1", Log: slog.New(slog.DiscardHandler)})
			if err == nil {
				m.Stop()
				t.Fatal("it was accepted")
			}
			if !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), dir) {
				t.Fatalf("%q does not name %q and the directory", err, c.says)
			}
			t.Log(err)
		})
	}
}
