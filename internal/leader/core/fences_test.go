package core_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/claims/witness"
	"github.com/argosy-cluster/argosy/internal/leader/core"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
)

// arrayMode is how a storage behaves, and the server that tells it.
type arrayMode int

const (
	arrayByHand arrayMode = iota // nothing by itself
	arrayWorks
	arrayFails
	arrayForgotten // it obeys, and the server dies before that is written down
	arrayUnheard   // it obeys, and witnesses are not told
)

// obey has storages do what they are told.
func (h *harbour) obey() {
	if h.array == arrayByHand {
		return
	}
	for _, w := range h.view().Fencing() {
		switch {
		case w.Do == core.FenceNothing:
		case h.array == arrayFails:
			h.c.FenceSaid(w.Key, w.Fence.Machine, "no path to the storage")
		case h.array == arrayForgotten && w.Do != core.FenceTell:
			h.refuse(w)
		case h.array == arrayUnheard && w.Do == core.FenceTell:
		default:
			h.act(w)
		}
	}
}

// refuse has a storage do what it is told, and nobody hear of it.
func (h *harbour) refuse(w core.FenceWork) {
	if h.refused[w.Claim] == nil {
		h.refused[w.Claim] = map[string]bool{}
	}
	h.refused[w.Claim][w.Fence.Machine] = w.Do == core.FenceRefuse
}

// act does what there is to do about a fence, and writes it down.
func (h *harbour) act(w core.FenceWork) {
	if w.Do == core.FenceTell {
		h.step(witness.FenceClaim{Claim: w.Claim, Machine: claims.Machine(w.Fence.Machine), Token: claims.Token{Generation: w.Fence.Token.Generation, Revision: w.Fence.Token.Revision}})
		return
	}
	if next, _ := core.FenceBegun(h.view().Volume(w.Key), w, h.server); next != nil {
		h.put(store.VolumeKey(next.Replica, next.Name), next)
	}
	h.refuse(w)
	if next, _ := core.FenceDone(h.now, h.view().Volume(w.Key), w, h.server); next != nil {
		h.put(store.VolumeKey(next.Replica, next.Name), next)
	}
}

