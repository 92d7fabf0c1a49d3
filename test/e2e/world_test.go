//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/localcluster"
)

var (
	keep   = flag.Bool("keep", false, "leave the cluster running")
	name   = flag.String("cluster", "proof", "name of the local cluster")
	leases = flag.String("leases", "", "timing of leases of the cluster: default, fast or safe")
	binary = flag.String("argosy", "", "the argosy to test, with argosyd beside it; default bin/argosy of this repository")
)

// world is the cluster under test.
type world struct {
	root    string // of the repository
	argosy  string // path of the binary
	local   *localcluster.Local
	cluster localcluster.Cluster
	secrets map[string]string // values that must never be seen
}

// w is set by TestMain before any test runs.
var w world

var exampleImages = []string{"argosy-example/mariadb:10.11", "argosy-example/apache:2.4", "argosy-example/haproxy:2.6"}

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	if w.root, err = filepath.Abs("../.."); err != nil {
		return 0, err
	}
	if w.argosy = *binary; w.argosy == "" {
		w.argosy = filepath.Join(w.root, "bin/argosy")
	}
	free, err := occupy(*name)
	if err != nil {
		return 0, err
	}
	defer free()
	begun := time.Now()
	w.local, err = localcluster.New(localcluster.Options{
		Name: *name, Binary: w.argosy, Disk: robustDisk, LeaseProfile: *leases,
		Progress: func(e localcluster.Event) {
			if e.Took > 0 {
				fmt.Printf("%7.1fs %3s %s (%.1fs)\n", time.Since(begun).Seconds(), e.Machine, e.Text, e.Took.Seconds())
			}
		},
	})
	if err != nil {
		return 0, err
	}
	defer w.local.Close()
	defer func() {
		if *keep {
			fmt.Println("kept: export ARGOSY_SERVER=" + w.cluster.Server)
			return
		}
		err = errors.Join(err, w.local.Down(ctx, localcluster.DownOptions{}))
	}()
	images := make(chan error, 1)
	go func() { images <- w.buildImages() }() // while machines boot
	w.cluster, err = w.local.Up(ctx, 3)
	if err = errors.Join(err, <-images); err != nil {
		return 0, err
	}
	if err := w.prepare(); err != nil {
		return 0, err
	}
	fmt.Printf("%7.1fs ready for tests\n", time.Since(begun).Seconds())
	return m.Run(), nil
}

// threeServers has the cluster have a server on each of three machines.
func threeServers(t *testing.T) {
	t.Helper()
	l, err := localcluster.New(localcluster.Options{Name: *name, Binary: w.argosy, Servers: 3, Disk: robustDisk, LeaseProfile: *leases})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.Up(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
}

// occupy waits until no other run on this host uses the cluster, and keeps others
// out until free is called or the process ends.
func occupy(name string) (free func(), err error) {
	path := filepath.Join(os.TempDir(), "argosy-e2e-"+name+".lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("keep other runs away: %w", err)
	}
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		fmt.Printf("waiting for another run that uses cluster %s (-cluster gives this one another)\n", name)
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			return nil, fmt.Errorf("wait for the other run: %w", errors.Join(err, f.Close()))
		}
	}
	return func() { f.Close() }, nil
}

// buildImages builds what all tests use into the host's Engine.
func (w *world) buildImages() error {
	build := exec.Command(filepath.Join(w.root, "examples/lamp/build.sh"))
	build.Stdout, build.Stderr = os.Stdout, os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build the example's images: %w", err)
	}
	return nil
}

// prepare gives the cluster what all tests use: images and secrets.
func (w *world) prepare() error {
	if r := w.run(nil, append([]string{"image", "load"}, exampleImages...)...); r.code != 0 {
		return fmt.Errorf("load images: %s", r)
	}
	w.secrets = map[string]string{}
	for _, secret := range []string{"db-root", "db-shop"} {
		w.secrets[secret] = randomText()
		if r := w.run([]byte(w.secrets[secret]), "secret", "set", secret, "--file", "-"); r.code != 0 {
			return fmt.Errorf("set secret %s: %s", secret, r)
		}
	}
	return nil
}

func randomText() string {
	b := make([]byte, 20)
	rand.Read(b) // documented never to fail
	return hex.EncodeToString(b)
}

// result is how one command ended.
type result struct {
	args     []string
	out, err string
	code     int
}

func (r result) String() string {
	return fmt.Sprintf("argosy %s ended with code %d\n%s%s", strings.Join(r.args, " "), r.code, r.out, r.err)
}

// run runs argosy with input on standard input. A command may take six
// minutes; the longest waits in the tests are for stacks to become ready.
func (w *world) run(input []byte, args ...string) result {
	ctx, cancel := context.WithTimeout(context.Background(), 6*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, w.argosy, args...)
	cmd.Env = append(os.Environ(), "ARGOSY_SERVER="+w.cluster.Server, "NO_COLOR=1")
	cmd.Stdin = bytes.NewReader(input)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	r := result{args: args, out: out.String(), err: errOut.String()}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		r.code = exit.ExitCode() // -1 when it was killed for taking too long
	case err != nil:
		r.code, r.err = -1, r.err+err.Error()
	}
	return r
}

