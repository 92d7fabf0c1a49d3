//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// TestServers: a server on each machine; the leader is killed, stopped and cut off, with -outage the store
// then has no majority, and leaders change all the time; no container is touched.
func TestServers(t *testing.T) {
	threeServers(t)
	argosy(t, "apply", "--wait", manifest(t, `argosy: v1
app: still
containers:
  web: {image: argosy-example/apache:2.4, expose: [80], cpus: 0.1, mem_limit: 64m}
stacks:
  web: {containers: [web], placement: {spread: [machine]}}
cluster: {web: 3}
`))
	t.Cleanup(func() { removeApp(t, "still") })
	before, err := everywhere(t.Context(), "still")
	if err != nil || len(before) != 3 {
		t.Fatalf("%d containers, %v", len(before), err)
	}
	for i, fault := range []struct {
		name     string
		do, undo func(machine string)
	}{
		{"killed", func(m string) { killUnit(t, m, "argosy-server.service") }, func(string) {}},
		{"stopped", func(m string) { on(t, m, "systemctl", "kill", "--signal", "STOP", "argosy-server.service") },
			func(m string) { on(t, m, "systemctl", "kill", "--signal", "CONT", "argosy-server.service") }},
		{"cut off", func(m string) {
			if err := w.local.Cut(context.Background(), m); err != nil {
				t.Fatal(err)
			}
		}, func(m string) {
			if err := w.local.Heal(context.Background(), m); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(fault.name, func(t *testing.T) { leaderFault(t, i+1, fault.do, fault.undo, before) })
	}
	if *outage > 0 {
		one := startWriter(t)
		eventually(t, time.Minute, "the replica writes", one.writes)
		t.Run("the store stops", func(t *testing.T) { storeStops(t, one) })
		t.Run("leaders change", func(t *testing.T) { leadersChange(t, one) })
		t.Log(one.judge(t))
	}
}

// leaderFault does something to the leader, has another decide, undoes it, and sees that all is as before.
func leaderFault(t *testing.T, round int, do, undo func(machine string), before map[string]string) {
	lead, other := wholeServers(t)
	counts := map[int]int{1: 4, 2: 3, 3: 4}
	begun := time.Now()
	do(lead)
	healed := false
	defer func() {
		if !healed {
			undo(lead)
		}
	}()
	// Another server is asked, on its machine, and waits for the next leader by itself.
	on(t, other, "argosy", "scale", fmt.Sprintf("still/web=%d", counts[round]))
	t.Logf("decided %.1f s after the leader went", time.Since(begun).Seconds())
	undo(lead)
	healed = true
	wholeServers(t)
	eventually(t, time.Minute, "the app is whole", func() error {
		_, err := ready("still/web", counts[round])
		return err
	})
	after, err := everywhere(t.Context(), "still")
	if err != nil {
		t.Fatal(err)
	}
	for what, id := range before {
		if after[what] != id {
			t.Errorf("%s was %s and is %s: a change of leader touched it", what, id, after[what])
		}
	}
}

// wholeServers waits until three servers are well and returns the leader's machine and another's.
func wholeServers(t *testing.T) (lead, other string) {
	t.Helper()
	eventually(t, time.Minute, "three servers are well", func() error {
		var res argosyv1.ListServersResponse
		if err := ask(&res, "servers"); err != nil {
			return err
		}
		if res.Spare != 1 || len(res.Servers) != 3 {
			return fmt.Errorf("%v", res.Servers)
		}
		i := slices.IndexFunc(res.Servers, func(s *argosyv1.ServerStatus) bool { return s.Leader })
		if i < 0 {
			return errors.New("nobody leads")
		}
		lead, other = res.Servers[i].Name, res.Servers[(i+1)%3].Name
		return nil
	})
	return lead, other
}
