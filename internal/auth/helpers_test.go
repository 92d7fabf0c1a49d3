package auth

import (
	"context"
	"crypto"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/store"
)

func newCluster(t testing.TB, s store.Store) *Cluster {
	t.Helper()
	// Older than any certificate a test makes.
	made := time.Now().Add(-365 * 24 * time.Hour)
	c, err := Bootstrap(context.Background(), s, filepath.Join(t.TempDir(), "key"), &argosyv1.ClusterSettings{Domain: "argosy.internal"}, made)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func must[T any](t testing.TB, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func write(t testing.TB, s store.Store, key string, m proto.Message) {
	t.Helper()
	op, err := store.Put(key, m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(context.Background(), store.Txn{Ops: []store.Op{op}}); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, s store.Store, key string) {
	t.Helper()
	if _, err := s.Commit(context.Background(), store.Txn{Ops: []store.Op{store.Delete(key)}}); err != nil {
		t.Fatal(err)
	}
}

// issue makes a credential as of a time, for a new key.
func issue(t testing.TB, c *Cluster, kind Kind, id string, at time.Time) *Credential {
	t.Helper()
	key, csr, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return issueFor(t, c, key, csr, kind, id, at)
}

func issueFor(t testing.TB, c *Cluster, key crypto.Signer, csr []byte, kind Kind, id string, at time.Time) *Credential {
	t.Helper()
	der, err := c.issueFor(csr, kind, id, []string{"localhost", "127.0.0.1"}, at)
	if err != nil {
		t.Fatal(err)
	}
	cred, err := NewCredential(key, der, c.CA())
	return must(t, cred, err)
}

func digestOf(t testing.TB, c *Credential) []byte {
	t.Helper()
	d, err := KeyDigest(c.Key.Public())
	return must(t, d, err)
}

// member records a machine and returns its credential.
func member(t testing.TB, c *Cluster, s store.Store, id string, at time.Time) *Credential {
	t.Helper()
	cred := issue(t, c, Machine, id, at)
	write(t, s, store.MachineKey(id), &argosyv1.Machine{Id: id, KeyDigest: digestOf(t, cred)})
	return cred
}

// fellowServer records another server and returns its credential.
func fellowServer(t testing.TB, c *Cluster, s store.Store, id string) *Credential {
	t.Helper()
	write(t, s, store.ServerKey(id), &storev1.Server{Id: id, Name: id})
	return issue(t, c, Server, id, time.Now())
}

// login records somebody who logged in and returns the credential.
func login(t testing.TB, c *Cluster, s store.Store, name, tenant string, role Role) *Credential {
	t.Helper()
	cred := issue(t, c, User, name, time.Now())
	write(t, s, store.UserKey(name), &storev1.User{Name: name, Tenant: tenant, Role: string(role), KeyDigest: digestOf(t, cred)})
	return cred
}
