package guard

import (
	"fmt"
	"slices"
	"strings"

	"github.com/argosy-cluster/argosy/internal/claims"
)

// unanswered notes, when a claim is asked for once more, who has not agreed to it. What somebody said against it is told instead.
func (s *step) unanswered(before State) {
	for i := range s.Claims {
		c := &s.Claims[i]
		if c.Phase != Asking || c.Why != "" || before.exact(c.ID, c.Token) == nil {
			continue
		}
		var missing []string
		for _, w := range s.Config.Everybody() {
			if !slices.Contains(c.Recorded, w) {
				missing = append(missing, string(w))
			}
		}
		if len(missing) > 0 {
			c.Why = fmt.Sprintf("%s; not yet: %s", noMajority, strings.Join(missing, ", "))
		}
	}
}

const noMajority = "no majority of the servers has agreed"

// agrees takes back what was said against a claim by who agrees to it now, and what was said of those that were silent.
func (c *Claim) agrees(w claims.Witness) {
	if strings.HasPrefix(c.Why, string(w)+": ") || strings.HasPrefix(c.Why, noMajority) {
		c.Why = ""
	}
}

// explain tells the agent what stands in the way of a claim that is asked for, when that has changed.
func (s *step) explain(before State) {
	for i := range s.Claims {
		c := &s.Claims[i]
		if old := before.exact(c.ID, c.Token); c.Phase == Asking && old != nil && old.Why != c.Why && c.Why != "" {
			s.do(Tell{Claim: c.ID, Token: c.Token, Phase: Asking, Why: c.Why})
		}
	}
}
