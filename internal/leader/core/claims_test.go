package core_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/claims/witness"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
)

func volumesText(h *harbour) string {
	var b strings.Builder
	for _, v := range h.view().SharedVolumes() {
		s := h.view().VolumeStatus(v)
		fmt.Fprintf(&b, "%s/%s %s %s", state.KeyOf(v.Replica), v.Name, strings.ToLower(strings.TrimPrefix(s.State.String(), "VOLUME_STATE_")), s.Source)
		if s.Token != nil {
			fmt.Fprintf(&b, " token %d-%d on %s", s.Token.Generation, s.Token.Revision, s.Machine)
		}
		fmt.Fprintf(&b, ": %s\n", s.Message)
		for _, f := range s.Fenced {
			fmt.Fprintf(&b, "  %s, of class %s: %s\n", f.Machine, strings.ToLower(strings.TrimPrefix(s.Class.String(), "VOLUME_CLASS_")), f.Message)
		}
	}
	return b.String()
}

func explainText(t *testing.T, h *harbour, name string) string {
	k := state.Key{Tenant: "default", App: "shop"}
	if name != k.App {
		k.Stack = "db"
		if _, err := fmt.Sscanf(name, "shop/db.%d", &k.Number); err != nil {
			t.Fatal(err)
		}
	}
	e, err := h.view().Explain(k, false)
	if err != nil {
		return err.Error() + "\n"
	}
	if k.Stack == "" {
		return strings.Join(e.GetSummary(), "\n") + "\n"
	}
	text := "decided: " + e.GetDecided().GetSummary() + "\n"
	for _, m := range e.GetNow() {
		text += fmt.Sprintf("%s: %s\n", m.GetMachine(), m.GetDetail())
	}
	return text
}

func claimsText(h *harbour, machine string) string {
	var b strings.Builder
	for _, k := range h.c.Assigned(machine) {
		a := h.c.Assignment(machine, k)
		if a == nil {
			continue
		}
		fmt.Fprintf(&b, "%s i%d %s", k, a.Incarnation, strings.ToLower(strings.TrimPrefix(a.Goal.String(), "REPLICA_GOAL_")))
		for _, cl := range a.Claims {
			if fmt.Fprintf(&b, " %s", cl.Volume); cl.Token != nil {
				fmt.Fprintf(&b, " with %d-%d", cl.Token.Generation, cl.Token.Revision)
			}
			if cl.Reason != "" {
				fmt.Fprintf(&b, " (%s)", cl.Reason)
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

// Each file in testdata/claims is a conversation with a cluster whose replicas have shared volumes:
//
//	machines           as in testdata/forecast; what comes after reaches= is storage that the guard there has a way to
//	apply              the input is a manifest
//	pass DURATION      time passes: guards renew and the leader looks each second
//	lose, back NAME    the machine and its guard are silent from now on (until it is lost, with until=lost), or are back
//	silence NAME       only the guard is
//	unheard NAME       only the agent is
//	slow, quick NAME   the machine removes nothing, or removes again
//	released NAME      its guard releases all that it has, and is silent
//	vain, heard NAME   the machine asks for leases in vain, or gets them again
//	few, many          no majority of the witnesses has a vote, or has again
//	explain REPLICA    how each machine would do; of an app, what there is to say of it
//	leave NAME         the machine says that it is about to be shut down
//	drain NAME         the machine is to have nothing to run
//	delete APP         with its volumes
//	ps, volumes        replicas, and shared volumes
//	broken NAME        the machine cannot mount, and says the input; without one it can again
//	told NAME          what the machine was told
//	fencing            what storages are to be told
//	storage NAME       the storage has done what it was told about the machine; or, with an input, says that it cannot
func TestClaimTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/claims", func(t *testing.T, path string) {
		h := newHarbour(t)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			arg := ""
			if len(d.CmdArgs) > 0 {
				arg = d.CmdArgs[0].Key
			}
			switch d.Cmd {
			case "machines":
				for line := range strings.SplitSeq(d.Input, "\n") {
					line, reaches, guarded := strings.Cut(line, " reaches=")
					m := machineFrom(t, line)
					h.join(m)
					if guarded {
						h.guarded(m.Id, strings.Split(reaches, ",")...)
					}
				}
			case "apply":
				h.apply(specFrom(t, d.Input))
			case "pass":
				took, err := time.ParseDuration(arg)
				if err != nil {
					t.Fatal(err)
				}
				h.passing(took)
			case "lose":
				h.c.Close(h.now, h.sessions[arg])
				delete(h.sessions, arg)
			case "unheard":
				h.alone[arg] = true
				h.c.Close(h.now, h.sessions[arg])
				delete(h.sessions, arg)
			case "silence":
				h.off[arg] = true
			case "back":
				delete(h.off, arg)
				delete(h.alone, arg)
				if h.sessions[arg] == nil {
					h.join(h.machines[arg])
				}
				h.beat()
			case "slow":
				h.slow[arg] = true
			case "quick":
				h.slow[arg] = false
				h.receive(h.sessions[arg], &argosyv1.Report{Replicas: h.owed[arg]})
				delete(h.owed, arg)
				h.settle()
			case "vain", "heard":
				h.vain[arg] = d.Cmd == "vain"
				h.again(arg)
			case "broken":
				h.broken[arg] = d.Input
				h.again(arg)
			case "few", "many":
				h.few = d.Cmd == "few"
			case "explain":
				return explainText(t, h, arg)
			case "leave":
				h.leaving(arg)
			case "released":
				h.releases(arg)
			case "drain":
				m := h.view().Machine(arg)
				h.put(store.MachineKey(arg), &argosyv1.Machine{Id: m.Id, Name: m.Name, BootId: m.BootId, Labels: m.Labels, Capacity: m.Capacity, GuardKey: m.GuardKey, Drain: &argosyv1.Drain{}})
				h.settle()
			case "delete":
				h.forget(arg)
			case "ps":
				return psText(h.town)
			case "volumes":
				return volumesText(h)
			case "fencing":
				return fencingText(h)
			case "storage":
				return h.storage(arg, d.Input)
			case "told":
				return claimsText(h, arg)
			default:
				t.Fatalf("unknown command %s", d.Cmd)
			}
			h.check()
			return ""
		})
	})
}

