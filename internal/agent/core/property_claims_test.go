package core_test

import (
	"slices"

	"pgregory.net/rapid"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
)

// share has some members of an assignment mount a shared volume, which may have been granted.
func (w *world) share(a *argosyv1.Assignment) {
	for _, c := range a.GetContainers() {
		if rapid.IntRange(0, 2).Draw(w.t, "mounts data") > 0 {
			c.Mounts = append(c.Mounts, &argosyv1.Mount{Type: argosyv1.MountType_MOUNT_TYPE_VOLUME, Source: "data", Target: "/data"})
			a.Stack = shared(a.GetStack(), "data")
		}
	}
	if a.GetStack() != nil && rapid.Bool().Draw(w.t, "granted") {
		w.grant(a)
	}
}

// grant gives a right that nobody had before.
func (w *world) grant(a *argosyv1.Assignment) {
	w.tokens++
	a.Claims = []*argosyv1.VolumeClaim{{Volume: "data", Token: &argosyv1.FencingToken{Generation: 1, Revision: w.tokens}}}
}

// obey does what the guard is told, as one that answers at once and goes no further.
func (w *world) obey(s core.ClaimStep) {
	i := slices.IndexFunc(w.seen.Claims, func(c core.Claim) bool { return c.Key == s.Key && c.Token == s.Token })
	switch {
	case s.Kind == core.WantClaim && i < 0:
		for j := range w.seen.Claims { // the guard gives back what an earlier token has
			if c := &w.seen.Claims[j]; c.Key == s.Key && c.Phase < argosyv1.ClaimPhase_CLAIM_PHASE_STOPPING {
				c.Phase = argosyv1.ClaimPhase_CLAIM_PHASE_STOPPING
			}
		}
		w.seen.Claims = append(w.seen.Claims, core.Claim{Key: s.Key, Volume: s.Volume, Token: s.Token, Phase: argosyv1.ClaimPhase_CLAIM_PHASE_ASKING})
	case s.Kind == core.ReleaseClaim:
		w.seen.Claims[i].Phase = max(w.seen.Claims[i].Phase, argosyv1.ClaimPhase_CLAIM_PHASE_STOPPING)
	case s.Kind == core.ClaimStopped:
		w.advance(i)
	}
}

// advance takes a claim to its next phase. What runs with it is dead once it is cleared.
func (w *world) advance(i int) {
	c := &w.seen.Claims[i]
	if c.Phase >= argosyv1.ClaimPhase_CLAIM_PHASE_OVER {
		return
	}
	c.Phase++
	if c.Path = ""; c.Phase == argosyv1.ClaimPhase_CLAIM_PHASE_ARMED {
		c.Path, c.Slice = "/data", "a-b-c.slice"
	}
	if c.Phase < argosyv1.ClaimPhase_CLAIM_PHASE_SEALING {
		return
	}
	for _, x := range w.containers {
		if x.Owner.Key == c.Key && x.Claims == c.Label() && x.Alive() {
			x.State, x.ExitCode, x.FinishedAt = core.Exited, 137, w.now
		}
	}
}

// guarded is what guards and witnesses do, between which the agent works on.
func (w *world) guarded(t *rapid.T) {
	for range rapid.IntRange(1, 8).Draw(t, "moves of the guard") {
		w.guardMoves(t)
		w.begin()
		w.end()
	}
}

func (w *world) guardMoves(t *rapid.T) {
	steps := core.Claims(w.list(), w.look(), w.memory)
	for _, s := range steps {
		w.lawfulClaim(s)
	}
	what := rapid.IntRange(0, 11).Draw(t, "guard")
	switch {
	case what == 0:
		w.seen.Unguarded = rapid.SampledFrom([]string{"", "", "no guard answers"}).Draw(t, "unguarded")
	case what < 6 && len(steps) > 0:
		w.obey(steps[rapid.IntRange(0, len(steps)-1).Draw(t, "told")])
	case len(w.seen.Claims) > 0:
		w.advance(rapid.IntRange(0, len(w.seen.Claims)-1).Draw(t, "claim"))
	}
}

