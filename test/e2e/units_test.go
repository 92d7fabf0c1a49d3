//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const stead = `argosy: v1
app: stead
units:
  tick@.service: |
    [Service]
    ExecStart=/bin/sh -c "echo tick %i; exec sleep infinity"
    CPUQuota=5%
    MemoryMax=16M
  run-stead.mount: |
    [Mount]
    What=tmpfs
    Where=/run/stead
    Type=tmpfs
  keeper.service: |
    [Unit]
    RequiresMountsFor=/run/stead
    [Service]
    ExecStartPre=/usr/bin/mountpoint -q /run/stead
    ExecStart=/usr/bin/sleep infinity
containers:
  web: {image: argosy-example/apache:2.4, entrypoint: [sleep, infinity], stop_grace_period: 1s, cpus: 0.1, mem_limit: 64m, depends_on: [keeper.service]}
stacks:
  tick: {units: [tick@.service], placement: {spread: [machine]}}
  keeper: {units: [run-stead.mount, keeper.service], containers: [web]}
cluster: {tick: 5, keeper: 1}
`

// TestUnits: systemd units as members of stacks, and submitted by themselves, on real machines.
func TestUnits(t *testing.T) {
	argosy(t, "apply", manifest(t, stead), "--wait", "--timeout", "3m")
	before := pids(t, "tick@*.service", "keeper.service")
	if len(before) != 6 {
		t.Errorf("5 ticks and a keeper run as %v", before)
	}
	if out := argosy(t, "logs", "stead/tick.3"); !strings.Contains(out, "tick 3") {
		t.Errorf("the log of tick 3: %s", out)
	}
	// Nothing that happens to agents concerns what systemd runs.
	for _, m := range w.cluster.Machines {
		on(t, m.Name, "systemctl", "kill", "-s", "KILL", "argosy-agent.service")
	}
	eventually(t, time.Minute, "everything is seen again after all agents were killed", func() error {
		_, err := ready("stead", 6)
		return err
	})
	if after := pids(t, "tick@*.service", "keeper.service"); !maps.Equal(before, after) {
		t.Errorf("agents were killed, and processes are %v; they were %v", after, before)
	}
	// A changed text replaces that unit alone.
	argosy(t, "apply", manifest(t, strings.Replace(stead, "echo tick", "echo tock", 1)), "--wait", "--timeout", "3m")
	after := pids(t, "tick@*.service", "keeper.service")
	for name, pid := range before {
		if kept := after[name] == pid; kept == strings.HasPrefix(name, "tick") {
			t.Errorf("%s: process %s, before the change %s", name, after[name], pid)
		}
	}
	t.Run("alone", unitsAlone)
	t.Run("fleet", fleetSocket)
	eventually(t, time.Minute, "the server answers again", func() error { _, err := ready("stead", 6); return err })
	argosy(t, "delete", "stead", "--wait", "--timeout", "3m")
	for _, m := range w.cluster.Machines {
		if out := on(t, m.Name, "sh", "-c", "cd /run/systemd/system && ls | grep -E 'tick|keeper|stead|alone' || true; systemctl list-units --all --plain --no-legend 'tick@*' 'keeper*' 'run-stead*' 'alone*'"); strings.TrimSpace(out) != "" {
			t.Errorf("%s still has:\n%s", m.Name, out)
		}
	}
}

// pids are the main processes of services on all machines, by name; one that runs on two machines fails the test.
func pids(t *testing.T, globs ...string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, m := range w.cluster.Machines {
		out := on(t, m.Name, append([]string{"systemctl", "show", "-p", "Id", "-p", "MainPID", "-p", "ActiveState"}, globs...)...)
		for block := range strings.SplitSeq(strings.TrimSpace(out), "\n\n") {
			unit := map[string]string{}
			for line := range strings.Lines(block) {
				key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
				unit[key] = value
			}
			if unit["ActiveState"] != "active" {
				continue
			}
			if _, twice := found[unit["Id"]]; twice {
				t.Errorf("%s runs on two machines", unit["Id"])
			}
			found[unit["Id"]] = m.Name + "/" + unit["MainPID"]
		}
	}
	return found
}

// machineOf is where a process of pids runs.
func machineOf(process string) string {
	machine, _, _ := strings.Cut(process, "/")
	return machine
}

func unitFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// unitsAlone: the commands say the truth, in words and exit codes.
func unitsAlone(t *testing.T) {
	argosy(t, "unit", "start", unitFile(t, "alone.service", "[Service]\nExecStart=/bin/sh -c \"echo alone speaks; exec sleep infinity\"\n[X-Fleet]\nMachineMetadata=machine=m2\n"), "--timeout", "3m")
	first := pids(t, "alone.service")
	if !strings.HasPrefix(first["alone.service"], "m2/") {
		t.Errorf("alone.service runs as %v", first)
	}
	if out := argosy(t, "unit", "status", "alone"); !strings.Contains(out, "alone speaks") {
		t.Errorf("the status of a unit does not show what it wrote: %s", out)
	}
	if out := argosy(t, "unit", "status", "-n", "0", "alone"); strings.Contains(out, "alone speaks") {
		t.Errorf("the status shows lines that nobody wants: %s", out)
	}
	argosy(t, "unit", "restart", "alone", "--timeout", "3m")
	if second := pids(t, "alone.service"); second["alone.service"] == first["alone.service"] || len(second) != 1 {
		t.Errorf("restarted, it runs as %v; it was %v", second, first)
	}
	argosy(t, "unit", "stop", "alone", "--timeout", "3m")
	if still := pids(t, "alone.service"); len(still) > 0 {
		t.Errorf("stopped, it runs as %v", still)
	}
	if out := on(t, "m2", "systemctl", "show", "-p", "LoadState", "--value", "alone.service"); strings.TrimSpace(out) != "loaded" {
		t.Errorf("stopped, it is %s on its machine", out)
	}
	argosy(t, "unit", "destroy", "alone", "--timeout", "3m")
	r := fails(t, 1, "unit", "start", unitFile(t, "alone-fails.service", "[Service]\nExecStart=/bin/sh -c 'exit 3'\nRestart=no\n"), "--timeout", "3m")
	if !strings.Contains(r.err, "alone-fails.service failed on") {
		t.Errorf("a unit that fails: %s", r)
	}
	argosy(t, "unit", "destroy", "alone-fails", "--timeout", "3m")
	unitsReplace(t)
}

// unitsReplace: a unit that may run on one machine only moves the one that it replaces away from there. It starts when that is gone,
// which takes its time to stop.
func unitsReplace(t *testing.T) {
	argosy(t, "unit", "start", unitFile(t, "alone-old.service", "[Service]\nExecStart=/usr/bin/sleep infinity\nExecStop=/usr/bin/sleep 3\n"), "--timeout", "3m")
	machine := machineOf(pids(t, "alone-old.service")["alone-old.service"])
	argosy(t, "unit", "start", unitFile(t, "alone-new.service", `[Service]
