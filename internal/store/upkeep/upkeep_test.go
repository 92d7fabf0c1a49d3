package upkeep

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const mib = 1 << 20

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func member(name string, size, inUse int64) Member {
	return Member{Name: name, Well: true, Size: size * mib, InUse: inUse * mib, Quota: 1000 * mib}
}

func leads(m Member) Member                     { m.Leads = true; return m }
func ill(m Member) Member                       { m.Well = false; return m }
func tended(m Member, ago time.Duration) Member { m.Tended = now.Add(-ago); return m }

func TestNext(t *testing.T) {
	calm := Store{Members: []Member{leads(member("a", 10, 9)), member("b", 10, 9), member("c", 10, 9)}}
	cases := []struct {
		name  string
		store Store
		want  string
	}{
		{"all is well", calm, "nothing "},
		{"nobody", Store{}, "nothing "},
		{"a little is free", Store{Members: []Member{leads(member("a", 60, 1))}}, "nothing "},
		{"half is free", Store{Members: []Member{leads(member("a", 200, 100))}}, "defragment a"},
		{"much is free, but less than half", Store{Members: []Member{leads(member("a", 700, 400))}}, "nothing "},
		{"the same where room is short", Store{Members: []Member{leads(member("a", 800, 500))}}, "defragment a"},
		{"room is short and nothing is free", Store{Members: []Member{leads(member("a", 800, 790))}}, "nothing "},
		{"it was done lately", Store{Members: []Member{tended(leads(member("a", 200, 100)), time.Minute)}}, "nothing "},
		{"it was done an hour ago", Store{Members: []Member{tended(leads(member("a", 200, 100)), time.Hour)}}, "defragment a"},
		{"the one with most to give comes first", Store{Members: []Member{member("a", 200, 80), member("b", 300, 80), leads(member("c", 900, 80))}}, "defragment b"},
		{"the one that leads comes last", Store{Members: []Member{leads(member("a", 900, 80)), member("b", 200, 80)}}, "defragment b"},
		{"and has another lead before", Store{Members: []Member{leads(member("a", 900, 80)), member("b", 100, 80)}}, "hand over b"},
		{"not while another is away", Store{Members: []Member{leads(member("a", 100, 80)), member("b", 900, 80), ill(member("c", 100, 80))}}, "nothing "},
		{"one that is away is left alone", Store{Full: true, Compacted: now, Members: []Member{leads(member("a", 100, 100)), ill(member("b", 900, 80))}}, "nothing "},
		{"full: history goes first", Store{Full: true, Members: []Member{leads(member("a", 1000, 100))}}, "compact "},
		{"then the files", Store{Full: true, Compacted: now, Members: []Member{leads(member("a", 1000, 100)), member("b", 1000, 100)}}, "defragment b"},
		{"even of the last that leads", Store{Full: true, Compacted: now, Members: []Member{leads(member("a", 1000, 100))}}, "defragment a"},
		{"with another away too", Store{Full: true, Compacted: now, Members: []Member{leads(member("a", 1000, 1000)), member("b", 1000, 100), ill(member("c", 1000, 100))}}, "defragment b"},
		{"then it is opened", Store{Full: true, Compacted: now, Members: []Member{leads(member("a", 100, 100)), member("b", 100, 100)}}, "reopen "},
		{"what was dropped does not show yet", Store{Full: true, Compacted: now, Members: []Member{leads(member("a", 1000, 990))}}, "defragment a"},
		{"nor in another", Store{Full: true, Compacted: now, Members: []Member{leads(member("a", 1000, 990)), member("b", 1000, 1000)}}, "defragment b"},
		{"what is needed is too much", Store{Full: true, Compacted: now.Add(-time.Minute), Members: []Member{tended(leads(member("a", 1000, 990)), time.Second)}}, "nothing "},
		{"an hour later history may have come to more", Store{Full: true, Compacted: now.Add(-time.Hour), Members: []Member{leads(member("a", 1000, 990))}}, "compact "},
		{"no quota is no bound", Store{Members: []Member{{Name: "a", Leads: true, Well: true, Size: 50 * mib, InUse: 40 * mib}}}, "nothing "},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := Next(now, c.store)
			if got := fmt.Sprintf("%s %s", s.Kind, s.Member); got != c.want {
				t.Errorf("%s (%s), want %s", got, s.Why, c.want)
			}
		})
	}
}

// Whatever the store is like: no member is defragmented that leads beside others, is not well, or gives nothing back (but once
// after the history of a full store was dropped); none is while another is away, unless nothing can be written anyhow; and carrying steps out comes to an end.
func TestStepsAreSafeAndEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 5).Draw(t, "members")
		s := Store{Full: rapid.Bool().Draw(t, "full")}
		lead := rapid.IntRange(0, n-1).Draw(t, "leads")
		for i := range n {
			size := rapid.Int64Range(0, 1100).Draw(t, "size")
			m := member(fmt.Sprint("m", i), size, rapid.Int64Range(0, size).Draw(t, "in use"))
			m.Well, m.Leads = rapid.IntRange(0, 5).Draw(t, "well") > 0, i == lead
			s.Members = append(s.Members, m)
		}
		for steps := 0; ; steps++ {
			if steps > 3*n+3 {
				t.Fatal("it never ends")
			}
			step := Next(now, s)
			switch step.Kind {
			case Nothing:
				return
			case Compact:
				s.Compacted = now
			case Reopen:
				s.Full = false
			case HandOver:
				for i := range s.Members {
					s.Members[i].Leads = s.Members[i].Name == step.Member
				}
			case Defragment:
				away := false
				for i := range s.Members {
					m := &s.Members[i]
					away = away || !m.Well
					if m.Name != step.Member {
						continue
					}
					if !m.Well || m.Leads && n > 1 || m.Size-m.InUse < leastShort && !m.tight(s) {
						t.Fatalf("%+v is defragmented", *m)
					}
					m.Size, m.Tended = m.InUse, now
				}
				if away && !s.Full {
					t.Fatal("a member is taken away while another is")
				}
			}
		}
	})
}
