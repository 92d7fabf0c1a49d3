package dispatcher_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/dispatcher"
	"github.com/argosy-cluster/argosy/internal/state"
)

// table is a source whose assignments tests set.
type table map[string]map[state.Key]*argosyv1.Assignment

func (t table) Welcome(machine string) *argosyv1.Welcome {
	if t[machine] == nil {
		return nil
	}
	return &argosyv1.Welcome{MachineId: machine}
}

func (t table) LeaseServers() *argosyv1.LeaseServers {
	return &argosyv1.LeaseServers{Profile: "default", Members: []string{"s1"}}
}

func (t table) Assigned(machine string) []state.Key {
	var out []state.Key
	for k := range t[machine] {
		out = append(out, k)
	}
	return out
}

func (t table) Assignment(machine string, k state.Key) *argosyv1.Assignment { return t[machine][k] }

func (t table) Foreseen(string) []*argosyv1.Assignment { return nil }

// mirror is what a machine believes after the messages it got.
type mirror struct {
	assigned  map[state.Key]*argosyv1.Assignment
	peers     map[string]*argosyv1.Peer
	endpoints map[string]*argosyv1.Endpoint
	pace      time.Duration
}

func newMirror() *mirror {
	return &mirror{assigned: map[state.Key]*argosyv1.Assignment{}, peers: map[string]*argosyv1.Peer{}, endpoints: map[string]*argosyv1.Endpoint{}}
}

func endpointName(e *argosyv1.Endpoint) string {
	return state.KeyOf(e.GetKey()).String() + "/" + e.GetMember()
}

func (m *mirror) take(msg *argosyv1.SessionResponse) {
	if a := msg.GetAssignments(); a != nil {
		if a.GetFull() {
			clear(m.assigned)
		}
		for _, k := range a.GetRemoved() {
			delete(m.assigned, state.KeyOf(k))
		}
		for _, s := range a.GetSet() {
			m.assigned[state.KeyOf(s.GetKey())] = s
		}
	}
	if p := msg.GetUsagePace(); p != nil {
		m.pace = p.GetInterval().AsDuration()
	}
	if n := msg.GetNetwork(); n != nil {
		if n.GetFull() {
			clear(m.peers)
			clear(m.endpoints)
		}
		for _, p := range n.GetRemovedPeers() {
			delete(m.peers, p)
		}
		for _, p := range n.GetPeers() {
			m.peers[p.GetMachine()] = p
		}
		for _, e := range n.GetRemovedEndpoints() {
			delete(m.endpoints, endpointName(e))
		}
		for _, e := range n.GetEndpoints() {
			m.endpoints[endpointName(e)] = e
		}
	}
}

