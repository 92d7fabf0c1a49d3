//go:build e2e

package e2e

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// TestShutdown: a machine that is shut down in order gives its shared volume back before anything of it stops, and the volume is
// written elsewhere without a lease being waited for. Services that are started anew, the guard's too, give back nothing.
func TestShutdown(t *testing.T) {
	one := startWriter(t)
	eventually(t, time.Minute, "the replica writes", one.writes)
	holder := one.holder(t)
	for _, unit := range []string{"argosy-agent", "argosy-guard", "argosy-server", "argosy-witness"} {
		on(t, holder, "systemctl", "restart", unit)
		eventually(t, time.Minute, "the replica writes after a restart of "+unit, one.writes)
	}
	if turns := one.disk.Turns(); len(turns) != 1 || one.holder(t) != holder {
		t.Fatalf("restarts of services moved it: %+v", turns)
	}
	if _, err := w.local.Exec(t.Context(), holder, "systemctl", "stop", "argosy-leave"); err == nil {
		t.Error("systemd lets people stop what gives everything back")
	}
	begun := time.Now()
	on(t, holder, "systemctl", "poweroff", "--no-block")
	eventually(t, 2*time.Minute, "it writes elsewhere", func() error {
		if turns := one.disk.Turns(); turns[len(turns)-1].View == holder {
			return errors.New("the disk is still " + holder + "'s")
		}
		return one.writes()
	})
	turns := one.disk.Turns()
	started, err := startedAt(t, turns[1].View)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s was shut down: its last write was %.1f s later, the first of %s %.1f s after that, and its container started %.1f s after the shutdown began",
		holder, turns[0].To.Sub(begun).Seconds(), turns[1].View, turns[1].From.Sub(turns[0].To).Seconds(), started.Sub(begun).Seconds())
	said := argosy(t, "events", "--since", (time.Since(begun) + time.Second).Round(time.Second).String(), "one")
	if !strings.Contains(said, holder+" is about to be shut down, and gives its volumes back") {
		t.Errorf("that is not why it moved:\n%s", said)
	}
	if strings.Contains(said, "lease has run out") {
		t.Errorf("a lease was waited for:\n%s", said)
	}
	eventually(t, time.Minute, holder+" is off", func() error {
		if _, err := w.local.Exec(t.Context(), holder, "true"); err == nil {
			return errors.New("it still runs commands")
		}
		return nil
	})
	if err := w.local.Start(t.Context(), holder); err != nil {
		t.Fatal(err)
	}
	one.disk.plug(t, holder)
	eventually(t, 2*time.Minute, holder+" takes volumes again", func() error {
		if err := machineReady(holder); err != nil {
			return err
		}
		if text := w.run(nil, "machines", "show", holder).out; strings.Contains(text, "shut down") {
			return errors.New(text)
		}
		return nil
	})
	t.Log(one.judge(t))
}

// holder is the machine that the replica is on.
func (one *oneWriter) holder(t *testing.T) string {
	t.Helper()
	list, err := ready("one/w", 1)
	if err != nil {
		t.Fatal(err)
	}
	return list[0].GetMachineName()
}

// startedAt is when the Engine of a machine started the writer's container, by the clock that all machines here share.
func startedAt(t *testing.T, machine string) (time.Time, error) {
	t.Helper()
	all, err := containers(t.Context(), machine, "one")
	if err != nil {
		return time.Time{}, err
	}
	for _, id := range all {
		return time.Parse(time.RFC3339Nano, strings.TrimSpace(on(t, machine, "docker", "inspect", "--format", "{{.State.StartedAt}}", id)))
	}
	return time.Time{}, errors.New("the writer has no container on " + machine)
}
