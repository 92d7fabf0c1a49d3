package core_test

import (
	"strings"
	"testing"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// TestNoNetwork: a machine that cannot connect containers takes none, and says why; what only does not reach other machines is said, too.
func TestNoNetwork(t *testing.T) {
	w := newTown(t, &argosyv1.Machine{Id: "m1", Name: "m1", BootId: "b", Labels: map[string]string{}, Capacity: &argosyv1.Capacity{CpuMilli: 4000, Memory: 4 << 30}})
	says := func(r *argosyv1.EngineReport) {
		t.Helper()
		if err := w.c.Receive(w.now, w.sessions["m1"], &argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Engine{Engine: r}}); err != nil {
			t.Fatal(err)
		}
		w.settle()
	}
	message := func() string { return w.view().MachineStatus(w.machines["m1"]).GetMessage() }
	says(&argosyv1.EngineReport{Network: "an interface is in the way", Unconnected: true})
	w.apply(&argosyv1.AppSpec{Name: "a", Containers: []*argosyv1.ContainerSpec{{Name: "c", Image: "c"}},
		Stacks: []*argosyv1.StackSpec{{Name: "s", Containers: []string{"c"}}}, Cluster: []*argosyv1.ClusterEntry{{Stack: "s", Count: 1}}})
	if at := w.places("a"); w.waiting("a", "s") != 1 {
		t.Errorf("it is placed: %v", at)
	}
	if m := message(); !strings.Contains(m, "an interface is in the way") {
		t.Errorf("the machine says %q", m)
	}
	says(&argosyv1.EngineReport{Network: "m2 is not reached"})
	if w.waiting("a", "s") != 0 {
		t.Error("nothing is placed where containers can be connected")
	}
	if m := message(); !strings.Contains(m, "m2 is not reached") {
		t.Errorf("the machine says %q", m)
	}
	says(&argosyv1.EngineReport{})
	if m := message(); m != "" {
		t.Errorf("nothing is wrong, and the machine says %q", m)
	}
}
