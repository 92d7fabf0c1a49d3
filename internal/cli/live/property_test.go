package live

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// displayWidth is a line's width as a terminal would show it, by the library's own account.
func displayWidth(s string) int { return ansi.StringWidth(s) }

// hostile is text as a broken or malicious machine could send it.
func hostile() *rapid.Generator[string] {
	return rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "日本語のメッセージ", "\x1b[2J\x1b[31mred", "a\r\nb\tc", "👩‍👩‍👧‍👦 family", "\u202eevil", "\xff\xfe", "e\u0301\u0301\u0301",
		strings.Repeat("long ", 100), "\x1b]0;title\x07", "\u200b\u200b"}))
}

func randomMsg(t *rapid.T, now time.Time) Msg {
	states := rapid.SampledFrom([]argosyv1.ReplicaState{0, 1, 2, 3, 4, 5, 6, 7, 8, 99, -1})
	key := func() *argosyv1.ReplicaKey {
		return &argosyv1.ReplicaKey{Tenant: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "tenant"), App: rapid.SampledFrom([]string{"shop", "x", "日本"}).Draw(t, "app"),
			Stack: "web", Number: uint32(rapid.IntRange(0, 30).Draw(t, "number"))}
	}
	machine := rapid.SampledFrom([]string{"", "m1", "m2", "m3"})
	number := rapid.SampledFrom([]int64{0, 1, 999, 1 << 20, 1 << 62, -1, -1 << 63})
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0:
		return Resize{rapid.IntRange(-1, 220).Draw(t, "width"), rapid.IntRange(-1, 60).Draw(t, "height")}
	case 1, 2, 3:
		k := rapid.SampledFrom([]string{"up", "down", "pgup", "pgdown", "home", "end", "enter", "esc", "tab", "/", "<", ">", "S", "space", "l", "e", "x", "?", "backspace", "left",
			"ctrl+u", "a", ":", "m", "é", "paste"}).Draw(t, "key")
		text := ""
		if len([]rune(k)) == 1 {
			text = k
		}
		if k == "paste" {
			text = hostile().Draw(t, "paste")
		}
		return Key{Name: k, Text: text}
	case 4:
		return Tick{now}
	case 5:
		return Link{At: now, Err: rapid.OneOf(rapid.Just(""), hostile()).Draw(t, "error")}
	case 6:
		c := &argosyv1.WatchReplicasResponse{Full: rapid.IntRange(0, 5).Draw(t, "full") == 0}
		for range rapid.IntRange(0, 8).Draw(t, "n") {
			r := &argosyv1.ReplicaStatus{Replica: &argosyv1.Replica{Key: key()}, State: states.Draw(t, "state"), MachineName: machine.Draw(t, "machine"), Message: hostile().Draw(t, "message")}
			r.Replica.Machine = r.MachineName
			r.Observation = &argosyv1.ReplicaObservation{}
			for range rapid.IntRange(0, 3).Draw(t, "members") {
				r.Observation.Members = append(r.Observation.Members, &argosyv1.MemberObservation{Name: hostile().Draw(t, "member"), Message: hostile().Draw(t, "message"), Address: hostile().Draw(t, "address")})
			}
			c.Replicas = append(c.Replicas, r)
		}
		for range rapid.IntRange(0, 3).Draw(t, "removed") {
			c.Removed = append(c.Removed, key())
		}
		return Replicas{now, c}
	case 7:
		c := &argosyv1.WatchUsageResponse{}
		for range rapid.IntRange(0, 5).Draw(t, "n") {
			u := &argosyv1.ReplicaUsage{Key: key(), CpuMilli: number.Draw(t, "cpu"), Memory: number.Draw(t, "memory"), Rate: &argosyv1.Traffic{NetworkReceived: number.Draw(t, "rx")}}
			c.Replicas = append(c.Replicas, u)
		}
		c.Machines = append(c.Machines, &argosyv1.MachineReport{Id: machine.Draw(t, "machine"), Usage: &argosyv1.MachineUsage{CpuMilli: number.Draw(t, "cpu"), Memory: number.Draw(t, "memory")}})
		return Usage{At: now, Change: c}
	case 8:
		msg := Machines{At: now}
		for i := range rapid.IntRange(0, 3).Draw(t, "machines") {
			msg.List = append(msg.List, &argosyv1.MachineStatus{Machine: &argosyv1.Machine{Id: fmt.Sprintf("m%d", i+1), Name: hostile().Draw(t, "name"),
				Capacity: &argosyv1.Capacity{CpuMilli: number.Draw(t, "capacity"), Memory: number.Draw(t, "capacity")}},
				Condition: argosyv1.MachineCondition(rapid.IntRange(-1, 9).Draw(t, "condition")), ReservedCpuMilli: number.Draw(t, "reserved"),
				Usage: &argosyv1.MachineUsage{DiskUsed: number.Draw(t, "disk")}, Age: durationpb.New(time.Second), Message: hostile().Draw(t, "message")})
		}
		return msg
	}
	return Text{hostile().Draw(t, "title"), hostile().Draw(t, "body")}
}

