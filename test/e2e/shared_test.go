//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/volume/volumetest"
	"github.com/argosy-cluster/argosy/test/sharedisk"
)

// shared is a disk that all machines see, with an ext4 file system of that label.
type shared struct {
	*sharedisk.Disk
	image string // the file; nobody may write it but through the disk
	views map[string]*sharedisk.View
	nodes map[string]string // by machine, its loop device
}

func newShared(t *testing.T, label string) *shared {
	t.Helper()
	logIn(t)
	image := volumetest.Image(t, 512)
	volumetest.Format(t, image, "-m", "0", "-L", label)
	d, err := sharedisk.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	s := &shared{Disk: d, image: image, views: map[string]*sharedisk.View{}, nodes: map[string]string{}}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("something still lies on the shared disk: %v", err)
		}
	})
	for _, m := range w.cluster.Machines {
		v, err := d.Show(m.Name, filepath.Join(t.TempDir(), m.Name))
		if err != nil {
			t.Fatal(err)
		}
		s.views[m.Name] = v
		s.nodes[m.Name] = volumetest.Loop(t, v.Path(), false)
		s.plug(t, m.Name)
		t.Cleanup(func() { _ = w.local.HideDevice(context.Background(), m.Name, s.nodes[m.Name]) }) // or it shows somebody else's one day
	}
	return s
}

// logIn has the cluster have three servers, and the tests ask whichever of them answers.
func logIn(t *testing.T) {
	t.Helper()
	threeServers(t)
	token := argosy(t, "token", "create", "--user", "storage", "--role", "admin")
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	if r := w.run([]byte(token), "login", "--name", "proof", "--token-file", "-"); r.code != 0 {
		t.Fatal(r)
	}
	eventually(t, 3*time.Minute, "three witnesses decide about leases", func() error {
		var res argosyv1.ListServersResponse
		if err := ask(&res, "servers"); err != nil {
			return err
		}
		if len(res.LeaseMembers) != 3 || len(res.LeaseNext) > 0 {
			return fmt.Errorf("%v decide, and %v as well: %s", res.LeaseMembers, res.LeaseNext, res.LeaseMessage)
		}
		return nil
	})
	socket := w.cluster.Server
	w.cluster.Server = "proof"
	t.Cleanup(func() { w.cluster.Server = socket })
}

// plug gives a machine its node of the disk; one that boots has lost it.
func (s *shared) plug(t *testing.T, machine string) {
	t.Helper()
	if err := w.local.ShowDevice(t.Context(), machine, s.nodes[machine]); err != nil {
		t.Fatal(err)
	}
}

// database is a MariaDB on a shared disk.
func database(label string) string {
	return fmt.Sprintf(`argosy: v1
app: ledger
containers:
  mysql:
    image: argosy-example/mariadb:10.11
    environment: {MARIADB_DATABASE: ledger}
    volumes: ["data:/var/lib/mysql"]
    healthcheck: {test: [CMD, healthcheck.sh, --connect], interval: 2s, timeout: 5s, retries: 5, start_period: 60s}
    cpus: 0.2
    mem_limit: 192m
    stop_grace_period: 10s
stacks:
  db:
    containers: [mysql]
    volumes:
      data: {driver: device, device: "LABEL=%s", filesystem: ext4, options: [noatime]}
cluster: {db: 1}
`, label)
}

// entries writes numbers into the database, one commit each, and keeps which were acknowledged.
type entries struct {
	mu   sync.Mutex
	last int
	end  func()
}

func (e *entries) acknowledged() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.last
}

// Write takes in what the loop in the container prints: the number of each commit that was acknowledged.
func (e *entries) Write(b []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, line := range bytes.Fields(b) {
		if n, err := strconv.Atoi(string(line)); err == nil && n > e.last {
			e.last = n
		}
	}
	return len(b), nil
}

func writeEntries(t *testing.T, from int) *entries {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	loop := fmt.Sprintf("n=%d; while :; do n=$((n+1)); echo \"INSERT INTO entry VALUES ($n); SELECT $n;\"; done | mariadb -N -n ledger", from)
	cmd := exec.CommandContext(ctx, w.argosy, "exec", "ledger/db.1/mysql", "--", "sh", "-c", loop)
	cmd.Env = append(os.Environ(), "ARGOSY_SERVER="+w.cluster.Server, "NO_COLOR=1")
	e := &entries{}
	cmd.Stdout = e
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // it is ended by whatever befalls the machine
	}()
	e.end = func() {
		cancel()
		<-ended
	}
	t.Cleanup(e.end)
	return e
}

