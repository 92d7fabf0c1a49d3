package leases

import (
	"fmt"
	"slices"
	"strings"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
)

// Removed stands for the name of a server that was removed and still has a part in deciding.
const Removed = "(removed)"

// Next decides the next record of the set of servers on the way from the present one to the servers that have a witness, one step
// at a time; its epoch is after the revision that the store has reached. A nil result says that there is nothing to do, or what
// is waited for.
//
// The first set is all servers that have one: nobody has a lease yet. Of an earlier generation it is those, too: a store was put
// back whose servers are others, and those before have ended.
func Next(now *storev1.Leases, generation uint64, revision int64, servers []*storev1.Server, seen []claims.Status) (next *storev1.Leases, reason string) {
	var wanted []claims.Witness
	for _, s := range servers {
		if hasWitness(s) && len(wanted) < claims.MaxMembers {
			wanted = append(wanted, claims.Witness(s.GetId()))
		}
	}
	slices.Sort(wanted)
	have := ConfigOf(now)
	record := func(c claims.Config, why string) *storev1.Leases {
		return &storev1.Leases{Members: names(c.Members), Next: names(c.Next), Cause: why,
			Epoch: &argosyv1.FencingToken{Generation: generation, Revision: max(uint64(max(revision, 0)), have.Epoch.Revision) + 1}}
	}
	switch {
	case generation == 0:
		return nil, "the store has no generation yet"
	case len(wanted) == 0 && now == nil:
		return nil, "no server has a witness: start argosy-witness beside each"
	case now == nil:
		return record(claims.Config{Members: wanted}, "the first servers with a witness"), ""
	case have.Epoch.Generation < generation && len(wanted) > 0:
		return record(claims.Config{Members: wanted}, fmt.Sprintf("the store is of generation %d now", generation)), ""
	}
	c, why := claims.Change(have, wanted, seen)
	for _, s := range servers {
		why = strings.ReplaceAll(why, s.GetId(), s.GetName())
	}
	for _, w := range have.Everybody() {
		if !slices.ContainsFunc(servers, func(s *storev1.Server) bool { return s.GetId() == string(w) }) {
			why = strings.ReplaceAll(why, string(w), Removed)
		}
	}
	if c == nil {
		return nil, why
	}
	return record(*c, why), ""
}

// Voting tells whether a majority of the witnesses that decide can give leases now: they answer their servers, have a vote, and know which
// set of servers decides.
func Voting(now *storev1.Leases, seen []claims.Status) bool {
	c := ConfigOf(now)
	return c.Majority(func(w claims.Witness) bool {
		return slices.ContainsFunc(seen, func(s claims.Status) bool { return s.Witness == w && !s.Silent && s.Epoch == c.Epoch })
	})
}

func names(list []claims.Witness) []string {
	var out []string
	for _, w := range list {
		out = append(out, string(w))
	}
	return out
}

// StatusOf is what a server's health says of its witness, for Next. One that does not answer has no vote.
func StatusOf(id string, h *argosyv1.WitnessHealth) claims.Status {
	if h == nil {
		return claims.Status{Witness: claims.Witness(id), Silent: true}
	}
	return claims.Status{Witness: claims.Witness(id), Settled: h.GetSettled(), Silent: h.GetSilent(), Left: h.GetLeft().AsDuration(),
		Epoch: claims.Epoch{Generation: h.GetEpoch().GetGeneration(), Revision: h.GetEpoch().GetRevision()}}
}
