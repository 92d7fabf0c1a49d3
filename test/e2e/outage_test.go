//go:build e2e

package e2e

import (
	"flag"
	"fmt"
	"maps"
	"testing"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

var outage = flag.Duration("outage", 0, "how long the store has no majority, and then how long leaders change, in TestServers; 0 leaves both out")

// writerPause is how long a writer that nobody touches may be starved on a busy host. A start takes longer.
const writerPause = 5 * time.Second

// standing tells what must stay as it is: the containers of an app, and a single writer, which has to go on writing by its one lease.
func standing(t *testing.T, one *oneWriter) func(t *testing.T) map[string]string {
	t.Helper()
	turns := len(one.disk.Turns())
	return func(t *testing.T) map[string]string {
		t.Helper()
		now := lives(t, "still")
		maps.Copy(now, lives(t, "one"))
		if got := one.disk.Turns(); len(got) != turns {
			t.Fatalf("the disk was given over: %+v", got[turns-1:])
		}
		return now
	}
}

// storeStops stops the majority of the servers for a while: nothing can be decided, no container is touched, and what writes a shared
// volume writes.
func storeStops(t *testing.T, one *oneWriter) {
	look := standing(t, one)
	before := look(t)
	lead, other := wholeServers(t)
	signals := func(name string) {
		for _, m := range []string{lead, other} {
			if err := quietly(m, "systemctl", "kill", "--signal", name, serverUnit); err != nil {
				t.Error(err)
			}
		}
	}
	signals("STOP")
	resumed := false
	defer func() {
		if !resumed {
			signals("CONT")
		}
	}()
	looks, written, last := 0, one.ears.count(), time.Now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for end := time.Now().Add(*outage); time.Now().Before(end); <-tick.C {
		if now := look(t); !maps.Equal(now, before) {
			t.Fatalf("without a majority, what was %v is %v", before, now)
		}
		if now := one.ears.count(); now > written {
			written, last = now, time.Now()
		} else if pause := time.Since(last); pause > writerPause {
			t.Fatalf("without a majority, what writes a shared volume has written nothing for %s", pause)
		}
		looks++
	}
	signals("CONT")
	resumed = true
	agree(t, look, before)
	t.Logf("the store stood for %s: %d looks, 0 of %d containers touched, and the lease of one of them was never lost", *outage, looks, len(before))
}

// leadersChange ends the leader again and again, as soon as there is one.
func leadersChange(t *testing.T, one *oneWriter) {
	look := standing(t, one)
	before := look(t)
	first, last, rounds := uint64(0), uint64(0), 0
	for end := time.Now().Add(*outage); time.Now().Before(end); {
		lead, term := whoLeads(t)
		if first == 0 {
			first = term
		}
		if last = max(last, term); lead == "" {
			continue // nobody knows of one, and of no term
		}
		// One that ends in order hands over what it leads.
		on(t, lead, "systemctl", "restart", "--no-block", serverUnit)
		rounds++
		if rounds%10 == 0 {
			if now := look(t); !maps.Equal(now, before) {
				t.Fatalf("while leaders change, what was %v is %v", before, now)
			}
		}
	}
	agree(t, look, before)
	if last-first < uint64(outage.Seconds()/5) {
		t.Errorf("the leader changed only %d times in %s", last-first, *outage)
	}
	t.Logf("%d leaders ended, %d terms in %s, one every %.1f s: 0 of %d containers touched", rounds, last-first, *outage, outage.Seconds()/float64(max(1, last-first)), len(before))
}

// whoLeads asks on every machine; the name is empty when nobody knows.
func whoLeads(t *testing.T) (lead string, term uint64) {
	t.Helper()
	for _, m := range w.cluster.Machines {
		out, err := w.local.Exec(t.Context(), m.Name, "argosy", "status", "-o", "json")
		var res argosyv1.GetClusterResponse
		if err == nil && unmarshal(out, &res) == nil && res.Term > term {
			lead, term = res.Leader, res.Term
		}
		if lead != "" {
			break
		}
	}
	return lead, term
}

// agree waits until all is as it was.
func agree(t *testing.T, look func(t *testing.T) map[string]string, before map[string]string) {
	t.Helper()
	wholeServers(t)
	eventually(t, time.Minute, "everything is in agreement", func() error {
		if _, err := ready("still/web", len(before)-1); err != nil {
			return err
		}
		if _, err := ready("one/w", 1); err != nil {
			return err
		}
		if now := look(t); !maps.Equal(now, before) {
			return fmt.Errorf("it was %v and is %v", before, now)
		}
		return nil
	})
}
