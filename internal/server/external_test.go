package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"google.golang.org/protobuf/types/known/durationpb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/join"
	"github.com/argosy-cluster/argosy/internal/store/external"
	"github.com/argosy-cluster/argosy/test/etcdserver"
)

// ownEtcd is an etcd that somebody else runs, and how servers reach it.
func ownEtcd(t *testing.T) (*etcdserver.Etcd, external.Config) {
	t.Helper()
	return etcdOf(t, etcdserver.Options{})
}

func etcdOf(t *testing.T, o etcdserver.Options) (*etcdserver.Etcd, external.Config) {
	t.Helper()
	o.Dir, o.Prefix = t.TempDir(), "/"
	e, err := etcdserver.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	return e, external.Config{Endpoints: e.Endpoints, CAFile: e.CAFile, CertFile: e.CertFile, KeyFile: e.KeyFile,
		User: etcdserver.User, PasswordFile: e.PasswordFile}
}

func externally(name string, to external.Config) func(*Config) {
	return func(c *Config) { c.Name, c.External = name, to }
}

// joinExternally has another server join and runs it.
func joinExternally(t *testing.T, c *cluster, name string, to external.Config) *cluster {
	t.Helper()
	return own(t, c.admit(t, name), externally(name, to))
}

// admit has another server join, and returns the directory above its data.
func (c *cluster) admit(t *testing.T, name string) (dir string) {
	t.Helper()
	token := c.token(t, &argosyv1.CreateTokenRequest{Purpose: argosyv1.TokenPurpose_TOKEN_PURPOSE_SERVER, ExpiresIn: durationpb.New(time.Hour)})
	dir = shortDir(t)
	if _, err := join.Server(t.Context(), token, join.ServerFacts{Name: name}, filepath.Join(dir, "data")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func (c *cluster) list(t *testing.T) (*argosyv1.ListServersResponse, map[string]*argosyv1.ServerStatus) {
	t.Helper()
	res, err := c.asServers().ListServers(t.Context(), connect.NewRequest(&argosyv1.ListServersRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]*argosyv1.ServerStatus{}
	for _, s := range res.Msg.Servers {
		byName[s.Name] = s
	}
	return res.Msg, byName
}

// Two servers on one external etcd: any answers, the loss of one is survived, one that is removed ends and is not let in again.
func TestExternalStore(t *testing.T) {
	t.Parallel()
	etcd, to := ownEtcd(t)
	one := own(t, shortDir(t), externally("s1", to))
	one.apply(t, spec("kept", 2))
	two := joinExternally(t, one, "s2", to)
	until(t, "both are in the cluster", func(context.Context) error {
		res, by := one.list(t)
		if res.Spare != 1 || !by["s1"].Leader || by["s2"].GetRole() != argosyv1.ServerRole_SERVER_ROLE_CLIENT || !by["s2"].Healthy || by["s2"].Lag != 0 {
			return fmt.Errorf("%v", res)
		}
		return nil
	})
	// What only the leader knows is passed on.
	two.apply(t, spec("second", 1))
	_, err := one.asServers().RemoveServer(t.Context(), connect.NewRequest(&argosyv1.RemoveServerRequest{Server: "s2", IdempotencyKey: "a"}))
	wantError(t, err, connect.CodeFailedPrecondition, "still answers")

	begun := time.Now()
	one.stop()
	until(t, "the other leads", func(ctx context.Context) error {
		_, err := two.local.apps.Scale(ctx, connect.NewRequest(&argosyv1.ScaleRequest{App: "kept", Counts: map[string]uint32{"web": 1}, IdempotencyKey: "scale"}))
		return err
	})
	t.Logf("the other decides %v after the first ended", time.Since(begun))
	if res, _ := two.list(t); res.Spare != 0 {
		t.Errorf("with one gone: %v", res)
	}

	three := joinExternally(t, two, "s3", to)
	until(t, "s3 is in", func(context.Context) error {
		if _, by := two.list(t); by["s3"].GetHealthy() {
			return nil
		}
		return errors.New("not yet")
	})
	if _, err := two.asServers().RemoveServer(t.Context(), connect.NewRequest(&argosyv1.RemoveServerRequest{Server: "s3", Force: true, IdempotencyKey: "b"})); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-three.ended:
		three.ended <- err
		if err == nil || !strings.Contains(err.Error(), "was removed from the cluster") {
			t.Errorf("a server that was removed: %v", err)
		}
	case <-time.After(time.Minute):
		t.Errorf("a server that was removed goes on: %s", three.log.String()[max(0, len(three.log.String())-4000):])
	}
	if again, err := startIn(three.dir, externally("s3", to)); err == nil || !strings.Contains(err.Error(), "was removed from the cluster") {
		t.Errorf("a server that was removed is started again: %v", err)
		if again != nil {
			again.stop()
		}
	}
	for _, c := range []*cluster{one, two, three} {
		if strings.Contains(c.log.String(), password(t, etcd)) {
			t.Error("the password is in a log")
		}
	}
}

func password(t *testing.T, e *etcdserver.Etcd) string {
	t.Helper()
	b, err := os.ReadFile(e.PasswordFile)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// A server that is started with another store than its own says so, and touches nothing.
func TestStoresAreNotMixedUp(t *testing.T) {
	t.Parallel()
	_, to := ownEtcd(t)
	with := func(prefix string) external.Config { c := to; c.Prefix = prefix; return c }
	embedded, one := shortDir(t), shortDir(t)
	own(t, embedded, nil).stop()
	own(t, one, externally("s1", with("/a"))).stop()
	two := own(t, shortDir(t), externally("s1", with("/b")))
	for name, c := range map[string]struct {
		dir  string
		to   external.Config
		says string
	}{
		"a store of its own":               {embedded, with("/c"), "has a store of its own"},
		"an external one, and no word":     {one, external.Config{}, "start it with --store-endpoints"},
		"another cluster's prefix":         {one, with("/b"), "etcd holds cluster " + two.server.cluster.ID()},
		"an empty prefix":                  {one, with("/c"), "etcd holds no cluster below"},
		"a new server, a cluster is there": {shortDir(t), with("/b"), "argosy join --server"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := startIn(c.dir, externally("s1", c.to))
			if err == nil {
				got.stop()
				t.Fatal("it starts")
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}
}

// A cluster moves from its servers' own store to an external one by way of a backup, and back.
func TestMovingStores(t *testing.T) {
	t.Parallel()
	_, to := ownEtcd(t)
	key, lock := backupKey(t)
	c := own(t, t.TempDir(), nil)
	c.apply(t, spec("kept", 2))
	take := func(c *cluster) []byte {
		t.Helper()
		file, _, err := c.local.backup(t, &argosyv1.CreateBackupRequest{Lock: lock})
		if err != nil {
			t.Fatal(err)
		}
		c.stop()
		return file
	}
	restored := func(file []byte, to external.Config, apps int) *cluster {
		t.Helper()
		dir := shortDir(t)
		if _, err := Restore(t.Context(), filepath.Join(dir, "data"), bytes.NewReader(file), key, to, silent); err != nil {
			t.Fatal(err)
		}
		again := own(t, dir, externally("s1", to))
		res, err := again.local.apps.ListApps(t.Context(), connect.NewRequest(&argosyv1.ListAppsRequest{}))
		if err != nil || len(res.Msg.Apps) != apps {
			t.Fatalf("after moving: %v, %v", res, err)
		}
		return again
	}
	file := take(c)
	outside := restored(file, to, 1)
	outside.apply(t, spec("more", 1))
	if _, err := Restore(t.Context(), filepath.Join(t.TempDir(), "data"), bytes.NewReader(file), key, to, silent); err == nil || !strings.Contains(err.Error(), "etcd holds a cluster below") {
		t.Errorf("restored over a cluster: %v", err)
	}
	if _, err := Recover(t.Context(), filepath.Join(outside.dir, "data"), silent); err == nil || !strings.Contains(err.Error(), "external etcd") {
		t.Errorf("recovering a server with an external store: %v", err)
	}
	file = take(outside)
	if entries, err := filepath.Glob(filepath.Join(outside.dir, "data", ".backup*")); err != nil || len(entries) != 0 {
		t.Errorf("a backup leaves %v, %v", entries, err)
	}
	back := restored(file, external.Config{}, 2)
	if back.server.cluster.ID() != c.server.cluster.ID() {
		t.Error("it is another cluster")
	}
}

// An etcd that is away for a while: what asks is told so, and all goes on when it is back.
func TestExternalStoreAway(t *testing.T) {
	t.Parallel()
	etcd, to := ownEtcd(t)
	c := own(t, shortDir(t), externally("s1", to))
	c.apply(t, spec("kept", 1))
	etcd.Stop()
	until(t, "nobody leads", func(ctx context.Context) error {
		res, err := c.local.cluster.GetCluster(ctx, connect.NewRequest(&argosyv1.GetClusterRequest{}))
		if err == nil && res.Msg.Leader != "" {
			return errors.New("it leads")
		}
		return err
	})
	if err := etcd.Again(); err != nil {
		t.Fatal(err)
	}
	until(t, "it is led again", func(ctx context.Context) error {
		_, err := c.local.apps.Scale(ctx, connect.NewRequest(&argosyv1.ScaleRequest{App: "kept", Counts: map[string]uint32{"web": 3}, IdempotencyKey: "k"}))
		return err
	})
}

// Of an etcd with three members one may be lost, the one that leads as well: servers go on with the others, and one that starts
// meanwhile does too. Without two nobody leads, and with them again all goes on.
func TestExternalStoreOfThree(t *testing.T) {
	t.Parallel()
	etcd, to := etcdOf(t, etcdserver.Options{Members: 3})
	one := own(t, shortDir(t), externally("s1", to))
	one.apply(t, spec("kept", 1))
	replicas := uint32(1)
	decides := func(what string, c *cluster) {
		t.Helper()
		replicas++
		begun := time.Now()
		until(t, what, func(ctx context.Context) error {
			_, err := c.local.apps.Scale(ctx, connect.NewRequest(&argosyv1.ScaleRequest{App: "kept", Counts: map[string]uint32{"web": replicas}, IdempotencyKey: fmt.Sprint("k", replicas)}))
			return err
		})
		t.Logf("%s: after %v", what, time.Since(begun).Round(time.Millisecond))
	}
	lost := etcd.Leader()
	etcd.StopMember(lost)
	decides("the member that led is lost", one)

	// The endpoints are tried in their order, so that the lost one comes first.
	first := to
	first.Endpoints = append([]string{etcd.Endpoints[lost]}, append(slices.Clone(etcd.Endpoints[:lost]), etcd.Endpoints[lost+1:]...)...)
	two := joinExternally(t, one, "s2", first)
	if !strings.Contains(two.log.String(), "cannot be reached; the others do") {
		t.Error("nobody is told that an endpoint is away")
	}
	one.stop()
	decides("the server that led ended, and a member is away", two)

	etcd.StopMember((lost + 1) % 3)
	until(t, "nobody leads without a majority", func(ctx context.Context) error {
		res, err := two.local.cluster.GetCluster(ctx, connect.NewRequest(&argosyv1.GetClusterRequest{}))
		if err == nil && res.Msg.Leader != "" {
			return errors.New("it leads")
		}
		return err
	})
	if err := etcd.Again(); err != nil {
		t.Fatal(err)
	}
	decides("all members are back", two)
}

// An etcd that is full takes no changes: who asks for one is told so and what to do, so is who asks how the cluster is; the server
// goes on, and changes with it as soon as there is room.
func TestExternalStoreFull(t *testing.T) {
	t.Parallel()
	etcd, to := etcdOf(t, etcdserver.Options{Change: func(c *embed.Config) { c.QuotaBackendBytes = 16 << 20 }})
	c := own(t, shortDir(t), externally("s1", to))
	c.apply(t, spec("kept", 1))
	root, err := etcd.Root()
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for n := 0; err == nil; n++ {
		if n > 100 {
			t.Fatal("etcd takes more than its quota")
		}
		_, err = root.Put(t.Context(), fmt.Sprint("/somebody-else/", n), strings.Repeat("x", 1<<20))
	}
	scale := func(ctx context.Context) error {
		_, err := c.local.apps.Scale(ctx, connect.NewRequest(&argosyv1.ScaleRequest{App: "kept", Counts: map[string]uint32{"web": 2}, IdempotencyKey: "full"}))
		return err
	}
	until(t, "a change is refused with the reason", func(ctx context.Context) error {
		if err := scale(ctx); err == nil || !strings.Contains(err.Error(), "etcd is full") || !strings.Contains(err.Error(), "alarm disarm") {
			return fmt.Errorf("it is answered %v", err)
		}
		return nil
	})
	until(t, "status says so", func(ctx context.Context) error {
		res, err := c.local.cluster.GetCluster(ctx, connect.NewRequest(&argosyv1.GetClusterRequest{}))
		if err == nil && !res.Msg.StoreFull {
			err = errors.New("it is not said to be full")
		}
		return err
	})
	// Its administrator makes room.
	if _, err := root.Delete(t.Context(), "/somebody-else/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	at, err := root.Get(t.Context(), "/none")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := root.Compact(t.Context(), at.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	if _, err := root.Defragment(t.Context(), etcd.Endpoint); err != nil {
		t.Fatal(err)
	}
	if _, err := root.AlarmDisarm(t.Context(), &clientv3.AlarmMember{}); err != nil {
		t.Fatal(err)
	}
	until(t, "a change is made again", scale)
	until(t, "status says that there is room", func(ctx context.Context) error {
		res, err := c.local.cluster.GetCluster(ctx, connect.NewRequest(&argosyv1.GetClusterRequest{}))
		if err == nil && (res.Msg.StoreFull || res.Msg.Leader == "") {
			err = fmt.Errorf("%v", res.Msg)
		}
		return err
	})
	select {
	case err := <-c.ended:
		c.ended <- err
		t.Errorf("the server ended: %v", err)
	default:
	}
}
