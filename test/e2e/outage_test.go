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

// storeStops stops the majority of the servers for a while: nothing can be decided, and no container is touched.
func storeStops(t *testing.T) {
	before := lives(t, "still")
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
	looks := 0
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for end := time.Now().Add(*outage); time.Now().Before(end); <-tick.C {
		if now := lives(t, "still"); !maps.Equal(now, before) {
			t.Fatalf("without a majority, what was %v is %v", before, now)
		}
		looks++
	}
	signals("CONT")
	resumed = true
	agree(t, before)
	t.Logf("the store stood for %s: %d looks, 0 of %d containers touched", *outage, looks, len(before))
}

// leadersChange ends the leader again and again, as soon as there is one.
func leadersChange(t *testing.T) {
	before := lives(t, "still")
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
			if now := lives(t, "still"); !maps.Equal(now, before) {
				t.Fatalf("while leaders change, what was %v is %v", before, now)
			}
		}
	}
	agree(t, before)
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
func agree(t *testing.T, before map[string]string) {
	t.Helper()
	wholeServers(t)
	eventually(t, time.Minute, "everything is in agreement", func() error {
		if _, err := ready("still/web", len(before)); err != nil {
			return err
		}
		if now := lives(t, "still"); !maps.Equal(now, before) {
			return fmt.Errorf("it was %v and is %v", before, now)
		}
		return nil
	})
}
