package witness_test

import (
	"fmt"
	"testing"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	"github.com/argosy-cluster/argosy/internal/lease"
)

// BenchmarkRound is what a witness spends on one machine's round, TLS included, in a cluster of so many machines that each hold
// a claim: with rounds every two seconds, 10,000 machines need 5,000 of them a second.
func BenchmarkRound(b *testing.B) {
	for _, machines := range []int{1, 1000, 10_000} {
		b.Run(fmt.Sprint(machines), func(b *testing.B) {
			r := start(b)
			ids := make([]*leasev1.Item, machines)
			for i := range ids {
				ids[i] = &leasev1.Item{Claim: fmt.Sprintf("default/shop/db.%d/data", i), Token: &leasev1.Stamp{Generation: 1, Revision: 10}, Intent: leasev1.Intent_INTENT_ACQUIRE}
			}
			c, err := r.dial(r.guards["m1"])
			if err != nil {
				b.Fatal(err)
			}
			round := uint64(0)
			ask := func(items []*leasev1.Item) {
				round++
				if err := lease.Write(c, &leasev1.Renewal{Session: "one", Epoch: &leasev1.Stamp{Generation: 1, Revision: 1}, Round: round, Items: items}); err != nil {
					b.Fatal(err)
				}
				ack := &leasev1.Ack{}
				if err := lease.Read(c, ack); err != nil || ack.Refused != "" || !ack.Verdicts[0].Ok {
					b.Fatal(ack, err)
				}
			}
			for at := 0; at < machines; at += 1000 {
				ask(ids[at:min(machines, at+1000)])
			}
			for _, id := range ids {
				id.Intent = leasev1.Intent_INTENT_CONTINUE
			}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				ask(ids[n%machines : n%machines+1])
				n++
			}
		})
	}
}
