package witness_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/claims/witness"
)

// TestHearIsStep: whatever Hear answers, Step answers too, and leaves the witness the same.
func TestHearIsStep(t *testing.T) {
	profile := claims.Default()
	names, sessions, machines := []claims.ID{"a", "b", "c"}, []claims.Session{"s", "t"}, []claims.Machine{"m", "n"}
	rapid.Check(t, func(t *rapid.T) {
		now := time.Duration(0)
		s, _ := witness.Open(now, "w", profile, witness.Table{}, false)
		s, _ = witness.Step(s, now, witness.Configure{Config: claims.Config{Epoch: claims.Epoch{Generation: 1, Revision: 2}, Members: []claims.Witness{"w"}}})
		for range rapid.IntRange(1, 40).Draw(t, "events") {
			now += time.Duration(rapid.IntRange(0, 8000).Draw(t, "later")) * time.Millisecond
			r := claims.Renewal{Machine: rapid.SampledFrom(machines).Draw(t, "machine"), Session: rapid.SampledFrom(sessions).Draw(t, "session"),
				Epoch: claims.Epoch{Generation: 1, Revision: rapid.Uint64Range(1, 2).Draw(t, "epoch")}, Round: rapid.Uint64Range(0, 5).Draw(t, "round")}
			for _, id := range names {
				if rapid.Bool().Draw(t, "asks") {
					r.Items = append(r.Items, claims.Item{Claim: id, Session: r.Session, Token: claims.Token{Generation: 1, Revision: rapid.Uint64Range(1, 3).Draw(t, "token")},
						Intent: rapid.SampledFrom([]claims.Intent{claims.Acquire, claims.Continue, claims.Continue, claims.Release}).Draw(t, "intent")})
				}
			}
			next, effects := witness.Step(s, now, witness.Renewal{Renewal: r})
			before, _ := witness.Step(s, -1, witness.Fence{}) // a copy
			ack, ok := witness.Hear(&s, now, r)
			if !ok {
				if diff := cmp.Diff(before, s); diff != "" {
					t.Fatalf("it did not answer %v, and changed\n%s", r, diff)
				}
				s = next
				continue
			}
			if diff := cmp.Diff([]witness.Effect{witness.Reply{Ack: ack}}, effects); diff != "" {
				t.Fatalf("to %v the answers differ:\n%s", r, diff)
			}
			if diff := cmp.Diff(next, s); diff != "" {
				t.Fatalf("after %v:\n%s", r, diff)
			}
		}
	})
}