func fencingText(h *harbour) string {
	var b strings.Builder
	for _, w := range h.view().Fencing() {
		what := "to refuse"
		if w.Do == core.FenceBack {
			what = "to take back"
		}
		fmt.Fprintf(&b, "%s of %s is told by %s %s %s, which was granted up to %d-%d", w.Fence.Source, w.Key, w.Fence.Program, what, w.Name, w.Fence.Token.Generation, w.Fence.Token.Revision)
		if w.Do == core.FenceTell {
			b.WriteString(": confirmed, and witnesses are told")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// storage has it do what it is told about a machine, and witnesses know; or fail with what it says.
func (h *harbour) storage(machine, fails string) string {
	done := false
	for range 2 {
		for _, w := range h.view().Fencing() {
			switch {
			case w.Name != machine || w.Do == core.FenceNothing:
				continue
			case fails != "":
				h.c.FenceSaid(w.Key, w.Fence.Machine, fails)
			default:
				h.c.FenceSaid(w.Key, w.Fence.Machine, "")
				h.act(w)
			}
			done = true
		}
	}
	h.look()
	h.settle()
	if !done {
		return "the storage is told nothing of " + machine + "\n"
	}
	return ""
}

// fencedTown is a harbour with two servers, two machines and one volume with a fence, which the first machine holds.
func fencedTown(t *testing.T) *harbour {
	h := newHarbour(t)
	for _, id := range []string{"m1", "m2"} {
		h.join(&argosyv1.Machine{Id: id, Name: id, BootId: "b", Labels: map[string]string{}, Capacity: &argosyv1.Capacity{CpuMilli: 4000, Memory: 4 << 30}})
		h.guarded(id, "LABEL=d-1")
	}
	h.put(store.ServerKey("s2"), &storev1.Server{Id: "s2", Name: "two"})
	h.apply(&argosyv1.AppSpec{Name: "a", Containers: []*argosyv1.ContainerSpec{{Name: "c", Image: "c"}},
		Stacks: []*argosyv1.StackSpec{{Name: "s", Containers: []string{"c"}, Volumes: []*argosyv1.VolumeSpec{{Name: "d", Fence: "san",
			Class: argosyv1.VolumeClass_VOLUME_CLASS_FENCED, Device: &argosyv1.DeviceSource{Device: "LABEL=d-{replica}", Filesystem: "ext4"}}}}},
		Cluster: []*argosyv1.ClusterEntry{{Stack: "s", Count: 1}}})
	h.passing(20 * time.Second)
	if g := h.view().SharedVolumes()[0].GetGrant().GetMachine(); g != "m1" {
		t.Fatalf("it is on %s", g)
	}
	return h
}

func (h *harbour) volume() *argosyv1.Volume { return h.view().SharedVolumes()[0] }

// leaves has the first machine say nothing until it was written down that the storage is to refuse it.
func (h *harbour) leaves() {
	h.c.Close(h.now, h.sessions["m1"])
	delete(h.sessions, "m1")
	h.passing(7 * time.Second)
}

// other changes the record of the fence as another leader has left it.
func (h *harbour) other(change func(*argosyv1.VolumeFence)) {
	next := proto.CloneOf(h.volume())
	change(next.Fences[0])
	h.put(store.VolumeKey(next.Replica, next.Name), next)
}

// does checks what there is to do.
func (h *harbour) does(t *testing.T, want core.FenceDo, others ...string) core.FenceWork {
	t.Helper()
	list := h.view().Fencing()
	if want == core.FenceNothing && len(others) == 0 {
		if len(list) != 0 {
			t.Fatalf("there is something to do: %+v", list)
		}
		return core.FenceWork{}
	}
	if len(list) != 1 || list[0].Do != want || strings.Join(list[0].Others, " ") != strings.Join(others, " ") {
		t.Fatalf("%+v, and to do should be %v, with others %v", list, want, others)
	}
	return list[0]
}

// While a program of an earlier leader may still have the storage take the machine back, what the storage confirms is told to no witness: the lease is
// waited for. Once that server has said that nothing is under way there, the storage is asked again, and what it confirms then counts.
func TestAConfirmationThatMayNotLast(t *testing.T) {
	h := fencedTown(t)
	h.leaves()
	h.does(t, core.FenceRefuse)
	h.other(func(f *argosyv1.VolumeFence) { f.Backers = []string{"s2"} })
	h.act(h.does(t, core.FenceRefuse, "s2"))
	w := h.does(t, core.FenceNothing, "s2")
	if s := h.view().VolumeStatus(h.volume()).GetFenced()[0]; s.GetMessage() != "the storage refuses it, unless a program of two has it taken back yet: the lease is waited for" {
		t.Error(s.GetMessage())
	}
	next := core.FenceSettled(h.volume(), w, "s2")
	h.put(store.VolumeKey(next.Replica, next.Name), next)
	h.act(h.does(t, core.FenceRefuse))
	h.does(t, core.FenceTell)
	h.passing(15 * time.Second)
	h.does(t, core.FenceNothing) // by then witnesses need not be told
}

// A server that is no longer in the cluster is not asked.
func TestAServerThatIsGoneTellsNothing(t *testing.T) {
	h := fencedTown(t)
	h.leaves()
	h.other(func(f *argosyv1.VolumeFence) { f.Backers = []string{"s2"} })
	h.does(t, core.FenceRefuse, "s2")
	h.commit(store.Delete(store.ServerKey("s2")))
	h.act(h.does(t, core.FenceRefuse))
	h.does(t, core.FenceTell)
}

// A storage that another server may still have refuse the machine is told again that it is to take it back, once that server says that nothing is
// under way there; until then the record says so. A fence in between knows of it.
func TestTheLastWord(t *testing.T) {
	h := fencedTown(t)
	h.leaves()
	h.other(func(f *argosyv1.VolumeFence) { f.Fencers = append(f.Fencers, "s2") })
	h.act(h.does(t, core.FenceRefuse, "s2"))
	h.act(h.does(t, core.FenceTell, "s2"))
	h.passing(2 * time.Second)
	delete(h.off, "m1")
	h.join(h.machines["m1"])
	m2 := proto.CloneOf(h.view().Machine("m2"))
	m2.Drain = &argosyv1.Drain{}
	h.put(store.MachineKey("m2"), m2)
	h.settle()
	h.passing(time.Second)
	h.act(h.does(t, core.FenceBack, "s2"))
	h.passing(3 * time.Second)
	if g := h.volume().GetGrant(); g.GetMachine() != "m1" {
		t.Fatalf("the storage has taken m1 back, and it is granted to %v", g)
	}
	h.does(t, core.FenceNothing, "s2")
	if s := h.view().VolumeStatus(h.volume()).GetFenced()[0]; s.GetMessage() != "the storage has taken it back, and is told so again once nothing is under way on two" {
		t.Error(s.GetMessage())
	}
	before := h.volume()
	w := h.does(t, core.FenceNothing, "s2")
	next := core.FenceSettled(h.volume(), w, "s2")
	h.put(store.VolumeKey(next.Replica, next.Name), next)
	h.act(h.does(t, core.FenceBack))
	h.does(t, core.FenceNothing)
	if n := len(h.volume().GetFences()); n != 0 {
		t.Errorf("%d records are left", n)
	}

	// The same, but m1 falls silent before s2 has said so.
	h.put(store.VolumeKey(before.Replica, before.Name), before)
	m2 = proto.CloneOf(h.view().Machine("m2"))
	m2.Drain = nil
	h.put(store.MachineKey("m2"), m2)
	h.settle()
	h.passing(5 * time.Second)
	h.leaves()
	h.does(t, core.FenceRefuse, "s2")
}

// A volume is forgotten with its app, and not before its storage has taken back whom it refused, and no other server may still tell it something:
// what the storage confirms about a later volume of that name could be undone.
func TestForgottenOnceTakenBack(t *testing.T) {
	h := fencedTown(t)
	h.leaves()
	h.act(h.does(t, core.FenceRefuse))
	h.passing(2 * time.Second)
	delete(h.off, "m1")
	h.join(h.machines["m1"])
	h.passing(time.Second)
	h.other(func(f *argosyv1.VolumeFence) { f.Backers = append(f.Backers, "s2") })
	h.forget("a")
	h.passing(2 * time.Second)
	h.act(h.does(t, core.FenceBack, "s2"))
	h.passing(3 * time.Second)
	e, err := h.view().Explain(state.Key{Tenant: "default", App: "a"}, false)
	if want := "volume d of a/s.1: m1: the storage has taken it back, and is told so again once nothing is under way on two"; err != nil || !slices.Contains(e.GetSummary(), want) {
		t.Errorf("%v, %q", err, e.GetSummary())
	}
	w := h.does(t, core.FenceNothing, "s2")
	next := core.FenceSettled(h.volume(), w, "s2")
	h.put(store.VolumeKey(next.Replica, next.Name), next)
	h.act(h.does(t, core.FenceBack))
	h.settle()
	if app, n := h.view().App("default", "a"), len(h.view().SharedVolumes()); app != nil || n != 0 {
		t.Errorf("the app is %v, and %d volumes are known", app, n)
	}
}

// What was done for a record that is another by now is not written down.
func TestFenceOfBefore(t *testing.T) {
	h := fencedTown(t)
	h.leaves()
	w := h.does(t, core.FenceRefuse)
	h.other(func(f *argosyv1.VolumeFence) { f.At = timestamppb.New(h.now) })
	if next, note := core.FenceDone(h.now, h.volume(), w, ""); next != nil || note != nil {
		t.Errorf("%v, %v", next, note)
	}
	if next, ok := core.FenceBegun(h.volume(), w, "s9"); next != nil || ok || core.FenceSettled(h.volume(), w, "s2") != nil {
		t.Error("it is written down")
	}
}