// TestMachinesLearnEverything: however changes and deliveries follow each other, however often machines reconnect, once
// everything was delivered each machine believes what is.
func TestMachinesLearnEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		src := table{"m1": {}, "m2": {}}
		c := dispatcher.New(src)
		now := time.Unix(0, 0)
		sessions, mirrors := map[string]*dispatcher.Session{}, map[string]*mirror{"m1": newMirror(), "m2": newMirror()}
		peers, endpoints := map[string]*argosyv1.Peer{}, map[string]*argosyv1.Endpoint{}
		deliver := func(id string, most int) {
			for s := sessions[id]; s != nil && most > 0; most-- {
				msg := c.Next(s)
				if msg == nil {
					return
				}
				mirrors[id].take(proto.CloneOf(msg))
			}
		}
		for i := range rapid.IntRange(1, 80).Draw(t, "steps") {
			id := rapid.SampledFrom([]string{"m1", "m2"}).Draw(t, "machine")
			k := state.Key{Tenant: "t", App: "a", Stack: "s", Number: rapid.Uint32Range(1, 4).Draw(t, "number")}
			switch rapid.IntRange(0, 8).Draw(t, "what") {
			case 0:
				s, refusal := c.Open(now, id, &argosyv1.Hello{SessionId: id}, time.Second)
				if refusal != nil {
					t.Fatalf("refused: %v", refusal)
				}
				sessions[id] = s
				mirrors[id].pace = 0 // what it was told held for the session
			case 1:
				if rapid.Bool().Draw(t, "gone") {
					delete(src[id], k)
				} else {
					src[id][k] = &argosyv1.Assignment{Key: k.Proto(), Revision: uint64(i)}
				}
				c.Mark(id, k)
			case 2:
				p := fmt.Sprint("p", rapid.IntRange(1, 3).Draw(t, "peer"))
				delete(peers, p)
				var next *argosyv1.Peer
				if rapid.Bool().Draw(t, "there") {
					next = &argosyv1.Peer{Machine: p, Address: fmt.Sprint(i)}
					peers[p] = next
				}
				c.SetPeer(p, next)
			case 3:
				var list []*argosyv1.Endpoint
				for _, member := range []string{"x", "y"} {
					e := &argosyv1.Endpoint{Key: k.Proto(), Member: member, Ready: rapid.Bool().Draw(t, "ready")}
					delete(endpoints, endpointName(e))
					if rapid.Bool().Draw(t, "there") {
						list = append(list, e)
						endpoints[endpointName(e)] = e
					}
				}
				c.SetEndpoints(k, list)
			case 4:
				c.Release()
			case 5:
				c.Watched(now, rapid.IntRange(0, 2).Draw(t, "watchers"))
			case 6:
				now = now.Add(time.Duration(rapid.IntRange(1, 11).Draw(t, "seconds")) * time.Second)
				c.Slow(now)
			default:
				deliver(id, rapid.IntRange(1, 3).Draw(t, "messages"))
			}
		}
		c.Release()
		pace := time.Duration(0)
		if rapid.Bool().Draw(t, "watched") {
			c.Watched(now, 1)
			pace = 2 * time.Second
		} else {
			c.Watched(now, 0)
			c.Slow(now.Add(time.Minute))
		}
		for id, s := range sessions {
			deliver(id, 1000)
			if msg := c.Next(s); msg != nil {
				t.Fatalf("%s is never told everything: %v", id, msg)
			}
			m := mirrors[id]
			if m.pace != pace {
				t.Fatalf("%s believes in a pace of %v, is %v", id, m.pace, pace)
			}
			if fmt.Sprint(m.assigned) != fmt.Sprint(src[id]) {
				t.Fatalf("%s believes %v, is %v", id, m.assigned, src[id])
			}
			if fmt.Sprint(m.peers) != fmt.Sprint(peers) || fmt.Sprint(m.endpoints) != fmt.Sprint(endpoints) {
				t.Fatalf("%s believes %v %v, is %v %v", id, m.peers, m.endpoints, peers, endpoints)
			}
		}
	})
}

func observation(n uint64, s argosyv1.ReplicaState) *argosyv1.ReplicaObservation {
	return &argosyv1.ReplicaObservation{Key: &argosyv1.ReplicaKey{Tenant: "t", App: "a", Stack: "s", Number: 1}, AppUid: "u", Incarnation: n, State: s}
}

func report(full bool, list ...*argosyv1.ReplicaObservation) *argosyv1.SessionRequest {
	return &argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Report{Report: &argosyv1.Report{Full: full, Replicas: list}}}
}

var beat = &argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Beat{Beat: &argosyv1.Beat{}}}

// TestWhatBeatsConfirm: a beat confirms what its own session reported, and nothing before that.
func TestWhatBeatsConfirm(t *testing.T) {
	c := dispatcher.New(table{"m1": {}})
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	i := dispatcher.Incarnation{Key: state.Key{Tenant: "t", App: "a", Stack: "s", Number: 1}, AppUID: "u", N: 1}
	confirmed := func(want int) {
		t.Helper()
		if _, got, ok := c.Seen("m1", i); !ok || !got.Equal(at(want)) {
			t.Errorf("seen %v at %v, want %v", ok, got, at(want))
		}
	}
	receive := func(when int, s *dispatcher.Session, m *argosyv1.SessionRequest) {
		t.Helper()
		if err := c.Receive(at(when), s, m); err != nil {
			t.Fatal(err)
		}
	}
	first, _ := c.Open(at(0), "m1", &argosyv1.Hello{SessionId: "x"}, time.Second)
	if err := c.Receive(at(0), first, report(false)); err == nil {
		t.Error("a delta before the full report is taken")
	}
	receive(1, first, report(true, observation(1, argosyv1.ReplicaState_REPLICA_STATE_READY)))
	receive(2, first, beat)
	confirmed(2)
	second, _ := c.Open(at(3), "m1", &argosyv1.Hello{SessionId: "x"}, time.Second)
	receive(4, second, beat)
	confirmed(2)
	if err := c.Receive(at(5), first, beat); err == nil {
		t.Error("a session that was replaced is still heard")
	}
	receive(6, second, report(true))
	if _, _, ok := c.Seen("m1", i); ok || !c.Absent("m1", i) {
		t.Error("what a full report does not name is still seen")
	}
	receive(7, second, report(false, observation(1, argosyv1.ReplicaState_REPLICA_STATE_GONE)))
	if !c.Gone("m1", i) {
		t.Error("GONE is not noted")
	}
}

