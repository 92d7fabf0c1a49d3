package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/backup"
	"github.com/argosy-cluster/argosy/internal/image"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/external"
	"github.com/argosy-cluster/argosy/internal/store/memory"
)

var silent = slog.New(slog.DiscardHandler)

func backupKey(t testing.TB) (backup.Key, *argosyv1.BackupLock) {
	t.Helper()
	file, public, err := backup.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	key, err := backup.ReadKey(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	return key, &argosyv1.BackupLock{Recipients: []string{public}}
}

// backup makes one as a client would.
func (c *clients) backup(t testing.TB, req *argosyv1.CreateBackupRequest) ([]byte, *argosyv1.BackupInfo, error) {
	t.Helper()
	stream, err := argosyv1connect.NewBackupServiceClient(c.hc, c.base).CreateBackup(t.Context(), connect.NewRequest(req))
	if err != nil {
		return nil, nil, err
	}
	defer stream.Close()
	var file []byte
	var info *argosyv1.BackupInfo
	for stream.Receive() {
		file = append(file, stream.Msg().GetData()...)
		info = stream.Msg().GetDone()
	}
	return file, info, stream.Err()
}

// A cluster is put into a file and comes back on another host: apps, secrets, machines and people are those they were, in a
// generation that no machine has met. What happened since is not known, and what had been on the machines is not removed.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	c := own(t, t.TempDir(), nil)
	m := c.machine(t, facts())
	m.connect(t)
	ana := c.user(t, "ana", "admin")
	c.apply(t, spec("kept", 2))
	sec, err := c.local.secrets.SetSecret(t.Context(), connect.NewRequest(&argosyv1.SetSecretRequest{Name: "pw", Value: []byte("hunter2")}))
	if err != nil || sec.Msg.Version != 1 {
		t.Fatal(sec, err)
	}
	digest := c.putImage(t)
	key, lock := backupKey(t)
	file, info, err := ana.backup(t, &argosyv1.CreateBackupRequest{Lock: lock, Images: true})
	if err != nil {
		t.Fatal(err)
	}
	if info.Size != int64(len(file)) || info.ClusterId != c.server.cluster.ID() || !info.History || !info.Images || info.Revision == 0 {
		t.Errorf("the server says of it: %v", info)
	}
	if bytes.Contains(file, []byte("hunter2")) {
		t.Error("a secret is in the clear")
	}
	c.apply(t, spec("lost", 1))
	c.stop()

	dir := t.TempDir()
	r, err := Restore(t.Context(), filepath.Join(dir, "data"), bytes.NewReader(file), key, external.Config{}, silent)
	if err != nil {
		t.Fatal(err)
	}
	if r.Cluster != info.ClusterId || r.Generation <= 1_000_000 || len(r.Given) != 1 || r.Backup.Head.ID != info.Id {
		t.Errorf("restored %+v", r)
	}
	if _, err := Restore(t.Context(), filepath.Join(dir, "data"), bytes.NewReader(file), key, external.Config{}, silent); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("restored over a server: %v", err)
	}
	again := own(t, dir, func(cfg *Config) { cfg.Listen, cfg.Advertise = c.addr, []string{c.addr} })
	again.addr = c.addr
	status, err := again.local.cluster.GetCluster(t.Context(), connect.NewRequest(&argosyv1.GetClusterRequest{}))
	if err != nil || status.Msg.Generation != r.Generation || status.Msg.Machines != 1 || status.Msg.Apps != 1 {
		t.Errorf("after the restore: %v, %v", status, err)
	}
	// Who logged in and which machine joined before the backup is known by the same certificate.
	if _, err := ana.apps.ListApps(t.Context(), connect.NewRequest(&argosyv1.ListAppsRequest{})); err != nil {
		t.Errorf("a login from before the backup: %v", err)
	}
	m.connect(t)
	plain, err := again.open(t, "pw")
	if err != nil || plain != "hunter2" {
		t.Errorf("the secret is %q, %v", plain, err)
	}
	// What is given from now on is above what machines may have seen of the lost part of the cluster's life.
	sec, err = again.local.secrets.SetSecret(t.Context(), connect.NewRequest(&argosyv1.SetSecretRequest{Name: "pw", Value: []byte("hunter3")}))
	if err != nil || sec.Msg.Version <= r.Generation {
		t.Errorf("the next version is %v, %v", sec, err)
	}
	app := again.apply(t, spec("next", 1))
	for _, rep := range again.replicas(t, app.Name) {
		if rep.Incarnation <= r.Generation {
			t.Errorf("a new replica is incarnation %d", rep.Incarnation)
		}
	}
	for _, rep := range again.replicas(t, "kept") {
		if rep.Incarnation != 1 || rep.Machine != m.m.MachineID {
			t.Errorf("a replica from before the backup: %v", rep)
		}
	}
	if got, ok, err := again.server.images.Resolve("default", image.Ref{Name: "shop/web", Digest: digest}); err != nil || !ok || got != digest {
		t.Errorf("the image: %v, %v, %v", got, ok, err)
	}
	events, err := again.server.history.Last()
	if err != nil || events == 0 {
		t.Errorf("history ends at %d, %v", events, err)
	}
}

