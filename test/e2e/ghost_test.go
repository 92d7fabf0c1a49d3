//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestGhosts: containerd and its shims are killed. What comes back ends their containers, and the Engine hears nothing of it: it calls
// them running for ever. They are replaced where they were, on the port that they had, also by an agent that starts only then, and the
// reason is told.
func TestGhosts(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprintf("late=%t", late), func(t *testing.T) { ghosts(t, late) })
	}
}

func ghosts(t *testing.T, late bool) {
	removeApp(t, "haunted")
	argosy(t, "apply", manifest(t, `argosy: v1
app: haunted
containers:
  web:
    image: argosy-example/apache:2.4
    entrypoint: [sleep, infinity]
    ports: ["18081:80"]
    mem_limit: 32m
stacks:
  web: {containers: [web]}
cluster:
  web: 3
`))
	eventually(t, time.Minute, "all are ready", func() error {
		_, err := ready("haunted/web", 3)
		return err
	})
	const machine = "m2"
	before, err := containers(t.Context(), machine, "haunted")
	if err != nil || len(before) != 1 {
		t.Fatalf("on %s are %v: %v", machine, before, err)
	}
	old := slices.Collect(maps.Values(before))[0]
	pid := strings.TrimSpace(on(t, machine, "docker", "inspect", "--format", "{{.State.Pid}}", old))
	if late {
		on(t, machine, "systemctl", "stop", "argosy-agent")
	}
	on(t, machine, "systemctl", "kill", "--signal", "KILL", "containerd.service")
	eventually(t, time.Minute, "the process is gone", func() error {
		if out, err := w.local.Exec(t.Context(), machine, "test", "-e", "/proc/"+pid); err == nil {
			return fmt.Errorf("process %s is there %s", pid, out)
		}
		return nil
	})
	if state := strings.TrimSpace(on(t, machine, "docker", "inspect", "--format", "{{.State.Status}}", old)); state != "running" {
		t.Fatalf("this Engine noticed the end by itself, so nothing can be tried: it calls the container %s", state)
	}
	if late {
		on(t, machine, "systemctl", "start", "argosy-agent")
	}
	eventually(t, 2*time.Minute, "another container runs on the machine, and nothing else", func() error {
		now, err := containers(t.Context(), machine, "haunted")
		if err == nil && (len(now) != 1 || maps.Equal(now, before)) {
			err = fmt.Errorf("%v", now)
		}
		return err
	})
	eventually(t, time.Minute, "all are ready again", func() error {
		list, err := ready("haunted/web", 3)
		for _, r := range list {
			if r.MachineName == machine && r.GetObservation().GetMembers()[0].GetContainerId() == old {
				err = fmt.Errorf("the container that ended is said to be ready")
			}
		}
		return err
	})
	if out, want := argosy(t, "events", "haunted", "--tail", "1000"), "its process "+pid+" is gone"; !strings.Contains(out, want) {
		t.Errorf("events do not say %q:\n%s", want, out)
	}
}