// TestWhatWasOnItsWay: what arrives long after it was said is not news of now, and a machine can make itself only older.
func TestWhatWasOnItsWay(t *testing.T) {
	c := dispatcher.New(table{"m1": {}})
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	i := dispatcher.Incarnation{Key: state.Key{Tenant: "t", App: "a", Stack: "s", Number: 1}, AppUID: "u", N: 1}
	s, _ := c.Open(at(0), "m1", &argosyv1.Hello{Marks: true}, time.Second)
	mark := func() (n uint64) {
		for m := c.Next(s); m != nil; m = c.Next(s) {
			if m.GetMark() != nil {
				n = m.GetMark().GetNumber()
			}
		}
		return n
	}
	receive := func(when int, mark uint64, m *argosyv1.SessionRequest, want int) {
		t.Helper()
		m = proto.CloneOf(m)
		m.Mark = mark
		if err := c.Receive(at(when), s, m); err != nil {
			t.Fatal(err)
		}
		if _, got, ok := c.Seen("m1", i); !ok || !got.Equal(at(want)) {
			t.Errorf("at %d, with mark %d: seen %v at %v, want %v", when, mark, ok, got, at(want))
		}
	}
	answer := &argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Beat{Beat: &argosyv1.Beat{Answer: true}}}
	receive(2, 0, report(true, observation(1, argosyv1.ReplicaState_REPLICA_STATE_READY)), 0)
	receive(3, 0, beat, 0)
	first := mark()
	receive(4, first, answer, 3)
	if n := mark(); n != 0 {
		t.Errorf("an answer is followed by mark %d", n)
	}
	for second := 20; second < 90; second++ { // what a partition held up, and the machine has not had a mark since
		receive(second, first, beat, 3)
	}
	const full = 20 + 62 // from then on there are 64 marks to wait for, and no more are set
	receive(90, first+1000, answer, 3)
	last := mark()
	receive(91, last, report(false, observation(1, argosyv1.ReplicaState_REPLICA_STATE_DEGRADED)), full)
	receive(92, last, beat, full)
	receive(93, mark(), answer, 92)
}

