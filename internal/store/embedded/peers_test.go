package embedded_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/freeport"
	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/embedded"
	"github.com/argosy-cluster/argosy/internal/store/etcd"
	"github.com/argosy-cluster/argosy/internal/store/memory"
)

func freeAddress(t testing.TB) string {
	t.Helper()
	addr, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

func certify(t testing.TB, c *auth.Cluster, kind auth.Kind, id string) auth.Files {
	t.Helper()
	key, csr, err := auth.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	var der []byte
	if kind == auth.Server {
		der, err = c.IssueServer(csr, id, []string{"127.0.0.1"}, time.Now())
	} else {
		der, err = c.IssueMachine(csr, id, time.Now())
	}
	if err != nil {
		t.Fatal(err)
	}
	cred, err := auth.NewCredential(key, der, c.CA())
	if err != nil {
		t.Fatal(err)
	}
	files := auth.Files{Dir: t.TempDir()}
	if err := files.Save(cred); err != nil {
		t.Fatal(err)
	}
	return files
}

// trio is three members with servers' certificates.
type trio struct {
	members map[string]*embedded.Member
	address map[string]string
	cluster *auth.Cluster
}

func threeMembers(t testing.TB, ctx context.Context) trio {
	t.Helper()
	cluster, err := auth.Bootstrap(ctx, memory.New(), filepath.Join(t.TempDir(), "key"), nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"s1", "s2", "s3"}
	initial := map[string]string{}
	for _, n := range names {
		initial[n] = freeAddress(t)
	}
	type started struct {
		name string
		m    *embedded.Member
		err  error
	}
	results := make(chan started)
	for _, n := range names {
		f := certify(t, cluster, auth.Server, n)
		cfg := embedded.Config{Dir: t.TempDir(), Name: n, Log: slog.New(slog.DiscardHandler), Peers: &embedded.Peers{
			Listen: initial[n], Advertise: initial[n], Initial: initial,
			CertFile: f.Path(), KeyFile: f.Path(), CAFile: f.CAPath(), ServerName: auth.ServerName,
		}}
		go func() {
			m, err := embedded.Start(ctx, cfg)
			results <- started{n, m, err}
		}()
	}
	members := map[string]*embedded.Member{}
	for range names {
		r := <-results
		if r.err != nil {
			t.Fatalf("%s: %v", r.name, r.err)
		}
		t.Cleanup(r.m.Stop)
		members[r.name] = r.m
	}
	return trio{members, initial, cluster}
}

// Three members: what one writes the others read, the loss of the leader is survived by the
// next, whose term deposes the first, and the loss of two is said.
func TestThreeMembers(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	three := threeMembers(t, ctx)
	members := three.members
	leader := awaitLeader(t, ctx, members)
	s := etcd.New(members[leader].Client())
	old, _, err := store.AcquireTerm(ctx, s, leader, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	rev, err := s.Commit(ctx, store.Txn{Term: old, Ops: []store.Op{{Key: "/k", Value: []byte("v")}}})
	if err != nil {
		t.Fatal(err)
	}
	for n, m := range members {
		snap, err := etcd.New(m.Client()).Get(ctx, "/k")
		if err != nil || len(snap.KVs) != 1 || snap.KVs[0].ModRevision != rev {
			t.Fatalf("%s reads %+v, %v", n, snap, err)
		}
	}
	refusesMachines(t, three.cluster, three.address["s1"])

	lost, err := members[leader].Await(ctx)
	if err != nil {
		t.Fatal(err)
	}
	members[leader].Stop()
	select {
	case <-lost:
	case <-ctx.Done():
		t.Fatal("a stopped member believes that it leads")
	}
	delete(members, leader)
	leader = awaitLeader(t, ctx, members)
	s = etcd.New(members[leader].Client())
	if _, _, err = store.AcquireTerm(ctx, s, leader, time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err = s.Commit(ctx, store.Txn{Term: old, Ops: []store.Op{{Key: "/k", Value: []byte("late")}}}); !errors.Is(err, store.ErrDeposed) {
		t.Fatalf("a transaction of the old term: %v", err)
	}

	for n, m := range members {
		if n != leader {
			m.Stop()
		}
	}
	short, stop := context.WithTimeout(ctx, 2*time.Second)
	defer stop()
	if _, err = s.Get(short, "/k"); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("a read without a majority: %v", err)
	}
}

func awaitLeader(t testing.TB, ctx context.Context, members map[string]*embedded.Member) string {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	elected := make(chan string, len(members))
	for n, m := range members {
		go func() {
			if _, err := m.Await(ctx); err == nil {
				elected <- n
			}
		}()
	}
	select {
	case n := <-elected:
		return n
	case <-ctx.Done():
		t.Fatal("nobody leads")
		return ""
	}
}

// A machine of the same cluster has a certificate of the same CA, and no business with the store.
func refusesMachines(t *testing.T, cluster *auth.Cluster, addr string) {
	t.Helper()
	for kind, ok := range map[auth.Kind]bool{auth.Server: true, auth.Machine: false} {
		cred, err := certify(t, cluster, kind, "x1").Load()
		if err != nil {
			t.Fatal(err)
		}
		own := tls.Certificate{Certificate: [][]byte{cred.Certificate.Raw}, PrivateKey: cred.Key}
		err = requestVersion(addr, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{own}})
		if (err == nil) != ok {
			t.Errorf("a %s at the members' port: %v", kind, err)
		}
	}
	if err := requestVersion(addr, &tls.Config{InsecureSkipVerify: true}); err == nil {
		t.Error("anybody may speak to the members' port")
	}
}

func requestVersion(addr string, cfg *tls.Config) error {
	conn, err := tls.Dial("tcp", addr, cfg)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 100))
	return err
}
