package core_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
)

// A machine that one witness has recorded has no lease before a majority has: what it says itself counts. Whom guards and witnesses
// know by ids, people know by names.
func TestAMachineThatAsksHoldsNothing(t *testing.T) {
	const m1, s2, nobody = "8cd63448adb31d2defd88bdf83f53009", "634987e2fc3ae742b804344218f5204f", "00000000adb31d2defd88bdf83f53009"
	h := newHarbour(t)
	h.join(&argosyv1.Machine{Id: m1, Name: "m1", BootId: "b", Labels: map[string]string{}, Capacity: &argosyv1.Capacity{CpuMilli: 4000, Memory: 4 << 30}})
	h.guarded(m1, "LABEL=d-1")
	h.put(store.ServerKey(s2), &storev1.Server{Id: s2, Name: "s2"})
	h.apply(&argosyv1.AppSpec{Name: "a", Containers: []*argosyv1.ContainerSpec{{Name: "c", Image: "c"}},
		Stacks: []*argosyv1.StackSpec{{Name: "s", Containers: []string{"c"}, Volumes: []*argosyv1.VolumeSpec{{Name: "d",
			Class: argosyv1.VolumeClass_VOLUME_CLASS_TIMED_DETECTED, Device: &argosyv1.DeviceSource{Device: "LABEL=d-{replica}", Filesystem: "ext4"}}}}},
		Cluster: []*argosyv1.ClusterEntry{{Stack: "s", Count: 1}}})
	h.passing(15 * time.Second)
	vol := h.view().SharedVolumes()[0]
	r := h.view().StackReplicas(state.KeyOf(vol.GetReplica()).StackKey())[0]
	o, _ := h.view().Observation(r)
	if s := h.view().VolumeStatus(vol); s.State != argosyv1.VolumeState_VOLUME_STATE_HELD || len(o.GetClaims()) != 1 {
		t.Fatalf("it is %v, and its machine says %v", s, o)
	}

	said := s2 + ": held by " + m1 + " with token 1-3, and " + nobody + " or " + m1 + "0 asked"
	o = proto.CloneOf(o)
	o.State, o.Message = argosyv1.ReplicaState_REPLICA_STATE_STARTING, "c: "+said
	o.Claims[0].Phase, o.Claims[0].Message = argosyv1.ClaimPhase_CLAIM_PHASE_ASKING, said
	o.Members = []*argosyv1.MemberObservation{{Name: "c", Message: said}}
	h.receive(h.sessions[m1], &argosyv1.Report{Replicas: []*argosyv1.ReplicaObservation{o}})
	want := "s2: held by m1 with token 1-3, and " + nobody + " or " + m1 + "0 asked"
	v := h.view().VolumeStatus(vol)
	if v.State != argosyv1.VolumeState_VOLUME_STATE_WAITING || v.Message != "m1 asks for the lease: "+want {
		t.Errorf("the volume is %s: %s", v.State, v.Message)
	}
	st := h.view().Status(r)
	if got := st.GetObservation().GetMembers()[0].GetMessage(); got != want || !strings.Contains(st.GetMessage(), "c: "+want) {
		t.Errorf("the replica says %q, its member %q", st.GetMessage(), got)
	}
	if kept, _ := h.view().Observation(r); kept.GetMessage() != "c: "+said {
		t.Errorf("what was told has changed: %s", kept.GetMessage())
	}
}
