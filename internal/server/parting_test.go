package server

import (
	"testing"

	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// TestNobodyIsMissedByLeases: of two servers that decide about leases one is removed. The other decides alone then, which needed both.
func TestNobodyIsMissedByLeases(t *testing.T) {
	t.Parallel()
	_, to := ownEtcd(t)
	one, _ := leased(t, externally("s1", to))
	dir := one.admit(t, "s2")
	w := beside(t, dir)
	own(t, dir, func(c *Config) {
		externally("s2", to)(c)
		c.WitnessAdvertise = w.addr
	})
	decide := func(n int) func() bool {
		return func() bool {
			s := one.listed(t)
			return len(s.LeaseMembers) == n && len(s.LeaseNext) == 0
		}
	}
	one.until(t, "both decide about leases", decide(2))

	if _, err := one.asServers().RemoveServer(t.Context(), connect.NewRequest(&argosyv1.RemoveServerRequest{Server: "s2", Force: true, IdempotencyKey: "a"})); err != nil {
		t.Fatal(err)
	}
	one.until(t, "one decides alone", decide(1))
	if res := one.listed(t); len(res.Servers) != 1 {
		t.Errorf("it was removed: %v", res.Servers)
	}
}