ExecStartPre=/bin/sh -c "systemctl show -p ActiveState alone-old.service | grep -qx ActiveState=inactive"
ExecStart=/usr/bin/sleep infinity
Restart=no
[X-Fleet]
Replaces=alone-old.service
MachineMetadata=machine=`+machine+"\n"), "--timeout", "3m")
	eventually(t, time.Minute, "what is replaced runs on another machine", func() error {
		now := pids(t, "alone-old.service", "alone-new.service")
		if old := machineOf(now["alone-old.service"]); machineOf(now["alone-new.service"]) != machine || old == "" || old == machine {
			return fmt.Errorf("the old one was on %s; they run as %v", machine, now)
		}
		return nil
	})
	argosy(t, "unit", "destroy", "alone-new", "alone-old", "--timeout", "3m")
}

// fleetSocket: fleet's API on real machines. The server is given the socket by a change of its unit, and its restart touches
// nothing.
func fleetSocket(t *testing.T) {
	const socket = "/run/argosy/fleet.sock"
	before := pids(t, "tick@*.service", "keeper.service")
	start := strings.TrimSpace(on(t, "m1", "sh", "-c", "sed -n 's/^ExecStart=//p' $(systemctl show -p FragmentPath --value argosy-server.service)"))
	dropIn := "/run/systemd/system/argosy-server.service.d/fleet.conf"
	on(t, "m1", "sh", "-c", "mkdir -p $(dirname "+dropIn+") && printf '[Service]\\nExecStart=\\nExecStart=%s --fleet-api unix://"+socket+"\\n' '"+start+"' > "+dropIn+" && systemctl daemon-reload && systemctl restart argosy-server.service")
	t.Cleanup(func() {
		if out, err := w.local.Exec(context.WithoutCancel(t.Context()), "m1", "sh", "-c", "rm -r $(dirname "+dropIn+") && systemctl daemon-reload && systemctl restart argosy-server.service"); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	ask := func(method, path, body string) (status int, answer string) {
		args := []string{"curl", "-s", "-X", method, "-w", "\n%{http_code}", "--unix-socket", socket, "-H", "Content-Type: application/json"}
		if body != "" {
			args = append(args, "-d", body)
		}
		out, err := w.local.Exec(t.Context(), "m1", append(args, "http://fleet/fleet/v1/"+path)...)
		if err != nil {
			return 0, fmt.Sprint(err)
		}
		text, code, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		if code == "" {
			text, code = "", text
		}
		status, _ = strconv.Atoi(code)
		return status, text
	}
	eventually(t, time.Minute, "the server has its socket for fleet's clients", func() error {
		if status, answer := ask(http.MethodGet, "machines", ""); status != http.StatusOK {
			return fmt.Errorf("%d %s", status, answer)
		}
		return nil
	})
	eventually(t, time.Minute, "everything is seen again", func() error { _, err := ready("stead", 6); return err })
	if after := pids(t, "tick@*.service", "keeper.service"); !maps.Equal(before, after) {
		t.Errorf("the server was restarted, and processes are %v; they were %v", after, before)
	}
	if *fleetctl != "" {
		t.Run("client", fleetClient)
	}
	put := func(name, state string, options string) {
		if status, answer := ask(http.MethodPut, "units/"+name, `{"desiredState":"`+state+`","options":[`+options+`]}`); status != http.StatusCreated {
			t.Errorf("PUT %s: %d %s", name, status, answer)
		}
	}
	const sleeps = `{"section":"Service","name":"ExecStart","value":"/usr/bin/sleep infinity"}`
	put("alone-f.service", "launched", sleeps)
	put("alone-all.service", "launched", sleeps+`,{"section":"X-Fleet","name":"Global","value":"true"}`)
	put("alone-beside.service", "launched", sleeps+`,{"section":"X-Fleet","name":"MachineOf","value":"alone-f.service"}`)
	eventually(t, time.Minute, "the unit is active", func() error {
		if _, answer := ask(http.MethodGet, "state/alone-f.service", ""); !strings.Contains(answer, `"systemdActiveState":"active"`) || !strings.Contains(answer, `"systemdLoadState":"loaded"`) {
			return fmt.Errorf("its state is %s", answer)
		}
		return nil
	})
	eventually(t, time.Minute, "a unit of every machine runs on all three, and another beside its peer", func() error {
		peer := pids(t, "alone-f.service")["alone-f.service"]
		beside := pids(t, "alone-beside.service")["alone-beside.service"]
		if a, b := machineOf(peer), machineOf(beside); a == "" || a != b {
			return fmt.Errorf("alone-f.service runs as %s, alone-beside.service as %s", peer, beside)
		}
		for _, m := range w.cluster.Machines {
			if out, err := w.local.Exec(t.Context(), m.Name, "systemctl", "is-active", "alone-all.service"); err != nil {
				return fmt.Errorf("on %s alone-all.service is %s", m.Name, out)
			}
		}
		return nil
	})
	for _, name := range []string{"alone-beside.service", "alone-all.service", "alone-f.service"} {
		if status, answer := ask(http.MethodDelete, "units/"+name, ""); status != http.StatusNoContent {
			t.Errorf("DELETE %s: %d %s", name, status, answer)
		}
	}
	eventually(t, time.Minute, "no machine has them any more", func() error {
		if left := pids(t, "alone*.service"); len(left) > 0 {
			return fmt.Errorf("there are %v", left)
		}
		return nil
	})
}
