//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

const calm = `argosy: v1
app: calm
containers:
  web: {image: argosy-example/apache:2.4, entrypoint: [sleep, infinity], stop_grace_period: 1s, cpus: 0.1, mem_limit: 64m}
  db: {image: argosy-example/apache:2.4, entrypoint: [sleep, infinity], stop_grace_period: 1s, cpus: 0.1, mem_limit: 64m, volumes: ["data:/data"]}
stacks:
  web: {containers: [web], placement: {spread: [machine]}}
  db: {containers: [db], volumes: {data: {}}, placement: {require: ["machine != m1"]}}
cluster: {web: 3, db: 1}
`

// TestDrain: a machine whose Engine hangs is called that and nothing of it is touched; it is drained, and leaves.
func TestDrain(t *testing.T) {
	argosy(t, "apply", manifest(t, calm), "--wait", "--timeout", "3m")
	removeApp(t, "calm")
	db, err := ready("calm/db", 1)
	if err != nil {
		t.Fatal(err)
	}
	machine := db[0].MachineName
	engineHangs(t, machine)
	machineDrains(t, machine)
	machineLeaves(t, machine)
}

// engineHangs stops the machine's dockerd for a while, with its connections open.
func engineHangs(t *testing.T, machine string) {
	before, err := containers(t.Context(), machine, "calm")
	if err != nil {
		t.Fatal(err)
	}
	signal := func(name string) {
		if out, err := w.local.Exec(context.WithoutCancel(t.Context()), machine, "systemctl", "kill", "--kill-who=main", "-s", name, "docker.service"); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
	signal("SIGSTOP")
	t.Cleanup(func() { signal("SIGCONT") })
	eventually(t, 10*time.Second, "the Engine of "+machine+" is said not to answer", func() error {
		var m argosyv1.MachineStatus
		if err := ask(&m, "machines", "show", machine); err != nil || !strings.Contains(m.Message, "does not answer") {
			return fmt.Errorf("it is said: %s (%v)", m.Message, err)
		}
		db, err := replicas("calm/db")
		if err == nil && db[0].State != argosyv1.ReplicaState_REPLICA_STATE_UNSPECIFIED {
			err = fmt.Errorf("calm/db.1 is said to be %s", db[0].State)
		}
		return err
	})
	eventually(t, time.Minute, "an event says so", func() error {
		if out := argosy(t, "events", "--tail", "1000"); !strings.Contains(out, "machine "+machine+" engine answers → engine silent") {
			return fmt.Errorf("events:\n%s", out)
		}
		return nil
	})
	signal("SIGCONT")
	eventually(t, time.Minute, "everything is seen again", func() error {
		_, err := ready("calm", 4)
		return err
	})
	after, err := containers(t.Context(), machine, "calm")
	if err != nil || !maps.Equal(before, after) {
		t.Errorf("an Engine that hung for a while cost containers: %v, before %v; %v", after, before, err)
	}
}

// machineDrains: what has no data goes elsewhere, what has data stays until the deadline and beyond.
func machineDrains(t *testing.T, machine string) {
	r := fails(t, 3, "machines", "drain", machine, "--reason", "a test", "--deadline", "8s", "--wait")
	for _, want := range []string{"volume data is there", "its deadline has passed"} {
		if !strings.Contains(r.out+r.err, want) {
			t.Errorf("nothing is said about %q: %s", want, r)
		}
	}
	web, err := ready("calm/web", 3)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range web {
		if r.MachineName == machine {
			t.Errorf("%v is still on %s: %s", r.GetReplica().GetKey(), machine, r.Message)
		}
	}
	if _, err := everywhere(t.Context(), "calm"); err != nil {
		t.Error(err)
	}
}

// machineLeaves: not with data, unless that is given up; then it is no member and its agent is disabled. It joins again.
func machineLeaves(t *testing.T, machine string) {
	out, err := w.local.Exec(t.Context(), machine, "argosy", "leave", "--stop-data", "--deadline", "30s")
	if err == nil || !strings.Contains(err.Error()+string(out), "data of 1 volume") {
		t.Fatalf("it left with data: %s %v", out, err)
	}
	t.Cleanup(func() {
		cluster, err := w.local.Up(context.WithoutCancel(t.Context()), 3)
		if err != nil {
			t.Fatal(err)
		}
		w.cluster = cluster
	})
	t.Logf("%s", on(t, machine, "argosy", "leave", "--force", "--yes"))
	if out := argosy(t, "machines", "-o", "name"); strings.Contains(out, machine) {
		t.Errorf("%s has left and is still there: %s", machine, out)
	}
	if out, err := w.local.Exec(t.Context(), machine, "systemctl", "is-enabled", "argosy-agent.service"); err == nil {
		t.Errorf("the agent's unit is still %s", out)
	}
	eventually(t, time.Minute, "what ran there runs elsewhere", func() error {
		_, err := ready("calm", 4)
		return err
	})
	if left, err := containers(t.Context(), machine, "calm"); err != nil || len(left) > 0 {
		t.Errorf("%s has left, and runs %v; %v", machine, left, err)
	}
}
