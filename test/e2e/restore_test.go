//go:build e2e

package e2e

import (
	"context"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/test/etcdserver"
)

const (
	serverUnit = "argosy-server.service"
	serverDir  = "/var/lib/argosy/server"
	dropIn     = "/etc/systemd/system/" + serverUnit + ".d/store.conf"
)

var restoring = flag.Bool("restore", false, "run TestRestore, which replaces the cluster's server three times")

func plainApp(name string, count int) string {
	return fmt.Sprintf(`argosy: v1
app: %s
containers:
  web: {image: argosy-example/apache:2.4, entrypoint: [sleep, infinity], stop_grace_period: 1s, cpus: 0.1, mem_limit: 32m}
stacks:
  web: {containers: [web], placement: {spread: [machine]}}
cluster: {web: %d}
`, name, count)
}

// TestRestore: a cluster comes back from a backup, first as it was, then in an external etcd, where the leader is killed, and
// back. Machines stay, and what runs and is wanted is not touched.
func TestRestore(t *testing.T) {
	if !*restoring {
		t.Skip("it replaces the cluster's server three times, which takes minutes: make restore")
	}
	argosy(t, "apply", "--wait", "--timeout", "120s", manifest(t, plainApp("kept", 2)))
	removeApp(t, "kept")
	before := lives(t, "kept")
	if len(before) != 2 {
		t.Fatalf("there are %v", before)
	}
	r := restorer{t: t, shared: filepath.Join("/run/argosy-local", *name)}
	r.backup("first")
	argosy(t, "apply", "--wait", "--timeout", "120s", manifest(t, plainApp("later", 2)))
	argosy(t, "scale", "--wait", "--timeout", "120s", "kept/web=3")
	r.restore("first", "")
	eventually(t, time.Minute, "what the backup does not know is gone, and what it knows is untouched", func() error {
		if _, err := ready("kept/web", 2); err != nil {
			return err
		}
		if rest, err := everywhere(t.Context(), "later"); err != nil || len(rest) > 0 {
			return fmt.Errorf("still there: %v, %v", rest, err)
		}
		if now := lives(t, "kept"); !maps.Equal(now, before) {
			return fmt.Errorf("it was %v and is %v", before, now)
		}
		return nil
	})
	t.Run("external etcd", func(t *testing.T) { r.t = t; r.external(before) })
}

// lives are an app's running containers on all machines, with when each was started and how often.
func lives(t *testing.T, app string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, m := range w.cluster.Machines {
		text := on(t, m.Name, "sh", "-c", "for c in $(docker ps -q --no-trunc --filter label=argosy.app="+app+"); do docker inspect --format '{{.Id}} {{.State.StartedAt}} {{.RestartCount}}' $c; done")
		for line := range strings.Lines(text) {
			if id, rest, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
				out[id] = m.Name + " " + rest
			}
		}
	}
	return out
}

// restorer makes backups and restores them on m1.
type restorer struct {
	t      *testing.T
	shared string // a directory of the host that m1 has as /run/argosy
	public string
}

// backup writes one where m1 finds it.
func (r *restorer) backup(file string) {
	r.t.Helper()
	if r.public == "" {
		key := filepath.Join(r.shared, "test.key")
		r.public = strings.TrimSpace(argosy(r.t, "backup", "key", key))
		r.t.Cleanup(func() { _ = os.Remove(key) })
	}
	to := filepath.Join(r.shared, file)
	argosy(r.t, "backup", "create", to, "--images", "--for", r.public)
	r.t.Cleanup(func() { _ = os.Remove(to) })
}

// restore replaces the server on m1 by one that is made out of a backup, while agents go on.
func (r *restorer) restore(file, flags string) {
	r.t.Helper()
	on(r.t, "m1", "systemctl", "stop", serverUnit)
	on(r.t, "m1", "rm", "-rf", serverDir)
	on(r.t, "m1", "sh", "-c", "argosy server recover --data-dir "+serverDir+" --from /run/argosy/"+file+" --key /run/argosy/test.key --yes "+flags)
	begun := time.Now()
	on(r.t, "m1", "systemctl", "start", serverUnit)
	eventually(r.t, time.Minute, "all machines are ready", func() error {
		var res argosyv1.ListMachinesResponse
		if err := ask(&res, "machines"); err != nil {
			return err
		}
		for _, m := range res.Machines {
			if m.Condition != argosyv1.MachineCondition_MACHINE_CONDITION_READY {
				return fmt.Errorf("%s is %v", m.GetMachine().GetName(), m.Condition)
			}
		}
		if len(res.Machines) != len(w.cluster.Machines) {
			return errors.New("machines are missing")
		}
		return nil
	})
	r.t.Logf("machines are back %.1f s after the server was started", time.Since(begun).Seconds())
}

