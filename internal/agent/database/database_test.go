package database

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
)

func open0(t testing.TB, path string) *DB {
	t.Helper()
	d, set, err := Open(path)
	if err != nil || set != "" {
		t.Fatalf("Open: %v, set aside %q", err, set)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func key(n uint32) *argosyv1.ReplicaKey {
	return &argosyv1.ReplicaKey{Tenant: "default", App: "shop", Stack: "lamp", Number: n}
}

func assignment(n uint32, revision uint64) *argosyv1.Assignment {
	return &argosyv1.Assignment{Key: key(n), AppUid: "u", Incarnation: 1, Revision: revision, Secrets: []*argosyv1.SealedSecret{{Name: "s", Sealed: []byte{1, 2, 3}}}}
}

func TestAssignments(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "agent.db")
	d := open0(t, path)
	if list, complete, err := d.Assignments(); err != nil || complete || len(list) != 0 {
		t.Fatalf("a new database has %v, complete %v, %v", list, complete, err)
	}
	check := func(want ...uint64) {
		t.Helper()
		list, complete, err := d.Assignments()
		if err != nil || !complete || len(list) != len(want) {
			t.Fatalf("%d assignments, complete %v, %v; want %v", len(list), complete, err, want)
		}
		for i, a := range list {
			if a.GetRevision() != want[i] {
				t.Errorf("assignment %d is %v", i, a)
			}
		}
	}
	for _, step := range []struct {
		full    bool
		set     []*argosyv1.Assignment
		removed []*argosyv1.ReplicaKey
		want    []uint64
	}{
		{full: true, set: []*argosyv1.Assignment{assignment(1, 1), assignment(2, 1)}, want: []uint64{1, 1}},
		{set: []*argosyv1.Assignment{assignment(2, 5)}, want: []uint64{1, 5}},
		{removed: []*argosyv1.ReplicaKey{key(1), key(9)}, want: []uint64{5}},
		{set: []*argosyv1.Assignment{assignment(2, 6)}, removed: []*argosyv1.ReplicaKey{key(2)}, want: []uint64{6}},
		{full: true, want: nil},
	} {
		if err := d.Assign(step.full, step.set, step.removed); err != nil {
			t.Fatal(err)
		}
		check(step.want...)
	}
	// They are still there for the next agent, and nobody else can read them.
	if err := d.Assign(true, []*argosyv1.Assignment{assignment(3, 7)}, nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(path); !errors.Is(err, ErrInUse) {
		t.Errorf("a second agent gets %v", err)
	}
	d.Close()
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the database is %v, %v", st.Mode(), err)
	}
	d = open0(t, path)
	check(7)
}

func transition(what string) *argosyv1.Transition { return &argosyv1.Transition{To: what} }

func (d *DB) numbers(t testing.TB, after uint64) []uint64 {
	t.Helper()
	list, err := d.Pending(after, 1000000)
	if err != nil {
		t.Fatal(err)
	}
	var out []uint64
	for _, x := range list {
		out = append(out, x.GetOutboxSeq())
	}
	return out
}

func TestOutboxDropsHonestly(t *testing.T) {
	d := open0(t, filepath.Join(t.TempDir(), "agent.db"))
	d.SetMaxOutbox(10)
	for i := range 95 {
		if _, err := d.Record(Batch{Transitions: []*argosyv1.Transition{transition(fmt.Sprint(i + 1))}}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := d.Pending(0, 1000)
	if err != nil || len(list) > 10 {
		t.Fatalf("%d transitions are kept, %v", len(list), err)
	}
	head := list[0]
	if want := fmt.Sprintf("dropped %d transitions up to here", head.GetOutboxSeq()); !strings.HasPrefix(head.GetCause(), want) {
		t.Errorf("the head says %q, it should begin with %q", head.GetCause(), want)
	}
	for i, x := range list[1:] {
		if x.GetOutboxSeq() != head.GetOutboxSeq()+uint64(i)+1 || x.GetTo() != fmt.Sprint(x.GetOutboxSeq()) {
			t.Errorf("transition %v is out of order", x)
		}
	}
	if err := d.Acknowledge(95); err != nil {
		t.Fatal(err)
	}
	if left := d.numbers(t, 0); len(left) > 0 {
		t.Errorf("left after the acknowledgement: %v", left)
	}
	for range 30 {
		if _, err := d.Record(Batch{Transitions: []*argosyv1.Transition{transition("x")}}); err != nil {
			t.Fatal(err)
		}
	}
	if list, err = d.Pending(0, 1); err != nil || !strings.HasPrefix(list[0].GetCause(), fmt.Sprintf("dropped %d transitions", list[0].GetOutboxSeq()-95)) {
		t.Errorf("the new head counts what was acknowledged too: %v", list)
	}
}

// TestOutboxProperties compares the outbox with a list in memory while it is recorded, acknowledged and reopened.
func TestOutboxProperties(t *testing.T) {
	dir := t.TempDir()
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		path := filepath.Join(dir, fmt.Sprint(runs))
		d, _, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { d.Close() }()
		var waiting []*argosyv1.Transition
		last, made := uint64(0), 0
		t.Repeat(map[string]func(*rapid.T){
			"record": func(t *rapid.T) {
				var b Batch
				for range rapid.IntRange(0, 5).Draw(t, "n") {
					made++
					b.Transitions = append(b.Transitions, transition(fmt.Sprint(made)))
				}
				got, err := d.Record(b)
				if err != nil || got != last+uint64(len(b.Transitions)) {
					t.Fatalf("recorded up to %d, %v; it was %d before %d", got, err, last, len(b.Transitions))
				}
				last = got
				for _, x := range b.Transitions {
					waiting = append(waiting, proto.CloneOf(x))
				}
			},
			"acknowledge": func(t *rapid.T) {
				seq := rapid.Uint64Range(0, last).Draw(t, "seq")
				if err := d.Acknowledge(seq); err != nil {
					t.Fatal(err)
				}
				for len(waiting) > 0 && waiting[0].GetOutboxSeq() <= seq {
					waiting = waiting[1:]
				}
			},
			"foreign": func(t *rapid.T) {
				// The cluster remembers more of this machine than its database, which therefore is not the first.
				seq := last + rapid.Uint64Range(1, 10).Draw(t, "beyond")
				if err := d.Acknowledge(seq); err != nil {
					t.Fatal(err)
				}
				for i := range waiting {
					waiting[i].OutboxSeq = seq + uint64(i) + 1
				}
				last = seq + uint64(len(waiting))
			},
			"reopen": func(t *rapid.T) {
				d.Close()
				if d, _, err = Open(path); err != nil {
					t.Fatal(err)
				}
			},
			"": func(t *rapid.T) {
				got, err := d.Pending(0, 1000)
				if err != nil || len(got) != len(waiting) {
					t.Fatalf("%d wait, %v; %d should", len(got), err, len(waiting))
				}
				for i := range got {
					if !proto.Equal(got[i], waiting[i]) {
						t.Fatalf("%v waits in the place of %v", got[i], waiting[i])
					}
				}
			},
		})
	})
}

func TestStatesAndMemories(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.db")
	d := open0(t, path)
	o := &argosyv1.ReplicaObservation{Key: key(1), AppUid: "u", Incarnation: 2, State: argosyv1.ReplicaState_REPLICA_STATE_READY, Members: []*argosyv1.MemberObservation{{Name: "mysql"}}}
	other := &argosyv1.ReplicaObservation{Key: key(2), AppUid: "u", Incarnation: 1}
	id := core.MemberID{ID: core.ID{Key: core.KeyOf(key(1)), AppUID: "u", Incarnation: 2}, Member: "mysql"}
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	m := core.MemberMemory{Failures: 3, Fault: "no", RetryAt: at, Restarts: 2, ContainerID: "c"}
	calm := id
	calm.Member = "calm"
	if _, err := d.Record(Batch{States: []*argosyv1.ReplicaObservation{o, other}, Memories: map[core.MemberID]core.MemberMemory{id: m, calm: {Doing: core.Pull}}}); err != nil {
		t.Fatal(err)
	}
	d.Close()
	d = open0(t, path)
	states, memory, err := d.Last()
	if err != nil || len(states) != 2 || !proto.Equal(states[0], o) {
		t.Fatalf("%v, %v", states, err)
	}
	if got := memory[id]; len(memory) != 1 || got == nil || *got != m {
		t.Fatalf("memory: %+v", memory)
	}
	if _, err := d.Record(Batch{Gone: []*argosyv1.ReplicaObservation{o}}); err != nil {
		t.Fatal(err)
	}
	if states, memory, err = d.Last(); err != nil || len(states) != 1 || len(memory) != 0 {
		t.Fatalf("after it went: %v, %v, %v", states, memory, err)
	}
}

func TestImages(t *testing.T) {
	d := open0(t, filepath.Join(t.TempDir(), "agent.db"))
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := d.Pulled(Image{Reference: "a@sha256:1", Size: 5, PulledAt: at, UsedAt: at}); err != nil {
		t.Fatal(err)
	}
	if err := d.Used(at.Add(time.Hour), []string{"a@sha256:1", "never pulled"}); err != nil {
		t.Fatal(err)
	}
	list, err := d.Images()
	if err != nil || len(list) != 1 || !list[0].UsedAt.Equal(at.Add(time.Hour)) || list[0].Size != 5 {
		t.Fatalf("%v, %v", list, err)
	}
	if err := d.ForgetImage("a@sha256:1"); err != nil {
		t.Fatal(err)
	}
	if list, err = d.Images(); err != nil || len(list) != 0 {
		t.Fatalf("%v, %v", list, err)
	}
}

func TestDamagedDatabaseIsSetAside(t *testing.T) {
	for name, spoil := range map[string]func([]byte) []byte{
		"noise":     func(b []byte) []byte { return []byte(strings.Repeat("no database\n", 1000)) },
		"truncated": func(b []byte) []byte { return b[:len(b)/3] },
		"zeroed":    func(b []byte) []byte { clear(b); return b },
		"short":     func([]byte) []byte { return []byte("x") },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "agent.db")
			d := open0(t, path)
			if err := d.Assign(true, []*argosyv1.Assignment{assignment(1, 1)}, nil); err != nil {
				t.Fatal(err)
			}
			d.Close()
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, spoil(raw), 0o600); err != nil {
				t.Fatal(err)
			}
			d, set, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if _, err := os.Stat(set); err != nil {
				t.Errorf("the damaged file is not where Open says: %q, %v", set, err)
			}
			if list, complete, err := d.Assignments(); err != nil || complete || len(list) > 0 {
				t.Errorf("the new database has %v, %v, %v", list, complete, err)
			}
		})
	}
}
