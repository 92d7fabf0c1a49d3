package agent

import (
	"log/slog"
	"net/netip"
	"testing"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
)

// A sibling that is not up yet has its name already: nobody else's container is found under it meanwhile.
func TestNamesOfSiblingsAreTaken(t *testing.T) {
	id := core.ID{Key: core.Key{Tenant: "default", App: "shop", Stack: "lamp", Number: 1}, Incarnation: 3}
	a := &argosyv1.Assignment{Incarnation: 3, Containers: []*argosyv1.ContainerSpec{{Name: "apache"}, {Name: "mysql"}}}
	o := &argosyv1.ReplicaObservation{State: argosyv1.ReplicaState_REPLICA_STATE_STARTING,
		Members: []*argosyv1.MemberObservation{{Name: "apache", Address: "10.64.1.3"}}}
	n := newNames(slog.New(slog.DiscardHandler))
	n.seen(id, o, a)
	if got := n.table.Len(); got != 2 {
		t.Errorf("%d names are there, want apache's and mysql's", got)
	}
	got := addressesOf(id, o, a)
	if addr, ok := got["mysql"]; !ok || addr.IsValid() || got["apache"] != netip.MustParseAddr("10.64.1.3") {
		t.Errorf("addresses are %v: mysql must be among them without one", got)
	}
	a.Incarnation = 4 // what is assigned next says nothing about what is there
	if got := addressesOf(id, o, a); len(got) != 1 {
		t.Errorf("addresses are %v, want apache's alone", got)
	}
	n.seen(id, nil, nil)
	if got := n.table.Len(); got != 0 {
		t.Errorf("%d names are there of what is gone", got)
	}
}