// open decrypts a secret as the server would for a machine.
func (c *cluster) open(t *testing.T, name string) (string, error) {
	t.Helper()
	var out string
	err := c.server.read(func(_ time.Time, v *leader.View) error {
		sec := v.Secret("default", name)
		value, err := c.server.cluster.Keyring().Decrypt(sec.GetEncrypted(), auth.SecretContext(auth.KindSecret, "default", name, sec.GetVersion()))
		out = string(value.Reveal())
		return err
	})
	return out, err
}

// replicas are an app's, once each is on a machine.
func (c *cluster) replicas(t *testing.T, app string) []*argosyv1.Replica {
	t.Helper()
	var out []*argosyv1.Replica
	until(t, "the replicas are placed", func(ctx context.Context) error {
		res, err := c.local.apps.ListReplicas(ctx, connect.NewRequest(&argosyv1.ListReplicasRequest{App: app}))
		if err != nil {
			return err
		}
		out = nil
		for _, r := range res.Msg.Replicas {
			if r.Replica.Machine == "" {
				return errors.New(r.Message)
			}
			out = append(out, r.Replica)
		}
		if len(out) == 0 {
			return errors.New("there are none yet")
		}
		return nil
	})
	return out
}

// putImage has the server keep a small image under a name.
func (c *cluster) putImage(t *testing.T) image.Digest {
	t.Helper()
	layer := []byte(strings.Repeat("layer", 1000))
	config := fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[%q]}}`, image.Sum(layer))
	for _, b := range [][]byte{layer, config} {
		if err := c.server.images.Import("default", image.Sum(b), bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
	}
	manifest := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}]}`,
		image.TypeOCIManifest, image.Sum(config), len(config), image.Sum(layer), len(layer))
	d, err := c.server.images.PutManifest("default", "shop/web", "1", "", manifest)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.server.nameImage(t.Context(), "default", "shop/web", "1", d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestBackupIsForAdministrators(t *testing.T) {
	c := shared(t)
	_, lock := backupKey(t)
	_, _, err := c.user(t, "backup-operator", "operator").backup(t, &argosyv1.CreateBackupRequest{Lock: lock})
	wantError(t, err, connect.CodePermissionDenied, "admin")
	_, _, err = c.local.backup(t, &argosyv1.CreateBackupRequest{})
	wantError(t, err, connect.CodeInvalidArgument, "always encrypted")
	_, _, err = c.local.backup(t, &argosyv1.CreateBackupRequest{Lock: &argosyv1.BackupLock{Recipients: []string{"age1x"}}})
	wantError(t, err, connect.CodeInvalidArgument, "not a public key")
}

// A restore that fails leaves nothing behind, so that it can be tried again.
func TestRestoreLeavesNothingHalf(t *testing.T) {
	c := shared(t)
	key, lock := backupKey(t)
	other, _ := backupKey(t)
	file, _, err := c.local.backup(t, &argosyv1.CreateBackupRequest{Lock: lock})
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Clone(file)
	changed[len(changed)-200] ^= 1
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
		in   io.Reader
		key  backup.Key
		want error
	}{
		{"cut", t.Context(), bytes.NewReader(file[:len(file)-100]), key, backup.ErrDamaged},
		{"changed near its end", t.Context(), bytes.NewReader(changed), key, backup.ErrDamaged},
		{"another key", t.Context(), bytes.NewReader(file), other, backup.ErrWrongKey},
		{"no backup", t.Context(), strings.NewReader("hello"), key, backup.ErrNotBackup},
		{"interrupted", ctx, bytes.NewReader(file), key, context.Canceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := Restore(c.ctx, dir, c.in, c.key, external.Config{}, silent); !errors.Is(err, c.want) {
				t.Errorf("%v; want %v", err, c.want)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("it left %v, %v", left, err)
			}
		})
	}
	// What a crash leaves is nothing to start from.
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, restoringDir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), Config{DataDir: dir, Advertise: []string{"127.0.0.1"}, Log: silent}); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("a server on half a restore: %v", err)
	}
}