// external moves the cluster into an etcd of its own, adds a server, kills the leader, and moves the cluster back.
func (r *restorer) external(before map[string]string) {
	t := r.t
	host := strings.TrimSpace(on(t, "m1", "sh", "-c", "ip -4 route show default | sed 's/.*via \\([0-9.]*\\).*/\\1/'"))
	etcd, err := etcdserver.Start(etcdserver.Options{Dir: t.TempDir(), Host: host})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Stop)
	for _, machine := range []string{"m1", "m2"} {
		for _, file := range []string{etcd.CAFile, etcd.CertFile, etcd.KeyFile, etcd.PasswordFile} {
			giveFile(t, machine, file, "/etc/argosy-store/"+filepath.Base(file))
		}
	}
	flags := "--store-endpoints " + etcd.Endpoint + " --store-ca /etc/argosy-store/ca.pem --store-cert /etc/argosy-store/client.pem" +
		" --store-key /etc/argosy-store/client.key --store-user " + etcdserver.User + " --store-password-file /etc/argosy-store/password"
	r.backup("second")
	defer r.home()
	serverFlags(t, "m1", flags)
	r.restore("second", flags)

	serverFlags(t, "m2", flags)
	token := strings.TrimSpace(argosy(t, "token", "create", "--for-server"))
	on(t, "m2", "argosy", "join", "--server", "--data-dir", serverDir, "--name", "m2", token)
	on(t, "m2", "systemctl", "start", serverUnit)
	eventually(t, time.Minute, "one of two servers can be spared", func() error {
		var res argosyv1.ListServersResponse
		if err := ask(&res, "servers"); err != nil || res.Spare != 1 {
			return fmt.Errorf("%v, %v", &res, err)
		}
		return nil
	})
	argosy(t, "apply", "--wait", "--timeout", "120s", manifest(t, plainApp("outside", 2)))
	after := lives(t, "outside")
	begun := time.Now()
	on(t, "m1", "systemctl", "kill", "--signal", "KILL", serverUnit)
	on(t, "m1", "systemctl", "stop", serverUnit) // which has it stay away
	on(t, "m2", "argosy", "scale", "outside/web=1")
	took := time.Since(begun)
	t.Logf("decided %.1f s after the leader was killed", took.Seconds())
	if took > 8*time.Second {
		t.Errorf("the next decision took %s", took)
	}
	on(t, "m1", "systemctl", "start", serverUnit)
	eventually(t, time.Minute, "one replica is left, and untouched", func() error {
		if _, err := ready("outside/web", 1); err != nil {
			return err
		}
		now := lives(t, "outside")
		for id, life := range now {
			if len(now) != 1 || after[id] != life {
				return fmt.Errorf("it was %v and is %v", after, now)
			}
		}
		return nil
	})
	argosy(t, "delete", "outside", "--volumes", "--yes", "--wait", "--timeout", "60s")
	if now := lives(t, "kept"); !maps.Equal(now, before) {
		t.Errorf("it was %v and is %v", before, now)
	}
}

// home moves the cluster back into the server on m1, which is alone again.
func (r *restorer) home() {
	r.t.Helper()
	r.backup("third")
	for _, machine := range []string{"m1", "m2"} {
		on(r.t, machine, "rm", "-rf", path.Dir(dropIn), "/etc/argosy-store")
		on(r.t, machine, "systemctl", "daemon-reload")
	}
	on(r.t, "m2", "systemctl", "stop", serverUnit)
	on(r.t, "m2", "rm", "-rf", serverDir)
	r.restore("third", "")
}

// serverFlags has a machine's server run with more flags from its next start on.
func serverFlags(t *testing.T, machine, flags string) {
	t.Helper()
	script := fmt.Sprintf(`mkdir -p %s && { echo '[Service]'; echo ExecStart=; sed -n 's|^ExecStart=.*|& %s|p' /etc/systemd/system/%s; } > %s && systemctl daemon-reload`,
		path.Dir(dropIn), flags, serverUnit, dropIn)
	on(t, machine, "sh", "-c", script)
}

// giveFile copies a file of this host into a machine.
func giveFile(t *testing.T, machine, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	on(t, machine, "sh", "-c", fmt.Sprintf("umask 077; mkdir -p %s && echo %s | base64 -d > %s", path.Dir(to), base64.StdEncoding.EncodeToString(data), to))
}

// quietly runs a command in a machine, also when the test's own context is over.
func quietly(machine string, cmd ...string) error {
	_, err := w.local.Exec(context.Background(), machine, cmd...)
	return err
}