// argosy runs a command that must succeed and returns its output.
func argosy(t *testing.T, args ...string) string {
	t.Helper()
	r := w.run(nil, args...)
	if r.code != 0 {
		t.Fatal(r)
	}
	return r.out
}

// fails runs a command that must end with the code.
func fails(t *testing.T, code int, args ...string) result {
	t.Helper()
	r := w.run(nil, args...)
	if r.code != code {
		t.Fatalf("want code %d: %s", code, r)
	}
	return r
}

// ask runs a command with -o json and reads its answer into m.
func ask(m proto.Message, args ...string) error {
	r := w.run(nil, append(args, "-o", "json")...)
	if r.code != 0 {
		return errors.New(r.String())
	}
	if err := unmarshal([]byte(r.out), m); err != nil {
		return fmt.Errorf("%s: %w", r, err)
	}
	return nil
}

func unmarshal(text []byte, m proto.Message) error { return protojson.Unmarshal(text, m) }

// replicas are those of a target such as shop/lamp.
func replicas(target string) ([]*argosyv1.ReplicaStatus, error) {
	var res argosyv1.ListReplicasResponse
	err := ask(&res, "ps", target)
	return res.Replicas, err
}

// ready returns the replicas of target once there are exactly n and all are
// ready, and an error that shows them until then.
func ready(target string, n int) ([]*argosyv1.ReplicaStatus, error) {
	list, err := replicas(target)
	if err != nil {
		return nil, err
	}
	ok := len(list) == n
	for _, r := range list {
		ok = ok && r.State == argosyv1.ReplicaState_REPLICA_STATE_READY
	}
	if !ok {
		return nil, fmt.Errorf("want %d ready replicas:\n%s", n, w.run(nil, "ps", "--members", target).out)
	}
	return list, nil
}

// eventually asks until f returns nil, and fails the test with f's last error
// when limit has passed.
func eventually(t *testing.T, limit time.Duration, what string, f func() error) {
	t.Helper()
	took, err := await(limit, f)
	if err != nil {
		t.Fatalf("%s: not so after %s: %v", what, limit, err)
	}
	t.Logf("%s after %.1f s", what, took.Seconds())
}

// await asks until f returns nil, and returns f's last error when limit has passed.
func await(limit time.Duration, f func() error) (took time.Duration, err error) {
	begun := time.Now()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if err = f(); err == nil || time.Since(begun) > limit {
			return time.Since(begun), err
		}
		<-tick.C
	}
}

// on runs a command in a machine; it must succeed.
func on(t *testing.T, machine string, cmd ...string) string {
	t.Helper()
	out, err := w.local.Exec(t.Context(), machine, cmd...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// address is where a machine is reached from this host.
func address(t *testing.T, machine string) netip.Addr {
	t.Helper()
	for _, m := range w.cluster.Machines {
		if m.Name == machine {
			return m.Address
		}
	}
	t.Fatalf("there is no machine %s", machine)
	return netip.Addr{}
}

// containers are the running ones of an app on a machine: their ids by
// "stack.number/member". Two of one name are an error: something runs twice.
func containers(ctx context.Context, machine, app string) (map[string]string, error) {
	out, err := w.local.Exec(ctx, machine, "docker", "ps", "--no-trunc", "--filter", "label=argosy.app="+app,
		"--format", `{{.Label "argosy.stack"}}.{{.Label "argosy.number"}}/{{.Label "argosy.member"}} {{.ID}}`)
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for line := range strings.Lines(string(out)) {
		key, id, _ := strings.Cut(strings.TrimSpace(line), " ")
		if _, twice := found[key]; twice {
			return nil, fmt.Errorf("%s runs twice on %s", key, machine)
		}
		found[key] = id
	}
	return found, nil
}

// everywhere are the running containers of an app on all machines, as
// containers gives them.
func everywhere(ctx context.Context, app string) (map[string]string, error) {
	all := map[string]string{}
	for _, m := range w.cluster.Machines {
		some, err := containers(ctx, m.Name, app)
		if err != nil {
			return nil, err
		}
		for key, id := range some {
			if _, twice := all[key]; twice {
				return nil, fmt.Errorf("%s runs on two machines", key)
			}
			all[key] = id
		}
	}
	return all, nil
}

// manifest writes a manifest into a file of the test and returns its path.
func manifest(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// removeApp deletes apps with their data, all at the same time, when the test ends: what is deaf to being stopped has its grace period.
func removeApp(t *testing.T, apps ...string) {
	t.Cleanup(func() {
		var all sync.WaitGroup
		for _, app := range apps {
			all.Go(func() {
				if r := w.run(nil, "delete", app, "--volumes", "--yes", "--wait", "--timeout", "4m"); r.code != 0 {
					t.Errorf("cleaning up: %s", r)
				}
			})
		}
		all.Wait()
	})
}