// Whatever happens to machines, guards and storages: tokens only grow, one machine at a time was given one and none that the storage refuses, and
// nobody is given another's claim while its holder is well (S11, and claims.Decide's own promise). In the end all that is wanted is held again.
func TestClaimProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newHarbour(t)
		ids := []string{"m1", "m2", "m3"}
		for _, id := range ids {
			h.join(&argosyv1.Machine{Id: id, Name: id, BootId: "b", Labels: map[string]string{}, Capacity: &argosyv1.Capacity{CpuMilli: 4000, Memory: 4 << 30}})
			h.guarded(id, "LABEL=d-1", "LABEL=d-2")
		}
		h.array = arrayWorks
		spec := &argosyv1.AppSpec{Name: "a", Containers: []*argosyv1.ContainerSpec{{Name: "c", Image: "c"}},
			Stacks: []*argosyv1.StackSpec{{Name: "s", Containers: []string{"c"}, Volumes: []*argosyv1.VolumeSpec{{Name: "d", Fence: rapid.SampledFrom([]string{"", "san"}).Draw(t, "fence"),
				Class: argosyv1.VolumeClass_VOLUME_CLASS_TIMED_DETECTED, Device: &argosyv1.DeviceSource{Device: "LABEL=d-{replica}", Filesystem: "ext4"}}}}},
			Cluster: []*argosyv1.ClusterEntry{{Stack: "s", Count: 2}}}
		h.apply(spec)
		h.passing(15 * time.Second)
		for range rapid.IntRange(1, 8).Draw(t, "faults") {
			id := rapid.SampledFrom(ids).Draw(t, "machine")
			switch rapid.IntRange(0, 6).Draw(t, "fault") {
			case 6:
				if app := h.view().App("default", "a"); app == nil {
					h.apply(spec)
				} else if !app.Deleting {
					h.forget("a")
				}
			case 5:
				h.array = arrayMode(rapid.IntRange(int(arrayWorks), int(arrayUnheard)).Draw(t, "storage"))
			case 0:
				if h.sessions[id] != nil {
					h.c.Close(h.now, h.sessions[id])
					delete(h.sessions, id)
				}
			case 1:
				h.off[id] = true
			case 2:
				delete(h.off, id)
				if h.sessions[id] == nil {
					h.join(h.machines[id])
				}
			case 4:
				h.vain[id] = !h.vain[id]
				if h.sessions[id] != nil {
					h.again(id)
				}
			case 3:
				h.slow[id] = !h.slow[id]
				if !h.slow[id] && h.sessions[id] != nil {
					h.receive(h.sessions[id], &argosyv1.Report{Replicas: h.owed[id]})
					delete(h.owed, id)
					h.settle()
				}
			}
			h.passing(time.Duration(rapid.IntRange(1, 20).Draw(t, "seconds")) * time.Second)
		}
		for _, id := range ids {
			delete(h.off, id)
			h.slow[id], h.vain[id] = false, false
			if h.sessions[id] == nil {
				h.join(h.machines[id])
			}
			h.receive(h.sessions[id], &argosyv1.Report{Replicas: h.owed[id]})
			delete(h.owed, id)
			h.again(id)
		}
		h.array = arrayWorks
		h.passing(60 * time.Second)
		if app := h.view().App("default", "a"); app.GetDeleting() {
			t.Fatalf("all is well, and the app is still being deleted\n%s%s", volumesText(h), psText(h.town))
		} else if app == nil {
			for id, machines := range h.refused {
				for m, refused := range machines {
					if refused {
						t.Fatalf("the storage of %s refuses %s for ever", id, m)
					}
				}
			}
		}
		for _, v := range h.view().SharedVolumes() {
			if s := h.view().VolumeStatus(v); s.State != argosyv1.VolumeState_VOLUME_STATE_HELD {
				t.Fatalf("all is well, and %s/%s is %s: %s\n%s", state.KeyOf(v.Replica), v.Name, s.State, s.Message, psText(h.town))
			}
		}
	})
}

