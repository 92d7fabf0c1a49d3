package core_test

import (
	"fmt"
	"maps"
	"slices"
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
	var number uint32
	if _, err := fmt.Sscanf(name, "shop/db.%d", &number); err != nil {
		t.Fatal(err)
	}
	e, err := h.view().Explain(state.Key{Tenant: "default", App: "shop", Stack: "db", Number: number}, false)
	if err != nil {
		t.Fatal(err)
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
//	explain REPLICA    how each machine would do
//	leave NAME         the machine says that it is about to be shut down
//	drain NAME         the machine is to have nothing to run
//	delete APP         with its volumes
//	ps, volumes        replicas, and shared volumes
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
				app := h.view().App("default", arg)
				h.put(store.AppKey("default", arg), &argosyv1.App{Tenant: app.Tenant, Name: app.Name, Uid: app.Uid, Revision: app.Revision, IncarnationFloor: app.IncarnationFloor, Deleting: true, DeleteVolumes: true})
				h.settle()
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
		h.apply(&argosyv1.AppSpec{Name: "a", Containers: []*argosyv1.ContainerSpec{{Name: "c", Image: "c"}},
			Stacks: []*argosyv1.StackSpec{{Name: "s", Containers: []string{"c"}, Volumes: []*argosyv1.VolumeSpec{{Name: "d", Fence: rapid.SampledFrom([]string{"", "san"}).Draw(t, "fence"),
				Class: argosyv1.VolumeClass_VOLUME_CLASS_TIMED_DETECTED, Device: &argosyv1.DeviceSource{Device: "LABEL=d-{replica}", Filesystem: "ext4"}}}}},
			Cluster: []*argosyv1.ClusterEntry{{Stack: "s", Count: 2}}})
		h.passing(15 * time.Second)
		for range rapid.IntRange(1, 8).Draw(t, "faults") {
			id := rapid.SampledFrom(ids).Draw(t, "machine")
			switch rapid.IntRange(0, 5).Draw(t, "fault") {
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
