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

// liveness is how long a machine may be silent before it is lost.
func liveness(t *testing.T) time.Duration {
	t.Helper()
	var c argosyv1.GetClusterResponse
	if err := ask(&c, "status"); err != nil {
		t.Fatal(err)
	}
	d := c.GetSettings().GetLiveness().AsDuration()
	if d <= 0 {
		t.Fatalf("the cluster's liveness time is %s", d)
	}
	return d
}

// condition of a machine, as the server tells it.
func condition(machine string) (argosyv1.MachineCondition, error) {
	var m argosyv1.MachineStatus
	err := ask(&m, "machines", "show", machine)
	return m.Condition, err
}

// victim picks a machine other than the server's that runs a balancer, and
// splits the lamp replicas into those on it and those elsewhere.
func victim(t *testing.T) (machine string, on, off []int) {
	t.Helper()
	list, err := ready("shop/balancer", 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		if r.MachineName != "m1" {
			machine = r.MachineName
		}
	}
	lamps, err := ready("shop/lamp", 5)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range lamps {
		number := int(r.GetReplica().GetKey().GetNumber())
		if r.MachineName == machine {
			on = append(on, number)
		} else {
			off = append(off, number)
		}
	}
	if len(on) == 0 {
		t.Fatalf("no lamp is on %s", machine)
	}
	return machine, on, off
}

// movedAway waits until the machine counts as lost, its balancer runs
// elsewhere, and its lamps wait for their data.
func movedAway(t *testing.T, machine string, on, off []int, patience time.Duration) {
	t.Helper()
	eventually(t, patience+20*time.Second, machine+" is lost", func() error {
		c, err := condition(machine)
		if err == nil && c != argosyv1.MachineCondition_MACHINE_CONDITION_LOST {
			err = fmt.Errorf("it is %v", c)
		}
		return err
	})
	eventually(t, 30*time.Second, "two balancers are ready elsewhere", func() error {
		list, err := ready("shop/balancer", 2)
		for _, r := range list {
			if r.MachineName == machine {
				err = errors.Join(err, fmt.Errorf("%v is still said to be on %s", r.GetReplica().GetKey(), machine))
			}
		}
		return err
	})
	for _, b := range balancers(t) {
		eventually(t, 15*time.Second, fmt.Sprintf("the replicas that are left answer through %s", b), func() error {
			return serves(t.Context(), b, off...)
		})
	}
	list, err := replicas("shop/lamp")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		if !slices.Contains(on, int(r.GetReplica().GetKey().GetNumber())) {
			continue
		}
		if r.State == argosyv1.ReplicaState_REPLICA_STATE_READY {
			t.Errorf("%v is said to be ready, and nobody can have seen it lately", r.GetReplica().GetKey())
		}
		if r.Message == "" {
			t.Errorf("%v waits and does not say for what", r.GetReplica().GetKey())
		}
		t.Logf("%v: %s", r.GetReplica().GetKey(), r.Message)
	}
}

// wholeAgain waits until everything is ready and runs exactly once.
func wholeAgain(t *testing.T) {
	t.Helper()
	eventually(t, 60*time.Second, "every replica is ready", func() error {
		_, err := ready("shop", 7)
		return err
	})
	eventually(t, 20*time.Second, "everything runs exactly once", func() error {
		all, err := everywhere(t.Context(), "shop")
		if err == nil && len(all) != 5*2+2 {
			err = fmt.Errorf("%d containers run, want 12: %v", len(all), all)
		}
		return err
	})
	for _, b := range balancers(t) {
		eventually(t, 15*time.Second, fmt.Sprintf("all five answer through %s", b), func() error {
			return serves(t.Context(), b, 1, 2, 3, 4, 5)
		})
	}
}

func lampMachineDies(t *testing.T) {
	patience := liveness(t)
	machine, on, off := victim(t)
	if err := w.local.Kill(t.Context(), machine); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.local.Start(context.WithoutCancel(t.Context()), machine) }) //nolint:errcheck // it may run already
	movedAway(t, machine, on, off, patience)
	if err := w.local.Start(t.Context(), machine); err != nil {
		t.Fatal(err)
	}
	wholeAgain(t)
}

// lampCut takes a machine off the network: what runs on it goes on running,
// unseen, and when it is back the balancer that has moved must not run twice.
func lampCut(t *testing.T) {
	patience := liveness(t)
	machine, on, off := victim(t)
	if err := w.local.Cut(t.Context(), machine); err != nil {
		t.Fatal(err)
	}
	heal := func() error { return w.local.Heal(context.WithoutCancel(t.Context()), machine) }
	t.Cleanup(func() { heal() }) //nolint:errcheck // it may be healed already
	movedAway(t, machine, on, off, patience)
	some, err := containers(t.Context(), machine, "shop")
	if err != nil || len(some) == 0 {
		t.Errorf("a machine without servers must keep what it runs; it runs %v, %v", some, err)
	}
	if err := heal(); err != nil {
		t.Fatal(err)
	}
	wholeAgain(t)
}