// lawfulClaim: nothing is given back, or said to have stopped, while a process may write with it.
func (w *world) lawfulClaim(s core.ClaimStep) {
	if w.seen.Unguarded != "" || !w.seen.Known {
		w.t.Fatalf("%s, but nobody would hear it, or nobody knows", s)
	}
	a := w.wanted[s.Key]
	granted := a.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_RUN && len(a.GetClaims()) > 0 && core.TokenOf(a.GetClaims()[0].GetToken()) == s.Token
	if s.Kind == core.WantClaim {
		if !granted {
			w.t.Fatalf("%s, but it was not granted", s)
		}
		return
	}
	if s.Kind == core.ReleaseClaim && (granted || a == nil && !w.memory.Complete) {
		w.t.Fatalf("%s, but it is needed, or may be", s)
	}
	for _, c := range w.containers {
		if c.Owner.Key == s.Key && c.Alive() && c.Claims == "data="+s.Token.String() {
			w.t.Fatalf("%s, but %s runs with it", s, c.ContainerID)
		}
	}
	for id, f := range w.flying {
		if id.Key == s.Key && f.Kind == core.Start && mounts(f.Spec) && w.containers[f.ContainerID] != nil && w.containers[f.ContainerID].Claims == "data="+s.Token.String() {
			w.t.Fatalf("%s while %s is under way", s, f)
		}
	}
}

func mounts(spec *argosyv1.ContainerSpec) bool { return len(spec.GetMounts()) > 0 }

// lawfulLease: a member with a shared volume is made and started only while that is armed, with the incarnation's own token.
func (w *world) lawfulLease(s core.Step) {
	if !mounts(s.Spec) || s.Kind != core.Create && s.Kind != core.Start {
		return
	}
	if w.seen.Unguarded != "" {
		w.t.Fatalf("%s without a guard", s)
	}
	if len(s.Assignment.GetClaims()) == 0 {
		w.t.Fatalf("%s without a grant", s)
	}
	token := core.TokenOf(s.Assignment.GetClaims()[0].GetToken())
	armed := slices.ContainsFunc(w.seen.Claims, func(c core.Claim) bool {
		return c.Key == s.Key && c.Token == token && c.Phase == argosyv1.ClaimPhase_CLAIM_PHASE_ARMED
	})
	label := "data=" + token.String()
	if !armed || s.Kind == core.Start && w.containers[s.ContainerID].Claims != label || s.Kind == core.Create && s.Lease.Label() != label {
		w.t.Fatalf("%s with %s: armed %t, %+v", s, label, armed, w.containers[s.ContainerID])
	}
}

// calmClaims has the guard go on until nothing is left to be told, and the leader grant anew what ran out.
func (w *world) calmClaims() {
	w.seen.Unguarded = ""
	for _, a := range w.list() {
		if a.GetStack() == nil || a.GetGoal() != argosyv1.ReplicaGoal_REPLICA_GOAL_RUN {
			continue
		}
		usable := len(a.GetClaims()) > 0
		for _, c := range w.seen.Claims {
			if usable && c.Key == core.KeyOf(a.GetKey()) && c.Token == core.TokenOf(a.GetClaims()[0].GetToken()) && c.Phase > argosyv1.ClaimPhase_CLAIM_PHASE_ARMED {
				usable = false
			}
		}
		if !usable {
			w.grant(a)
		}
	}
	for _, s := range core.Claims(w.list(), w.look(), w.memory) {
		w.lawfulClaim(s)
		w.obey(s)
	}
	for i := range w.seen.Claims {
		for p := w.seen.Claims[i].Phase; p != argosyv1.ClaimPhase_CLAIM_PHASE_ARMED && p != argosyv1.ClaimPhase_CLAIM_PHASE_STOPPING && p < argosyv1.ClaimPhase_CLAIM_PHASE_OVER; p = w.seen.Claims[i].Phase {
			w.advance(i)
		}
	}
}