// harbourOf is a harbour with ten machines and so many replicas, each with a shared volume, all of which are held.
func harbourOf(t fataler, replicas uint32) *harbour {
	h := newHarbour(t)
	storage := make([]string, replicas)
	for i := range storage {
		storage[i] = fmt.Sprint("LABEL=d-", i+1)
	}
	for i := range 10 {
		id := fmt.Sprint("m", i)
		h.join(&argosyv1.Machine{Id: id, Name: id, BootId: "b", Labels: map[string]string{}, Capacity: &argosyv1.Capacity{CpuMilli: 1e6, Memory: 4 << 40}})
		h.guarded(id, storage...)
	}
	h.apply(&argosyv1.AppSpec{Name: "a", Containers: []*argosyv1.ContainerSpec{{Name: "c", Image: "c"}},
		Stacks: []*argosyv1.StackSpec{{Name: "s", Containers: []string{"c"}, Volumes: []*argosyv1.VolumeSpec{{Name: "d",
			Class: argosyv1.VolumeClass_VOLUME_CLASS_TIMED_DETECTED, Device: &argosyv1.DeviceSource{Device: "LABEL=d-{replica}", Filesystem: "ext4"}}}}},
		Cluster: []*argosyv1.ClusterEntry{{Stack: "s", Count: replicas}}})
	for range 15 {
		h.town.pass(time.Second)
		h.beat()
	}
	for _, v := range h.view().SharedVolumes() {
		if s := h.view().VolumeStatus(v); s.State != argosyv1.VolumeState_VOLUME_STATE_HELD {
			t.Fatalf("%s is %s: %s", state.KeyOf(v.Replica), s.State, s.Message)
		}
	}
	return h
}

// What the witness sees each second gives the leader nothing to do while all claims are held, and does once one of them is not.
func TestHeldClaimsAskForNothing(t *testing.T) {
	h := harbourOf(t, 20)
	if h.look(); h.c.Due(h.now) {
		t.Error("all claims are held, and there is something to do")
	}
	h.step(witness.Fence{Session: claims.Session("σ" + h.view().SharedVolumes()[0].GetGrant().GetMachine())})
	if h.look(); !h.c.Due(h.now) {
		t.Error("claims were fenced, and there is nothing to do")
	}
}

// TestLate: the witness is asked more often from when a holder is overdue until its lease has run out, so that a successor is chosen then,
// and not up to a second later.
func TestLate(t *testing.T) {
	h := harbourOf(t, 20)
	p, begun := claims.Default(), h.now
	for _, c := range []struct {
		silence time.Duration
		late    bool
	}{{0, false}, {2*p.Renew - 1, false}, {2 * p.Renew, true}, {p.Wait - 1, true}, {p.Wait, false}} {
		h.now = begun.Add(c.silence)
		if h.look(); h.c.Late() != c.late {
			t.Errorf("after %v of silence it is %v", c.silence, !c.late)
		}
	}
}

// A key is one machine's guard's: a second machine that shows it gets none, until it has one of its own or the first is gone.
func TestAKeyIsOneMachines(t *testing.T) {
	h := newHarbour(t)
	for _, id := range []string{"m1", "m2", "m3"} {
		h.join(&argosyv1.Machine{Id: id, Name: id, BootId: "b", Labels: map[string]string{}, Capacity: &argosyv1.Capacity{CpuMilli: 4000, Memory: 4 << 30}})
	}
	shows := func(id, key string) {
		t.Helper()
		r := &argosyv1.StorageReport{Guard: &argosyv1.Guard{Key: []byte(fmt.Sprintf("%-32s", key))}}
		if err := h.c.Receive(h.now, h.sessions[id], &argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Storage{Storage: r}}); err != nil {
			t.Fatal(err)
		}
		h.settle()
	}
	known := func(id, key string) {
		t.Helper()
		if got := strings.TrimSpace(string(h.view().Machine(id).GetGuardKey())); got != key {
			t.Errorf("the guard of %s is known by %q, and %q is expected", id, got, key)
		}
	}
	shows("m2", "one")
	shows("m1", "one")
	known("m1", "")
	known("m2", "one")
	if said := h.c.Complaints(); len(said) == 0 || !strings.Contains(said[0], "machine m1: its guard has the key of m2's") {
		t.Errorf("the copy is not told of: %q", said)
	}
	shows("m2", "two")
	shows("m1", "one")
	shows("m3", "two")
	known("m1", "one")
	known("m2", "two")
	known("m3", "")
}

// BenchmarkWitnessed: what the witness sees of so many claims, all of which are held.
func BenchmarkWitnessed(b *testing.B) {
	for _, n := range []uint32{100, 1000} {
		b.Run(fmt.Sprintf("claims=%d", n), func(b *testing.B) {
			h := harbourOf(b, n)
			s := h.sights()
			b.ResetTimer()
			for range b.N {
				h.c.Witnessed(h.now, s)
				if h.c.Due(h.now) {
					h.settle()
				}
			}
		})
	}
}