// TestScreenFits: whatever happens, and whatever machines say, a screen is no wider and no higher than the terminal, nothing
// in it is obeyed by a terminal but styles, and the rows are in order, each once.
func TestScreenFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := New(Options{Title: "argosy top", Plain: rapid.Bool().Draw(t, "plain"), Members: rapid.Bool().Draw(t, "members"), Tenants: rapid.Bool().Draw(t, "tenants"),
			Color: rapid.Bool().Draw(t, "color"), Machines: false})
		m.Update(Resize{rapid.IntRange(1, 200).Draw(t, "width"), rapid.IntRange(1, 50).Draw(t, "height")})
		now := start
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 5000).Draw(t, "ms")) * time.Millisecond)
			m.Update(randomMsg(t, now))
			screen := m.View()
			if m.width > 0 && m.height > 0 {
				check(t, m, screen)
			}
			for _, r := range ansi.Strip(screen) {
				if r < ' ' && r != '\n' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u202e' {
					t.Errorf("the screen holds %q", r)
				}
			}
			for _, l := range append(m.data[:], m.shown[:]...) {
				checkOrder(t, l)
			}
		}
	})
}

func checkOrder(t *rapid.T, l *list) {
	if !slices.IsSortedFunc(l.shown, l.compare) {
		t.Errorf("the rows are out of order")
	}
	n := 0
	for id, r := range l.rows {
		if r.in {
			n++
		}
		if r.in != l.passes(r) {
			t.Errorf("%s is shown: %v, passes: %v", id, r.in, l.passes(r))
		}
	}
	for _, r := range l.shown {
		if !r.in || l.rows[r.id] != r {
			t.Errorf("%s is shown and should not be", r.id)
		}
	}
	if n != len(l.shown) {
		t.Errorf("%d rows pass, %d are shown", n, len(l.shown))
	}
}

// TestSelectionFollowsItsRow: however the order changes, the cursor stays on what somebody put it on, as long as that is shown.
func TestSelectionFollowsItsRow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := New(Options{Title: "argosy top", Sort: "cpu"})
		m.Update(Resize{80, 24})
		now := start
		for range 5 {
			m.Update(Replicas{now, manyReplicas(0, 50, 0)})
		}
		for range rapid.IntRange(1, 30).Draw(t, "down") {
			m.Update(Key{Name: "down"})
		}
		want := m.list().current().id
		for step := range rapid.IntRange(1, 20).Draw(t, "steps") {
			now = now.Add(2 * time.Second)
			m.Update(Usage{At: now, Change: manyUsages(0, 50, rapid.IntRange(0, 1000).Draw(t, "seed"))})
			m.Update(Tick{now})
			rows, at := m.list().window(m.bodyHeight())
			if got := rows[at].id; got != want {
				t.Fatalf("after step %d the cursor is on %s, not on %s", step, got, want)
			}
		}
	})
}

func manyReplicas(from, n, round int) *argosyv1.WatchReplicasResponse {
	c := &argosyv1.WatchReplicasResponse{}
	states := []string{"ready", "ready", "ready", "starting", "failed"}
	for i := from; i < from+n; i++ {
		k := &argosyv1.ReplicaKey{Tenant: "default", App: fmt.Sprintf("app%d", i/100), Stack: "web", Number: uint32(i%100 + 1)}
		c.Replicas = append(c.Replicas, replicaAt(k, states[(i+round)%len(states)], fmt.Sprintf("m%d", i%100+1), ""))
	}
	return c
}

func manyUsages(from, n, round int) *argosyv1.WatchUsageResponse {
	c := &argosyv1.WatchUsageResponse{}
	for i := from; i < from+n; i++ {
		k := &argosyv1.ReplicaKey{Tenant: "default", App: fmt.Sprintf("app%d", i/100), Stack: "web", Number: uint32(i%100 + 1)}
		c.Replicas = append(c.Replicas, &argosyv1.ReplicaUsage{Key: k, CpuMilli: int64((i*7919 + round*31) % 4000), Memory: int64(i) << 10, Rate: &argosyv1.Traffic{NetworkReceived: int64(i * round)}})
	}
	return c
}

// BenchmarkSecond is one second of a busy cluster, as it is looked at: 10,000 replicas sorted by cpu, of which 1,000 change
// and 667 are sampled anew, in 20 messages, each drawn on 200 columns.
func BenchmarkSecond(b *testing.B) {
	m := New(Options{Title: "argosy top", Sort: "cpu", Color: true})
	m.Update(Resize{200, 50})
	m.Update(Replicas{start, &argosyv1.WatchReplicasResponse{Full: true, Replicas: manyReplicas(0, 10_000, 0).Replicas}})
	now := start
	var changes []*argosyv1.WatchReplicasResponse
	var usages []*argosyv1.WatchUsageResponse
	for i := range 200 {
		changes = append(changes, manyReplicas(i*50%9950, 50, i))
		usages = append(usages, manyUsages(i*33%9900, 34, i))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		for j := range 20 {
			now = now.Add(50 * time.Millisecond)
			m.Update(Replicas{now, changes[(i*20+j)%200]})
			m.Update(Usage{At: now, Change: usages[(i*20+j)%200]})
			if m.View() == "" {
				b.Fatal("nothing is drawn")
			}
		}
		m.Update(Tick{now})
	}
}
