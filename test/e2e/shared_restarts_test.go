//go:build e2e

package e2e

import (
	"flag"
	"testing"
	"time"
)

var restarts = flag.Int("restarts", 0, "how often TestRestarts starts each service anew; 0 leaves it out")

// TestRestarts: agent, server, guard and witness of the machine that writes a shared volume are started anew, again and again, while the
// writer writes. Nobody touches it: it is the same process at the end, and the disk has seen one mount.
func TestRestarts(t *testing.T) {
	if *restarts == 0 {
		t.Skip("it starts services anew as often as it is told to: make restarts ROUNDS=n")
	}
	one := startWriter(t)
	eventually(t, time.Minute, "the replica writes", one.writes)
	holder := one.holder(t)
	process := func() string {
		all, err := containers(t.Context(), holder, "one")
		if err != nil || len(all) != 1 {
			t.Fatalf("%v, %v", all, err)
		}
		for _, id := range all {
			return on(t, holder, "docker", "inspect", "--format", "{{.Id}} {{.State.Pid}} {{.State.StartedAt}}", id)
		}
		return ""
	}
	first := process()
	begun := time.Now()
	for range *restarts {
		for _, unit := range []string{"argosy-agent", "argosy-guard", "argosy-server", "argosy-witness"} {
			on(t, holder, "systemctl", "restart", unit)
		}
	}
	t.Logf("%d restarts of each of four services in %.0f s", *restarts, time.Since(begun).Seconds())
	eventually(t, time.Minute, "the replica is said to be ready, and writes", one.writes)
	if now := process(); now != first || one.holder(t) != holder || len(one.disk.Turns()) != 1 {
		t.Errorf("the writer was touched: before %safter %s%+v", first, now, one.disk.Turns())
	}
	t.Log(one.judge(t))
}
