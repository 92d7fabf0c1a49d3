package rotation

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// world is a cluster that does what a plan says, with servers that are away, slow, or die.
type world struct {
	c       Cluster
	servers []Server
	holders []Holder
}

func (w *world) String() string { return fmt.Sprintf("%+v %+v %+v", w.c, w.servers, w.holders) }

// act does a step, and says which invariant it breaks.
func (w *world) act(p Plan) error {
	switch p.Step {
	case Reopen:
		for i, s := range w.servers {
			if s.Silent != "" {
				return fmt.Errorf("a store is opened anew while %s is away", s.Name)
			}
			if s.ID == p.Server {
				w.servers[i].StoreTrusts = slices.Clone(s.Trusts)
			}
		}
	case Switch:
		if w.c.Other <= w.c.Issuing {
			return fmt.Errorf("a switch backwards, or to nothing: %+v", w.c)
		}
		for _, s := range w.servers {
			if !slices.Contains(s.Trusts, w.c.Other) || !slices.Contains(s.StoreTrusts, w.c.Other) {
				return fmt.Errorf("%s does not know what issues from now on", s.Name)
			}
		}
		w.c.Issuing, w.c.Other = w.c.Other, w.c.Issuing
	case Drop:
		if w.c.Other == 0 || w.c.Other > w.c.Issuing {
			return fmt.Errorf("the next authority is given up: %+v", w.c)
		}
		for _, s := range w.servers {
			if !slices.Contains(s.Trusts, w.c.Issuing) || !slices.Contains(s.StoreTrusts, w.c.Issuing) {
				return fmt.Errorf("%s is left behind", s.Name)
			}
		}
		for _, h := range w.holders {
			if h.Authority < w.c.Issuing {
				return fmt.Errorf("%s %s is left behind", h.Kind, h.Name)
			}
		}
		w.c.Other = 0
	}
	return nil
}

func (w *world) heal(i int) {
	w.servers[i].Silent = ""
	w.servers[i].Trusts = w.c.trusted()
}

// Whatever happens in between, nobody who can follow is left behind, and once everybody is well it ends, with everybody trusting
// just the new authority: safety properties `NobodyLeftBehind`, `OneStoreAtATime`.
func TestRotationEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{c: Cluster{Issuing: 1, Other: 2, Leader: "s1"}}
		for i := range rapid.IntRange(1, 5).Draw(t, "servers") {
			id := fmt.Sprintf("s%d", i+1)
			w.servers = append(w.servers, Server{ID: id, Name: id, Trusts: []uint32{1}, StoreTrusts: []uint32{1}})
		}
		for i := range rapid.IntRange(0, 4).Draw(t, "holders") {
			w.holders = append(w.holders, Holder{Kind: []string{"machine", "user"}[i%2], Name: fmt.Sprintf("h%d", i), Authority: 1})
		}
		step := func() {
			if err := w.act(Decide(w.c, w.servers, w.holders)); err != nil {
				t.Fatalf("%v\n%v", err, w)
			}
		}
		for range rapid.IntRange(0, 40).Draw(t, "events") {
			i := rapid.IntRange(0, len(w.servers)-1).Draw(t, "which")
			switch rapid.IntRange(0, 5).Draw(t, "event") {
			case 0:
				w.servers[i].Silent = "no answer"
			case 1:
				w.heal(i)
			case 2:
				w.c.Leader = w.servers[i].ID
			case 3:
				if w.servers[i].Silent == "" { // hears of the record's change
					w.servers[i].Trusts = w.c.trusted()
				}
			case 4:
				if len(w.holders) > 0 {
					h := &w.holders[i%len(w.holders)]
					h.Authority = max(h.Authority, w.c.Issuing)
				}
			default:
				step()
			}
		}
		for range 4 * (len(w.servers) + 2) {
			for i := range w.servers {
				w.heal(i)
			}
			for i := range w.holders {
				w.holders[i].Authority = max(w.holders[i].Authority, w.c.Issuing)
			}
			step()
		}
		for _, s := range w.servers {
			if w.c != (Cluster{2, 0, w.c.Leader}) || !slices.Equal(s.Trusts, []uint32{2}) || !sameSet(s.StoreTrusts, s.Trusts) {
				t.Fatalf("it does not end: %v", w)
			}
		}
		if p := Decide(w.c, w.servers, w.holders); p.Step != Wait || len(p.Waiting()) > 0 {
			t.Fatalf("afterwards there is still something to do: %+v", p)
		}
	})
}

