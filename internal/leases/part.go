package leases

import (
	"slices"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
)

// Without tells whether leases can be given, and the set of servers be changed further, once a server is gone: of each set that decides the
// others that have a witness are a majority, or it has no part in one. Otherwise nobody could ever take it out again.
func Without(now *storev1.Leases, servers []*storev1.Server, id string) bool {
	c := ConfigOf(now)
	if !c.Has(claims.Witness(id)) {
		return true
	}
	return c.Majority(func(w claims.Witness) bool {
		return string(w) != id && slices.ContainsFunc(servers, func(s *storev1.Server) bool { return s.GetId() == string(w) && hasWitness(s) })
	})
}

// Parting are the servers as Next has to see them for some of them to be let go while they still have a part: without their witnesses.
func Parting(servers []*storev1.Server, leave func(id string) bool) []*storev1.Server {
	out := slices.Clone(servers)
	for i, s := range out {
		if leave(s.GetId()) {
			out[i] = &storev1.Server{Id: s.GetId(), Name: s.GetName()}
		}
	}
	return out
}

func hasWitness(s *storev1.Server) bool {
	return len(s.GetWitnessKey()) > 0 && s.GetWitnessAddress() != ""
}
