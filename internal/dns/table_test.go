package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// contents writes down everything a table holds, derived data included.
func (t *Table) contents() string {
	var lines []string
	for k, e := range t.all {
		lines = append(lines, fmt.Sprintf("all %s %v", k, *e))
	}
	for name, n := range t.nodes {
		lines = append(lines, fmt.Sprintf("node %s %d %v %s", name, n.uses, n.numbered, keys(n.endpoints)))
	}
	for a, list := range t.byAddr {
		lines = append(lines, fmt.Sprintf("addr %s %s", a, keys(list)))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func keys(list []*Endpoint) string {
	var out []string
	for _, e := range list {
		out = append(out, fmt.Sprint(e.Key(), " ", e.Ready, " ", e.Addr))
	}
	return strings.Join(out, ", ")
}

func drawEndpoint(t *rapid.T) Endpoint {
	pick := func(label string, from ...string) string { return rapid.SampledFrom(from).Draw(t, label) }
	e := Endpoint{
		Tenant: pick("tenant", "default", "rival"), App: pick("app", "shop", "a"),
		Stack: pick("stack", "lamp", "a"), Number: rapid.Uint32Range(1, 4).Draw(t, "number"),
		Member: pick("member", "mysql", "apache", "a", "BAD"),
		Ready:  rapid.Bool().Draw(t, "ready"),
	}
	if n := rapid.IntRange(0, 6).Draw(t, "addr"); n > 0 { // few, so that some are shared
		e.Addr = netip.AddrFrom4([4]byte{10, 64, 0, byte(n)})
	}
	if rapid.Bool().Draw(t, "port") {
		e.Ports = []Port{{Name: "http", Port: 80}}
	}
	return e
}

// A table that came about by deltas is the same as one built from what it
// holds, and an emptied one holds nothing at all.
func TestIncrementalEqualsRebuilt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := NewTable()
		wanted := map[Key]Endpoint{}
		for range rapid.IntRange(1, 12).Draw(t, "deltas") {
			var d Delta
			for range rapid.IntRange(0, 4).Draw(t, "drops") {
				d.Drop = append(d.Drop, drawEndpoint(t).Key())
			}
			for range rapid.IntRange(0, 6).Draw(t, "puts") {
				d.Put = append(d.Put, drawEndpoint(t))
			}
			if rapid.IntRange(0, 9).Draw(t, "replace") == 0 {
				clear(wanted)
				d.Drop = nil
				_ = table.Replace(d.Put)
			} else {
				_ = table.Apply(d)
			}
			for _, k := range d.Drop {
				delete(wanted, k)
			}
			for _, e := range d.Put {
				if e.Member == "BAD" {
					delete(wanted, e.Key())
				} else {
					wanted[e.Key()] = e
				}
			}
			rebuilt := NewTable()
			for _, e := range wanted {
				if err := rebuilt.Apply(Delta{Put: []Endpoint{e}}); err != nil {
					t.Fatal(err)
				}
			}
			if got, want := table.contents(), rebuilt.contents(); got != want {
				t.Fatalf("by deltas:\n%s\nrebuilt:\n%s", got, want)
			}
		}
		if err := table.Replace(nil); err != nil {
			t.Fatal(err)
		}
		if got := table.contents(); got != "" {
			t.Fatalf("emptied, it still holds:\n%s", got)
		}
	})
}

// Questions and deltas at once; the race detector is the judge.
func TestConcurrentUse(t *testing.T) {
	table := NewTable()
	all := crowd(50)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 500 {
				e := all[(i*7+w)%len(all)]
				e.Ready = i%2 == 0
				if err := table.Apply(Delta{Put: []Endpoint{e}, Drop: []Key{all[(i*3+w)%len(all)].Key()}}); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 500 {
				list, _, _ := table.lookup("srv.web.big.default.argosy.internal.", lookup{limit: maxAddrs, turn: true})
				for _, e := range list {
					if e == nil || !e.Ready {
						t.Error("answered one that is not ready")
					}
				}
				table.at(all[0].Addr)
			}
		})
	}
	wg.Wait()
}