// A backup says what it is made of; one that was put together by somebody else is refused.
func TestRestoreRefusesWhatDoesNotBelong(t *testing.T) {
	key, lock := backupKey(t)
	type part struct{ name, text string }
	make := func(parts ...part) []byte {
		var out bytes.Buffer
		w, err := backup.NewWriter(&out, lockOf(lock), backup.Head{Cluster: "c"}, backup.Contents{Etcd: "3.7.3"})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range parts {
			if err := w.Add(p.name, int64(len(p.text)), strings.NewReader(p.text)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	keys := part{keysPart, strings.Repeat("ab", 32)}
	for _, c := range []struct {
		name string
		file []byte
		says string
	}{
		{"without a store", make(keys), "no part store.db"},
		{"without keys", make(part{storePart, "x"}), "no part keys"},
		{"two keys", make(keys, keys), "two parts keys"},
		{"something unknown", make(keys, part{"later", "x"}), "does not know"},
		{"a store that is none", make(keys, part{storePart, strings.Repeat("x", 8192)}), "restoring the store's snapshot"},
		{"an image with a strange digest", make(keys, part{blobsPart + "/default/xyz", "x"}), "names no part"},
		{"an image of a strange tenant", make(keys, part{blobsPart + "/..../" + image.Sum([]byte("x")).Hex(), "x"}), "is not a tenant"},
		{"an image that is another", make(keys, part{blobsPart + "/default/" + image.Sum([]byte("y")).Hex(), "x"}), "was announced as"},
		{"a manifest that is another", make(keys, part{manifestsPart + "/default/" + image.Sum([]byte("y")).Hex(), "x"}), "not what its name says"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := Restore(t.Context(), dir, bytes.NewReader(c.file), key, external.Config{}, silent)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v; want something about %q", err, c.says)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("it left %v, %v", left, err)
			}
		})
	}
}

// Volumes that were about to be removed stay when the store may be older than what is on the machines.
func TestRecoveryKeepsVolumes(t *testing.T) {
	s := memory.New()
	for i := range 3 {
		k := &argosyv1.ReplicaKey{Tenant: "default", App: "a", Stack: "s", Number: uint32(i + 1)}
		op, err := store.Put(store.ReplicaKey(k), &argosyv1.Replica{Key: k, Goal: argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE, RemoveVolumes: i > 0})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{op}}); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := keepVolumes(t.Context(), s); n != 2 || err != nil {
		t.Errorf("kept %d, %v", n, err)
	}
	snap, err := s.List(t.Context(), store.Replicas)
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range snap.KVs {
		r := &argosyv1.Replica{}
		if err := store.Decode(kv, r); err != nil || r.RemoveVolumes || r.Goal != argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE {
			t.Errorf("%v, %v", r, err)
		}
	}
}

// Whatever lives the cluster had, the next one is above all of them: also when the same backup is restored twice, or by a
// host whose clock was never set.
func TestNextGeneration(t *testing.T) {
	first := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	once := nextGeneration(1, first)
	if twice := nextGeneration(1, first.Add(time.Hour)); twice <= once {
		t.Errorf("the same backup restored twice: %d, then %d", once, twice)
	}
	if again := nextGeneration(once, first); again != once+1 {
		t.Errorf("recovered in the same second: %d, then %d", once, again)
	}
	for _, clock := range []time.Time{{}, time.Unix(0, 0), first} {
		if next := nextGeneration(once, clock); next <= once {
			t.Errorf("with the clock at %v: %d after %d", clock, next, once)
		}
	}
}