// sql asks the database.
func sql(statement string) (string, error) {
	r := w.run(nil, "exec", "ledger/db.1/mysql", "--", "mariadb", "-N", "ledger", "-e", statement)
	if r.code != 0 {
		return "", errors.New(r.String())
	}
	return strings.TrimSpace(r.out), nil
}

// TestFailover: a database on a disk that all machines see moves when its machine loses power, with nobody's help. No
// acknowledged commit is lost, and the disk itself has seen one writer after the other.
func TestFailover(t *testing.T) {
	disk := newShared(t, "proof-ledger")
	argosy(t, "apply", "--wait", "--timeout", "180s", manifest(t, database("proof-ledger")))
	removeApp(t, "ledger")
	if _, err := sql("CREATE TABLE entry (n INT PRIMARY KEY) ENGINE=InnoDB"); err != nil {
		t.Fatal(err)
	}
	whole := 0
	holders := []string{holderOf(t)}
	for range 2 {
		holder := holders[len(holders)-1]
		e := writeEntries(t, whole)
		eventually(t, time.Minute, "the database takes commits", func() error {
			if n := e.acknowledged(); n < whole+20 {
				return fmt.Errorf("%d of them", n)
			}
			return nil
		})
		acknowledged := e.acknowledged() // what is said from here on is said by a machine without a disk, and power ends all at once
		disk.views[holder].Cut()
		begun := time.Now()
		if err := w.local.Kill(t.Context(), holder); err != nil {
			t.Fatal(err)
		}
		e.end()
		var now string
		eventually(t, 4*time.Minute, "the database serves elsewhere", func() error {
			list, err := ready("ledger/db", 1)
			if err != nil {
				return fmt.Errorf("%w\n%s%s", err, w.run(nil, "explain", "ledger/db.1").out, w.run(nil, "volumes").out)
			}
			if now = list[0].GetMachineName(); now == holder {
				return fmt.Errorf("it is still said to be on %s", holder)
			}
			_, err = sql("SELECT 1")
			return err
		})
		t.Logf("%s lost power after %d commits; %s serves %.1f s later", holder, acknowledged, now, time.Since(begun).Seconds())
		whole = same(t, acknowledged)
		holders = append(holders, now)
		disk.views[holder].Mend()
		if err := w.local.Start(t.Context(), holder); err != nil {
			t.Fatal(err)
		}
		disk.plug(t, holder)
		eventually(t, 2*time.Minute, holder+" is back, and the database is where it was", func() error {
			if err := machineReady(holder); err != nil {
				return err
			}
			all, err := everywhere(t.Context(), "ledger")
			if err != nil || len(all) != 1 {
				return fmt.Errorf("%v, %v", all, err)
			}
			return nil
		})
	}
	order(t, disk, holders)
}

// holderOf is the machine that the database is on.
func holderOf(t *testing.T) string {
	t.Helper()
	list, err := ready("ledger/db", 1)
	if err != nil {
		t.Fatal(err)
	}
	return list[0].GetMachineName()
}

// same checks that what was acknowledged is there, without a gap, and that the tables are whole; it returns the last entry.
func same(t *testing.T, acknowledged int) (last int) {
	t.Helper()
	text, err := sql("SELECT COUNT(*), COALESCE(MAX(n), 0) FROM entry")
	if err != nil {
		t.Fatal(err)
	}
	var count int
	if _, err := fmt.Sscan(text, &count, &last); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	if count != last || last < acknowledged {
		t.Errorf("%d entries up to %d, and %d were acknowledged", count, last, acknowledged)
	}
	if text, err := sql("CHECK TABLE entry EXTENDED"); err != nil || !strings.HasSuffix(text, "OK") {
		t.Errorf("the table is not whole: %s, %v", text, err)
	}
	return last
}

// machineReady is nil when a machine is ready.
func machineReady(name string) error {
	var res argosyv1.ListMachinesResponse
	if err := ask(&res, "machines"); err != nil {
		return err
	}
	for _, m := range res.Machines {
		if m.GetMachine().GetName() == name && m.GetMachine().GetCondition() == argosyv1.MachineCondition_MACHINE_CONDITION_READY {
			return nil
		}
	}
	return fmt.Errorf("%s is not ready", name)
}

// order checks by the disk's own record that machines wrote one after another.
func order(t *testing.T, disk *shared, holders []string) {
	t.Helper()
	var who []string
	for _, turn := range disk.Turns() {
		t.Logf("%s wrote %d times, %.1f MiB, for %.1f s", turn.View, turn.Writes, float64(turn.Bytes)/(1<<20), turn.To.Sub(turn.From).Seconds())
		who = append(who, turn.View)
	}
	if !slices.Equal(who, holders) {
		t.Errorf("the database was on %v, and the disk was written by %v", holders, who)
	}
}
