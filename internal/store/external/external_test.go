package external

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"

	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/etcd"
	"github.com/argosy-cluster/argosy/internal/store/storetest"
	"github.com/argosy-cluster/argosy/test/etcdserver"
)

func start(t testing.TB, o etcdserver.Options) *etcdserver.Etcd {
	t.Helper()
	o.Dir = t.TempDir()
	srv, err := etcdserver.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Stop)
	return srv
}

func config(t testing.TB, srv *etcdserver.Etcd, name string) Config {
	t.Helper()
	return Config{Endpoints: []string{srv.Endpoint}, CAFile: srv.CAFile, CertFile: srv.CertFile, KeyFile: srv.KeyFile,
		User: etcdserver.User, PasswordFile: srv.PasswordFile, Name: name, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
}

func open(t testing.TB, c Config) *Etcd {
	t.Helper()
	e, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	return e
}

func TestStore(t *testing.T) {
	srv := start(t, etcdserver.Options{Prefix: "/"})
	root, err := srv.Root()
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	stopped, n := false, 0
	storetest.Run(t, func(t *testing.T) storetest.Subject {
		if stopped {
			if err := srv.Again(); err != nil {
				t.Fatal(err)
			}
			stopped = false
		}
		n++
		c := config(t, srv, "s1")
		c.Prefix = fmt.Sprintf("/team-%d.", n)
		return storetest.Subject{
			Store: etcd.NewRemote(open(t, c).Client()),
			Compact: func(ctx context.Context, rev int64) error {
				_, err := root.Compact(ctx, rev, clientv3.WithCompactPhysical())
				return err
			},
			Break: func() { srv.Stop(); stopped = true },
		}
	})
}

// Two clusters in one etcd see nothing of each other, and none can read beside its prefix.
func TestPrefixes(t *testing.T) {
	srv := start(t, etcdserver.Options{Prefix: "/"})
	var stores []store.Store
	for _, prefix := range []string{"", "/a", "/ab"} {
		c := config(t, srv, "s")
		c.Prefix = prefix
		e := open(t, c)
		s := etcd.New(e.Client())
		if _, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: store.Root + "k", Value: []byte(prefix)}}}); err != nil {
			t.Fatal(err)
		}
		stores = append(stores, s)
	}
	for i, want := range []string{"", "/a", "/ab"} {
		snap, err := stores[i].List(t.Context(), store.Root)
		if err != nil || len(snap.KVs) != 1 || string(snap.KVs[0].Value) != want {
			t.Errorf("below %q is %v, %v", want, snap, err)
		}
	}
	root, err := srv.Root()
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	res, err := root.Get(t.Context(), "/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, kv := range res.Kvs {
		keys = append(keys, string(kv.Key))
	}
	if got := strings.Join(keys, " "); got != "/a/argosy/1/k /ab/argosy/1/k /argosy/1/k" {
		t.Errorf("etcd holds %s", got)
	}
}