// TestAppsOfOneName: what is said of an app's replicas is not said of those of a later app of the same name, which counts its
// incarnations from 1 again.
func TestAppsOfOneName(t *testing.T) {
	c := dispatcher.New(table{"m1": {}})
	s, _ := c.Open(time.Unix(0, 0), "m1", &argosyv1.Hello{}, time.Second)
	earlier := dispatcher.Incarnation{Key: state.Key{Tenant: "t", App: "a", Stack: "s", Number: 1}, AppUID: "u", N: 1}
	later := earlier
	later.AppUID = "v"
	running := observation(1, argosyv1.ReplicaState_REPLICA_STATE_READY)
	running.AppUid = "v"
	for _, m := range []*argosyv1.SessionRequest{report(true, running), report(false, observation(1, argosyv1.ReplicaState_REPLICA_STATE_GONE))} {
		if err := c.Receive(time.Unix(0, 0), s, m); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, ok := c.Seen("m1", later); !ok || c.Gone("m1", later) || !c.Gone("m1", earlier) {
		t.Errorf("that the earlier one is gone is said of the later one: seen %v, gone %v", ok, c.Gone("m1", later))
	}
}

// TestHostileMachine: what a machine sends is bounded, and never panics.
func TestHostileMachine(t *testing.T) {
	c := dispatcher.New(table{"m1": {}})
	s, _ := c.Open(time.Unix(0, 0), "m1", &argosyv1.Hello{}, time.Second)
	long := observation(1, argosyv1.ReplicaState_REPLICA_STATE_READY)
	long.Message = strings.Repeat("é", 100_000)
	if err := c.Receive(time.Unix(0, 0), s, report(true, long, nil, &argosyv1.ReplicaObservation{})); err != nil {
		t.Fatal(err)
	}
	o, _, _ := c.Seen("m1", dispatcher.Incarnation{Key: state.KeyOf(long.Key), AppUID: long.AppUid, N: 1})
	if len(o.GetMessage()) > 4096 || !strings.HasPrefix(o.GetMessage(), "éé") {
		t.Errorf("a message of %d bytes is kept", len(o.GetMessage()))
	}
	var many []*argosyv1.ReplicaObservation
	for i := range 10_000 {
		many = append(many, observation(uint64(i), argosyv1.ReplicaState_REPLICA_STATE_READY))
	}
	if err := c.Receive(time.Unix(0, 0), s, report(false, many...)); err == nil {
		t.Error("ten thousand incarnations are taken")
	}
	for _, m := range []*argosyv1.SessionRequest{{}, {Message: &argosyv1.SessionRequest_Report{}}, {Message: &argosyv1.SessionRequest_Transitions{}}, {Message: &argosyv1.SessionRequest_Usage{}}} {
		_ = c.Receive(time.Unix(0, 0), s, m)
	}
	var ts []*argosyv1.Transition
	for i := range 10_000 {
		ts = append(ts, &argosyv1.Transition{OutboxSeq: uint64(i + 1), Cause: long.Message})
	}
	err := c.Receive(time.Unix(0, 0), s, &argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Transitions{Transitions: &argosyv1.Transitions{Transitions: ts}}})
	if err == nil || len(c.Outbox("m1", 100_000)) > 5000 {
		t.Errorf("%d transitions are kept: %v", len(c.Outbox("m1", 100_000)), err)
	}
}

// A machine that said what storage it reaches is told whom its guard asks, once and when that changes; others never are.
func TestStorage(t *testing.T) {
	c := dispatcher.New(table{"m1": {}, "m2": {}})
	now := time.Unix(1000, 0)
	drain := func(s *dispatcher.Session) (told int) {
		for m := c.Next(s); m != nil; m = c.Next(s) {
			if m.GetLeaseServers() != nil {
				told++
			}
		}
		return told
	}
	open := func(id, version string) *dispatcher.Session {
		s, refusal := c.Open(now, id, &argosyv1.Hello{SessionId: id, AgentVersion: version}, time.Second)
		if refusal != nil {
			t.Fatal(refusal)
		}
		return s
	}
	s1, s2 := open("m1", "1"), open("m2", "1")
	say := func(r *argosyv1.StorageReport) error {
		return c.Receive(now, s1, &argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Storage{Storage: r}})
	}
	if n := drain(s1) + drain(s2); n != 0 {
		t.Errorf("%d machines that have no guard were told of leases", n)
	}
	if err := say(&argosyv1.StorageReport{Devices: []uint64{9, 3}, Guard: &argosyv1.Guard{Key: make([]byte, 32)}}); err != nil {
		t.Fatal(err)
	}
	if got := c.Storage("m1").GetDevices(); len(got) != 2 || got[0] != 3 || c.Storage("m2") != nil {
		t.Errorf("reaches %v", got)
	}
	if news := c.Take(); !news.Storage.Has("m1") {
		t.Error("nobody heard of it")
	}
	if n := drain(s1); n != 1 {
		t.Errorf("told %d times", n)
	}
	c.MarkLeases()
	if a, b := drain(s1), drain(s2); a != 1 || b != 0 {
		t.Errorf("told %d and %d times of a change", a, b)
	}
	for _, bad := range []*argosyv1.StorageReport{{Devices: make([]uint64, 5000)}, {MountTypes: make([]string, 100)}, {Guard: &argosyv1.Guard{Key: []byte("short")}}} {
		if say(bad) == nil {
			t.Errorf("%v is taken", bad)
		}
	}
	c.Close(now, s1)
	if open("m1", "1"); c.Storage("m1") == nil {
		t.Error("a session that breaks off forgets what is reached")
	}
	if open("m1", "0"); c.Storage("m1") != nil {
		t.Error("what an agent of another release said holds")
	}
}
