package guard

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/argosy-cluster/argosy/internal/claims"
)

// TestRoundsAreDoubledAtMost: whatever witnesses say of the time that is left, no more than every other round is brought forward, and the
// next one comes within P.
func TestRoundsAreDoubledAtMost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := claims.Default()
		s, effects := Step(New(p, three()), 0, Want{"c", claims.Token{Generation: 1, Revision: 7}, "x"})
		left := rapid.OneOf(rapid.Int64(), rapid.Int64Range(0, int64(2*p.Renew)))
		const periods = 20
		for now := time.Duration(0); now <= periods*p.Renew; {
			for _, e := range effects {
				send, ok := e.(Send)
				if !ok {
					continue
				}
				it := send.Renewal.Items[0]
				v := claims.Verdict{Claim: claims.Claimed{ID: it.Claim, Session: it.Session, Token: it.Token}, Intent: it.Intent, Left: time.Duration(left.Draw(t, "left"))}
				s, _ = Step(s, now, Ack{claims.Ack{Witness: send.Witness, Session: s.Session, Epoch: s.Config.Epoch, Round: s.Round, Verdicts: []claims.Verdict{v}}})
			}
			at, ok := Wake(s)
			if !ok || at <= now || at > now+p.Renew {
				t.Fatalf("at %v it wakes at %v, %v", now, at, ok)
			}
			now = at
			s, effects = Step(s, now, Tick{})
		}
		if s.Round > 2*periods+2 {
			t.Fatalf("%d rounds in %d P", s.Round, periods)
		}
	})
}
