package auth

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/memory"
)

func TestBootstrap(t *testing.T) {
	ctx, s, key, now := t.Context(), memory.New(), filepath.Join(t.TempDir(), "keys", "servers.key"), time.Now()
	first, err := Bootstrap(ctx, s, key, &argosyv1.ClusterSettings{Domain: "argosy.internal", ClusterId: "chosen-elsewhere"}, now)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Bootstrap(ctx, s, key, &argosyv1.ClusterSettings{Domain: "other.internal"}, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if len(first.ID()) != 32 || first.ID() != second.ID() || !bytes.Equal(first.CA(), second.CA()) || !proto.Equal(first.Settings(), second.Settings()) ||
		second.Settings().GetDomain() != "argosy.internal" {
		t.Errorf("first %v, second %v", first.Settings(), second.Settings())
	}
	// What one signs and encrypts, the other knows.
	m := issue(t, first, Machine, "m1", now)
	if id, err := second.Verifier().Identify(m.Certificate); err != nil || id.ID != "m1" {
		t.Errorf("%v, %v", id, err)
	}
	enc := first.Keyring().Encrypt(NewSecret([]byte("v")), nil)
	if v, err := second.Keyring().Decrypt(enc, nil); err != nil || string(v.Reveal()) != "v" {
		t.Errorf("%v", err)
	}
	st, err := os.Stat(key)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the key file: %v, %v", st.Mode(), err)
	}
	snap, err := s.Get(ctx, store.GenerationKey)
	generation := &storev1.Generation{}
	if err != nil || store.Decode(snap.KVs[0], generation) != nil || generation.GetNumber() != 1 {
		t.Errorf("generation %v, %v", generation, err)
	}
	first.Settings().Domain = "changed"
	if first.Settings().GetDomain() != "argosy.internal" {
		t.Error("the settings can be changed from outside")
	}
}

// Nothing in the store is of use to somebody who has the store alone.
func TestStoreHoldsNoKey(t *testing.T) {
	s := memory.New()
	c := newCluster(t, s)
	snap, err := s.List(t.Context(), store.Root)
	if err != nil {
		t.Fatal(err)
	}
	private, err := c.state.Load().issuing.ca.key.(interface{ Bytes() ([]byte, error) }).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range snap.KVs {
		if bytes.Contains(kv.Value, private) {
			t.Errorf("%s holds the CA's key in the clear", kv.Key)
		}
	}
}

func TestServersThatStartAtOnce(t *testing.T) {
	s, key := memory.New(), filepath.Join(t.TempDir(), "key")
	if _, err := createKeyFile(key); err != nil { // given to all servers beforehand
		t.Fatal(err)
	}
	ids := make([]string, 8)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			c, err := Bootstrap(t.Context(), s, key, nil, time.Now())
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = c.ID()
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("servers made different clusters: %v", ids)
		}
	}
}

func TestKeyFileFaults(t *testing.T) {
	for _, c := range []struct {
		name string
		harm func(t *testing.T, key string) error
		says string
	}{
		{"missing", func(_ *testing.T, key string) error { return os.Remove(key) }, "copy it from another server"},
		{"readable by others", func(_ *testing.T, key string) error { return os.Chmod(key, 0o644) }, "chmod 600"},
		{"cut", func(_ *testing.T, key string) error { return os.WriteFile(key, []byte("abcd"), 0o600) }, "does not hold the servers' key"},
		{"huge", func(_ *testing.T, key string) error { return os.WriteFile(key, make([]byte, 1<<20), 0o600) }, "does not hold the servers' key"},
		{"another's", func(_ *testing.T, key string) error {
			return os.WriteFile(key, []byte(strings.Repeat("ab", keySize)), 0o600)
		}, "does not open cluster"},
		{"a directory", func(_ *testing.T, key string) error {
			return errors.Join(os.Remove(key), os.Mkdir(key, 0o700))
		}, "can be read by others"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, key := memory.New(), filepath.Join(t.TempDir(), "key")
			if _, err := Bootstrap(t.Context(), s, key, nil, time.Now()); err != nil {
				t.Fatal(err)
			}
			if err := c.harm(t, key); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(key)
			_, err := Bootstrap(t.Context(), s, key, nil, time.Now())
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), key) {
				t.Fatalf("%v; want %q and the file's name", err, c.says)
			}
			if after, _ := os.ReadFile(key); !bytes.Equal(before, after) {
				t.Error("the key file was written over")
			}
		})
	}
}

func TestBootstrapWithoutStore(t *testing.T) {
	s, key := memory.New(), filepath.Join(t.TempDir(), "key")
	s.Inject(func(memory.Call) memory.Fault { return memory.Refused })
	if _, err := Bootstrap(t.Context(), s, key, nil, time.Now()); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("%v", err)
	}
	if _, err := os.Stat(key); !errors.Is(err, os.ErrNotExist) {
		t.Error("a key was made for a cluster that was not")
	}
	// The answer to the transaction that made the cluster got lost: the next start finds it made.
	s.Inject(func(c memory.Call) memory.Fault {
		if c == memory.Commit {
			return memory.Unanswered
		}
		return memory.None
	})
	if _, err := Bootstrap(t.Context(), s, key, nil, time.Now()); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("%v", err)
	}
	s.Inject(nil)
	if _, err := Bootstrap(t.Context(), s, key, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
}