func TestDecide(t *testing.T) {
	known := func(id string, store ...uint32) Server {
		return Server{ID: id, Name: id, Trusts: []uint32{1, 2}, StoreTrusts: store}
	}
	both := []uint32{1, 2}
	spreading, renewing := Cluster{Issuing: 1, Other: 2, Leader: "s1"}, Cluster{Issuing: 2, Other: 1, Leader: "s1"}
	followed := Server{ID: "s1", Name: "s1", Trusts: []uint32{2, 1}, StoreTrusts: both}
	for name, c := range map[string]struct {
		c       Cluster
		servers []Server
		holders []Holder
		step    Step
		server  string
		waits   string
	}{
		"nothing to do":                        {c: Cluster{Issuing: 1}, servers: []Server{{ID: "s1", Trusts: []uint32{1}, StoreTrusts: []uint32{1}}}},
		"one that does not answer":             {c: spreading, servers: []Server{known("s1", both...), {ID: "s2", Name: "s2", Silent: "refused"}}, waits: "server s2"},
		"one whose store opens":                {c: spreading, servers: []Server{known("s1", 1), {ID: "s2", Name: "s2", Silent: "refused", Lately: true}}, waits: "server s1 and server s2"},
		"one of an earlier release":            {c: spreading, servers: []Server{known("s1", both...), {ID: "s2", Name: "s2"}}, waits: "server s2"},
		"the leader's store is last":           {c: spreading, servers: []Server{known("s1", 1), known("s2", 1)}, step: Reopen, server: "s2", waits: "server s1 and server s2"},
		"no store while one is away":           {c: spreading, servers: []Server{known("s1", 1), known("s2", 1), {ID: "s3", Name: "s3", Silent: "refused"}}, waits: "server s1, server s2 and server s3"},
		"all know it":                          {c: spreading, servers: []Server{known("s1", both...), known("s2", 2, 1)}, holders: []Holder{{Kind: "user", Name: "ana", Authority: 1}}, step: Switch},
		"a user is waited for":                 {c: renewing, servers: []Server{followed}, holders: []Holder{{Kind: "user", Name: "ana", Authority: 1}}, waits: "user ana"},
		"a server has yet to hear of a step":   {c: renewing, servers: []Server{followed, known("s2", both...)}, waits: "server s2"},
		"all have followed":                    {c: renewing, servers: []Server{followed}, holders: []Holder{{Kind: "user", Name: "ana", Authority: 2}}, step: Drop},
		"stores forget the one that is gone":   {c: Cluster{Issuing: 2, Leader: "s1"}, servers: []Server{{ID: "s1", Name: "s1", Trusts: []uint32{2}, StoreTrusts: both}}, step: Reopen, server: "s1", waits: "server s1"},
		"a list of no servers decides nothing": {c: spreading},
	} {
		p := Decide(c.c, c.servers, c.holders)
		if p.Step != c.step || p.Server != c.server || Names(p.Waiting()) != c.waits {
			t.Errorf("%s: %d %q, waiting for %q", name, p.Step, p.Server, Names(p.Waiting()))
		}
		for _, f := range p.Waiting() {
			if strings.TrimSpace(f.Message) == "" {
				t.Errorf("%s: %s is waited for without a word", name, f.Name)
			}
		}
	}
}

func TestNames(t *testing.T) {
	var holders []Holder
	for i := range 9 {
		holders = append(holders, Holder{Kind: "machine", Name: fmt.Sprintf("m%d", i+1)})
	}
	p := Decide(Cluster{Issuing: 2, Other: 1}, nil, holders)
	if got, want := Names(p.Waiting()), "machine m1, machine m2, machine m3, machine m4, machine m5 and 4 more"; got != want {
		t.Errorf("got %q", got)
	}
}
