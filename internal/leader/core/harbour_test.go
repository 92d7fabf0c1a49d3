package core_test

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/claims/witness"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
)

// harbour is a town with the witness beside its leader, whose step functions are the real ones. Guards acquire what their machines
// were granted, renew it while they are there, and release it when the machine removes it.
type harbour struct {
	*town
	w     witness.State
	begun time.Time
	round uint64
	// has is what each machine's guard has or asks for.
	has map[string]map[claims.ID]claims.Token
	// few: no majority of the witnesses has a vote.
	few bool
	// off are machines whose guards are silent.
	off map[string]bool
	// alone are machines whose agent says nothing, and whose guard goes on.
	alone map[string]bool
	// tokens are the highest that were ever granted of each claim.
	tokens map[claims.ID]claims.Token
	// refused are the machines that a claim's storage refuses, and array what it does when it is told something.
	refused map[claims.ID]map[string]bool
	array   arrayMode
	// server is the one that leads.
	server string
}

func newHarbour(t fataler) *harbour {
	h := &harbour{town: newTown(t), has: map[string]map[claims.ID]claims.Token{}, off: map[string]bool{}, alone: map[string]bool{}, refused: map[claims.ID]map[string]bool{}, tokens: map[claims.ID]claims.Token{}}
	h.begun = h.now
	h.w, _ = witness.Open(0, "s1", claims.Default(), witness.Table{}, false)
	h.step(witness.Configure{Config: claims.Config{Epoch: claims.Epoch{Generation: 1, Revision: 1}, Members: []claims.Witness{"s1"}}})
	return h
}

func (h *harbour) step(e witness.Event) (ack *claims.Ack) {
	next, effects := witness.Step(h.w, h.now.Sub(h.begun), e)
	h.w = next
	for _, e := range effects {
		if r, ok := e.(witness.Reply); ok {
			ack = &r.Ack
		}
	}
	return ack
}

// beat is one round of all guards, and a look of the leader.
func (h *harbour) beat() {
	h.t.Helper()
	h.round++
	h.step(witness.Tick{})
	for _, id := range slices.Sorted(maps.Keys(h.machines)) {
		if h.off[id] || h.sessions[id] == nil && !h.alone[id] {
			continue
		}
		h.guard(id)
	}
	h.look()
	h.settle()
	h.check()
	h.obey()
	h.settle()
}

// guard is a round of one machine's guard: it asks for what the machine was granted, and releases what it has no more.
func (h *harbour) guard(id string) {
	want := map[claims.ID]claims.Token{}
	for _, k := range h.c.Assigned(id) {
		a := h.c.Assignment(id, k)
		if a == nil || a.Goal != argosyv1.ReplicaGoal_REPLICA_GOAL_RUN {
			continue
		}
		for _, cl := range a.Claims {
			if cl.Token != nil {
				want[claims.ID(fmt.Sprintf("%s/%s/%s.%d/%s", k.Tenant, k.App, k.Stack, k.Number, cl.Volume))] = claims.Token{Generation: cl.Token.Generation, Revision: cl.Token.Revision}
			}
		}
	}
	r := claims.Renewal{Machine: claims.Machine(id), Session: claims.Session("σ" + id), Epoch: claims.Epoch{Generation: 1, Revision: 1}, Round: h.round}
	for _, c := range slices.Sorted(maps.Keys(want)) {
		r.Items = append(r.Items, claims.Item{Claim: c, Session: r.Session, Token: want[c], Intent: claims.Acquire})
	}
	for _, c := range slices.Sorted(maps.Keys(h.has[id])) {
		if _, still := want[c]; !still && !h.slow[id] {
			r.Items = append(r.Items, claims.Item{Claim: c, Session: r.Session, Token: h.has[id][c], Intent: claims.Release})
		} else if !still {
			want[c] = h.has[id][c] // it is being removed, and the guard goes on until it is quiet
			r.Items = append(r.Items, claims.Item{Claim: c, Session: r.Session, Token: h.has[id][c], Intent: claims.Continue})
		}
	}
	h.has[id] = want
	h.step(witness.Renewal{Renewal: r})
}

// releases has a machine's guard release all that it has.
func (h *harbour) releases(id string) {
	h.round++
	r := claims.Renewal{Machine: claims.Machine(id), Session: claims.Session("σ" + id), Epoch: claims.Epoch{Generation: 1, Revision: 1}, Round: h.round}
	for _, c := range slices.Sorted(maps.Keys(h.has[id])) {
		r.Items = append(r.Items, claims.Item{Claim: c, Session: r.Session, Token: h.has[id][c], Intent: claims.Release})
	}
	h.step(witness.Renewal{Renewal: r})
	h.off[id] = true
}

// forget has an app deleted with its volumes.
func (h *harbour) forget(app string) {
	h.t.Helper()
	next := proto.CloneOf(h.view().App("default", app))
	next.Deleting, next.DeleteVolumes = true, true
	h.put(store.AppKey("default", app), next)
	h.settle()
}

func (h *harbour) look() { h.c.Witnessed(h.now, h.sights()) }

func (h *harbour) sights() claims.Sights {
	now := h.now.Sub(h.begun)
	s := claims.Sights{Seen: map[claims.ID]claims.Seen{}, Voting: !h.few}
	if st := h.w.Status(now); st.Silent {
		s.Mute = "the leader's witness is new and has no vote yet, for " + claims.Tenths(st.Left)
	}
	for _, sight := range h.w.Sights(now) {
		seen := claims.Seen{Machine: sight.Machine, Session: sight.Session, Token: sight.Token, Age: sight.Age}
		if sight.State != witness.Held {
			seen.Gone = sight.State.String()
		}
		s.Seen[sight.Claim] = seen
	}
	return s
}

// pass lets time pass, with a round each second.
func (h *harbour) passing(d time.Duration) {
	h.t.Helper()
	for end := h.now.Add(d); h.now.Before(end); {
		h.town.pass(time.Second)
		h.beat()
		h.check()
	}
}

// check: tokens only grow (S11), and whoever has a token in an assignment has the latest grant.
func (h *harbour) check() {
	h.t.Helper()
	for _, v := range h.view().SharedVolumes() {
		g := v.GetGrant()
		if g == nil {
			continue
		}
		id := claims.ID(state.VolumeKey{Replica: state.KeyOf(v.Replica), Name: v.Name}.String())
		token := claims.Token{Generation: g.Token.Generation, Revision: g.Token.Revision}
		if token.Less(h.tokens[id]) {
			h.t.Fatalf("S11: %s has token %v after %v", id, token, h.tokens[id])
		}
		if int64(token.Revision) > h.revision {
			h.t.Fatalf("%s has token %v, and the store is at %d", id, token, h.revision)
		}
		if h.tokens[id].Less(token) && h.refused[claims.IDOf(v.Replica.Tenant, v.Replica.App, v.Replica.Stack, v.Replica.Number, v.Name)][g.Machine] {
			h.t.Fatalf("%s is granted to %s, which its storage refuses", id, g.Machine)
		}
		h.tokens[id] = token
		given := 0
		for m := range h.machines {
			for _, k := range h.c.Assigned(m) {
				for _, cl := range h.c.Assignment(m, k).GetClaims() {
					if k == state.KeyOf(v.Replica) && cl.Volume == v.Name && cl.Token != nil {
						given++
					}
				}
			}
		}
		if given > 1 {
			h.t.Fatalf("%s: %d machines were given a token", id, given)
		}
	}
}
