package guard

import (
	"fmt"
	"testing"
	"time"

	"github.com/argosy-cluster/argosy/internal/claims"
)

// A machine that has had many volumes, one after another, takes more of them, and none with a token that may have been used.
func TestManyClaims(t *testing.T) {
	s := New(claims.Default(), three())
	now := time.Duration(0)
	step := func(e Event) []Effect {
		var effects []Effect
		now += time.Millisecond
		s, effects = Step(s, now, e)
		return effects
	}
	refused := func(effects []Effect) bool {
		for _, e := range effects {
			if tell, ok := e.(Tell); ok && tell.Refused {
				return true
			}
		}
		return false
	}
	token := func(n int) claims.Token { return claims.Token{Generation: 1, Revision: uint64(n)} }
	id := func(n int) claims.ID { return claims.ID(fmt.Sprint("c", n)) }
	for n := 1; n <= 3*claims.MaxItems; n++ {
		if refused(step(Want{id(n), token(n), "x"})) {
			t.Fatalf("claim %d is refused, with %d known", n, len(s.Claims))
		}
		for _, e := range step(Release{id(n), token(n)}) {
			send, ok := e.(Send)
			if !ok {
				continue
			}
			a := claims.Ack{Witness: send.Witness, Session: send.Renewal.Session, Epoch: send.Renewal.Epoch, Round: send.Renewal.Round}
			for _, it := range send.Renewal.Items {
				a.Verdicts = append(a.Verdicts, claims.Verdict{Claim: claims.Claimed{ID: it.Claim, Session: it.Session, Token: it.Token}, Intent: it.Intent, OK: true})
			}
			step(Ack{a})
		}
	}
	if len(s.Claims) > mostOver+1 {
		t.Errorf("%d claims are kept", len(s.Claims))
	}
	if !refused(step(Want{id(1), token(1), "x"})) {
		t.Error("a token that was used is taken, once it was forgotten")
	}
	if refused(step(Want{id(1), token(5 * claims.MaxItems), "x"})) {
		t.Error("a later token is refused")
	}
}