// What does not work is said in a sentence, and the password in none.
func TestRefusals(t *testing.T) {
	srv := start(t, etcdserver.Options{})
	plainLimits := start(t, etcdserver.Options{Defaults: true})
	smallRequests := start(t, etcdserver.Options{Defaults: true, Change: func(c *embed.Config) { c.MaxTxnOps = 8192 }})
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const secret = "hunter two"
	for _, c := range []struct {
		name   string
		srv    *etcdserver.Etcd
		change func(*Config)
		says   string
	}{
		{"another password", srv, func(c *Config) { c.PasswordFile = file(secret) }, "does not take the password"},
		{"nobody's name", srv, func(c *Config) { c.User, c.PasswordFile = "nobody", file(secret) }, "for user nobody"},
		{"no name", srv, func(c *Config) { c.User, c.PasswordFile = "", "" }, "--store-user"},
		{"another authority", srv, func(c *Config) { c.CAFile = srv.OtherCAFile }, "not of an authority in --store-ca"},
		{"the host's authorities", srv, func(c *Config) { c.CAFile = "" }, "not of an authority in --store-ca"},
		{"no certificate", srv, func(c *Config) { c.CertFile, c.KeyFile = "", "" }, "give one with --store-cert"},
		{"a certificate of others", srv, func(c *Config) { c.CertFile, c.KeyFile = plainLimits.CertFile, plainLimits.KeyFile }, "does not take the certificate in --store-cert"},
		{"a place where it may not write", srv, func(c *Config) { c.Prefix = "/b" }, "grant-permission --prefix ROLE readwrite /b/argosy/"},
		{"nobody listens", srv, func(c *Config) { c.Endpoints = []string{"https://" + closed.Addr().String()} }, "refused"},
		{"nobody answers", srv, func(c *Config) { c.Endpoints = []string{"https://" + silent.Addr().String()} }, "does not answer within 5s"},
		{"few operations", plainLimits, func(*Config) {}, "start its members with --max-txn-ops=8192 --max-request-bytes=10485760"},
		{"small requests", smallRequests, func(*Config) {}, "takes smaller requests than the 6 MiB that are needed"},
		{"no password in the file", srv, func(c *Config) { c.PasswordFile = file("\n") }, "holds no password"},
		{"no file", srv, func(c *Config) { c.PasswordFile = "/nowhere/pw" }, "/nowhere/pw"},
		{"no authority in the file", srv, func(c *Config) { c.CAFile = file("nothing") }, "no certificate in PEM form"},
		{"half a certificate", srv, func(c *Config) { c.KeyFile = "" }, "go together"},
		{"a name without a password", srv, func(c *Config) { c.PasswordFile = "" }, "go together"},
		{"a password for all to read", srv, func(c *Config) { c.Endpoints = []string{"http://127.0.0.1:1"} }, "use https"},
		{"a password among the endpoints", srv, func(c *Config) { c.Endpoints = []string{"https://argosy:" + secret + "@127.0.0.1:1"} }, "https://HOST:PORT"},
		{"no port", srv, func(c *Config) { c.Endpoints = []string{"https://127.0.0.1"} }, "https://HOST:PORT"},
		{"a strange prefix", srv, func(c *Config) { c.Prefix = "/a\x00" }, "--store-prefix"},
		{"flags for nothing", srv, func(c *Config) { c.Endpoints = nil }, "say where it is with --store-endpoints"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config(t, c.srv, "s1")
			c.change(&cfg)
			e, err := Open(t.Context(), cfg)
			if err == nil {
				e.Stop()
				t.Fatal("it was accepted")
			}
			t.Log(err)
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("it does not say %q", c.says)
			}
			for _, word := range []string{secret, "open sesame"} {
				if strings.Contains(err.Error(), word) {
					t.Error("it says the password")
				}
			}
			if len(err.Error()) > 500 {
				t.Error("it says too much")
			}
		})
	}
}

// One endpoint of two is enough.
func TestOneOfTwoEndpoints(t *testing.T) {
	srv := start(t, etcdserver.Options{})
	c := config(t, srv, "s1")
	c.Endpoints = append([]string{"https://127.0.0.1:1"}, c.Endpoints...)
	e := open(t, c)
	if _, err := etcd.New(e.Client()).List(t.Context(), store.Root); err != nil {
		t.Fatal(err)
	}
}

