package leases

import (
	"slices"
	"testing"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

func TestWithout(t *testing.T) {
	servers := func(ids ...string) (list []*storev1.Server) {
		for _, id := range ids {
			list = append(list, &storev1.Server{Id: id, Name: "n" + id, WitnessAddress: id + ":7402", WitnessKey: []byte(id)})
		}
		return list
	}
	for _, c := range []struct {
		members, next []string
		there         []*storev1.Server
		id            string
		want          bool
	}{
		{nil, nil, servers("1"), "1", true}, // nobody decides yet
		{[]string{"1", "2", "3"}, nil, servers("1", "2", "3"), "3", true},
		{[]string{"1", "2", "3"}, nil, servers("1", "2", "3", "4"), "4", true}, // it has no part
		{[]string{"1", "2", "3"}, nil, servers("1", "2", "4"), "2", false},     // 3 is gone, and 4 has no part
		{[]string{"1", "2"}, nil, servers("1", "2"), "2", false},
		{[]string{"1"}, nil, servers("1"), "1", false},
		{[]string{"1", "2"}, []string{"1"}, servers("1", "2"), "2", false}, // it is on its way
		{[]string{"1", "2", "3", "4"}, []string{"1", "2", "3", "4", "5"}, servers("1", "2", "4", "5"), "2", false},
		{[]string{"1", "2", "3", "4"}, []string{"1", "2", "3", "4", "5"}, servers("1", "2", "3", "4", "5"), "2", true},
	} {
		now := &storev1.Leases{Epoch: &argosyv1.FencingToken{Generation: 1, Revision: 1}, Members: c.members, Next: c.next}
		if got := Without(now, c.there, c.id); got != c.want {
			t.Errorf("without %s, of %v and %v next: %t", c.id, c.members, c.next, got)
		}
	}
	all := servers("1", "2")
	parting := Parting(all, func(id string) bool { return id == "2" })
	if !hasWitness(parting[0]) || hasWitness(parting[1]) || parting[1].Name != "n2" || !slices.ContainsFunc(all, func(s *storev1.Server) bool { return s.Id == "2" && hasWitness(s) }) {
		t.Errorf("%v is left of %v", parting, all)
	}
}
