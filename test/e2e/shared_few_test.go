//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestFewWitnesses: a machine that reaches leader and storage, and of three witnesses its own only, stops writing in time, and gets no
// lease any more; then another machine does what it cannot.
func TestFewWitnesses(t *testing.T) {
	one := startWriter(t)
	eventually(t, time.Minute, "the replica writes", one.writes)
	holder := one.holder(t)
	own := ""
	for _, m := range w.cluster.Machines {
		if m.Name == holder {
			own = m.Address.String()
		}
	}
	restore := func(ctx context.Context) error { return shell("nft delete table inet few")(ctx, holder) }
	begun := time.Now()
	on(t, holder, "nft", fmt.Sprintf("table inet few { chain out { type filter hook output priority 0; tcp dport 7402 ip daddr != { 127.0.0.1, %s } drop; }; }", own))
	t.Cleanup(func() { _ = restore(context.Background()) })
	eventually(t, 4*time.Minute, "it writes elsewhere", func() error {
		if turns := one.disk.Turns(); turns[len(turns)-1].View == holder {
			return errors.New("the disk is still " + holder + "'s\n" + w.run(nil, "explain", "one/w.1").out)
		}
		return one.writes()
	})
	turns := one.disk.Turns()
	t.Logf("%s was cut off from two of three witnesses: it wrote for %.1f s more, and %s did %.1f s after that", holder, turns[0].To.Sub(begun).Seconds(),
		turns[1].View, turns[1].From.Sub(turns[0].To).Seconds())
	if said := argosy(t, "events", "--tail", "200", "one"); !strings.Contains(said, holder+" has asked for the lease of volume data for longer than") {
		t.Errorf("that is not why it moved:\n%s", said)
	}
	if text := argosy(t, "explain", "one/w.1"); !strings.Contains(text, "it asked for one in vain") {
		t.Errorf("explain does not say why it is not there:\n%s", text)
	}
	if err := restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Log(one.judge(t))
}