func TestVersions(t *testing.T) {
	for text, says := range map[string]string{
		"3.5.3": "", "3.6.0-rc.1": "", "3.7.3": "", "3.10.0": "", "3.6": "",
		"3.4.23": "too old", "2.3.8": "too old", "3.5.2": "damage", "4.0.0": "does not know", "": "none of etcd's", "x.y": "none of etcd's", "3": "none of etcd's",
	} {
		err := checkVersion(text)
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
}

// Two servers: one leads; what ends its lease, its own wish or somebody who removes its key, has the other lead, and its
// transactions are refused from then on.
func TestElection(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	srv := start(t, etcdserver.Options{})
	type term struct {
		who string
		store.Leadership
	}
	terms := make(chan term)
	stores := map[string]*Etcd{}
	for _, name := range []string{"s1", "s2"} {
		e := open(t, config(t, srv, name))
		stores[name] = e
		go func() {
			_ = store.Lead(ctx, etcd.New(e.Client()), e, name, func(ctx context.Context, l store.Leadership) error {
				select {
				case terms <- term{name, l}:
				case <-ctx.Done():
				}
				<-ctx.Done()
				return ctx.Err()
			})
		}()
	}
	next := func() term {
		t.Helper()
		select {
		case x := <-terms:
			return x
		case <-ctx.Done():
			t.Fatal("nobody leads")
			return term{}
		}
	}
	other := map[string]string{"s1": "s2", "s2": "s1"}
	seen := func(who string) {
		t.Helper()
		for name, e := range stores {
			for e.Leader() != who {
				changed := e.LeaderChanged()
				if e.Leader() == who {
					break
				}
				select {
				case <-changed:
				case <-ctx.Done():
					t.Fatalf("for %s %q leads, and not %s", name, e.Leader(), who)
				}
			}
		}
	}
	first := next()
	seen(first.who)
	stores[first.who].Resign()
	second := next()
	if second.who != other[first.who] || second.Number <= first.Number {
		t.Fatalf("after %+v resigned, %+v leads", first, second)
	}
	seen(second.who)
	_, err := etcd.New(stores[first.who].Client()).Commit(ctx, store.Txn{Term: first.Term, Ops: []store.Op{{Key: store.Root + "k", Value: []byte("late")}}})
	if !errors.Is(err, store.ErrDeposed) {
		t.Errorf("the first one's write: %v", err)
	}
	// One that ends in order need not be waited for.
	begun := time.Now()
	stores[second.who].Stop()
	third := next()
	if third.who != first.who {
		t.Fatalf("%+v leads after %+v", third, second)
	}
	t.Logf("the next leads %v after the one before ended", time.Since(begun))
}

// Somebody removes the leader's key: it is not the leader any more, and does not fight with the one that is.
func TestKeyRemoved(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	srv := start(t, etcdserver.Options{})
	a, b := open(t, config(t, srv, "a")), open(t, config(t, srv, "b"))
	lost, err := a.Await(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := a.Await(ctx); err != nil || again != lost {
		t.Fatalf("a leader that asks again: %v", err)
	}
	if _, err := a.client.Delete(ctx, store.ElectionKey+"/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Await(ctx); err != nil {
		t.Fatal(err)
	}
	waits := make(chan error, 1)
	actx, stop := context.WithCancel(ctx)
	go func() {
		_, err := a.Await(actx)
		waits <- err
	}()
	for b.Leader() != "b" {
		<-b.LeaderChanged()
	}
	res, err := b.client.Get(ctx, store.ElectionKey+"/", clientv3.WithPrefix())
	for err == nil && len(res.Kvs) < 2 { // until a waits again
		res, err = b.client.Get(ctx, store.ElectionKey+"/", clientv3.WithPrefix())
	}
	if err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-waits:
		t.Errorf("a leads beside b: %v", err)
	default:
	}
	stop()
	if err := <-waits; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// An etcd that is away for a while is not led, and is led again when it is back.
func TestEtcdAway(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	srv := start(t, etcdserver.Options{})
	e := open(t, config(t, srv, "a"))
	lost, err := e.Await(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for e.Leader() != "a" {
		<-e.LeaderChanged()
	}
	begun := time.Now()
	srv.Stop()
	select {
	case <-lost:
	case <-ctx.Done():
		t.Fatal("it is still led")
	}
	t.Logf("lost after %v", time.Since(begun))
	if err := srv.Again(); err != nil {
		t.Fatal(err)
	}
	begun = time.Now()
	if _, err := e.Await(ctx); err != nil {
		t.Fatal(err)
	}
	s := etcd.New(e.Client())
	if _, _, err := store.AcquireTerm(ctx, s, "a", time.Now()); err != nil {
		t.Fatal(err)
	}
	t.Logf("led again after %v", time.Since(begun))
}

// etcd's authority, its certificates and the one that it is shown are changed under a server that goes on.
func TestAnotherAuthority(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	srv := start(t, etcdserver.Options{})
	e := open(t, config(t, srv, "a"))
	s := etcd.New(e.Client())
	if _, err := s.List(ctx, store.Root); err != nil {
		t.Fatal(err)
	}
	srv.Stop()
	if err := srv.Certify(); err != nil {
		t.Fatal(err)
	}
	if err := srv.Again(); err != nil {
		t.Fatal(err)
	}
	for {
		_, err := s.List(ctx, store.Root)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("it does not find to etcd any more: %v", err)
		}
	}
	if st, err := e.status(ctx, srv.Endpoint); err != nil {
		t.Errorf("a connection of its own: %+v, %v", st, err)
	}
}

func TestSpace(t *testing.T) {
	srv := start(t, etcdserver.Options{})
	e := open(t, config(t, srv, "a"))
	if s := e.Space(); s.Size <= 0 || s.InUse <= 0 || s.Full || e.Applied() == 0 {
		t.Errorf("space is %+v, applied %d", s, e.Applied())
	}
	if saysFull([]string{"etcdserver: no leader"}) || !saysFull([]string{"memberID:1 alarm:NOSPACE "}) {
		t.Error("an alarm is not understood")
	}
}
