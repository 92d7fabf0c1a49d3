package migration_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/memory"
	"github.com/argosy-cluster/argosy/internal/store/migration"
)

// three is a release that knows layouts 1 to 3.
func three() migration.Known { return migration.Known{Oldest: 1, Steps: make([]migration.Step, 2)} }

func TestDecide(t *testing.T) {
	knows := func(name string, newest uint32) migration.Server {
		return migration.Server{Name: name, Knows: migration.RangeOf(1, newest)}
	}
	for name, c := range map[string]struct {
		known   migration.Known
		layout  *storev1.Layout
		servers []migration.Server
		to      uint32
		waits   string
	}{
		"nothing is due":               {known: migration.Own(), layout: &storev1.Layout{Number: 1}, servers: []migration.Server{knows("s1", 1)}},
		"all know the newest":          {known: three(), layout: &storev1.Layout{Number: 1}, servers: []migration.Server{knows("s1", 3), knows("s2", 4)}, to: 3},
		"as far as all know":           {known: three(), layout: &storev1.Layout{Number: 1}, servers: []migration.Server{knows("s1", 3), knows("s2", 2)}, to: 2},
		"one of an earlier release":    {known: three(), layout: &storev1.Layout{Number: 2}, servers: []migration.Server{knows("s1", 3), knows("s2", 2)}, waits: "server s2, which is of an earlier"},
		"one that tells nothing":       {known: three(), layout: &storev1.Layout{Number: 1}, servers: []migration.Server{knows("s1", 3), {Name: "s2", Knows: migration.RangeOf(0, 0)}}, waits: "server s2"},
		"one that is away":             {known: three(), layout: &storev1.Layout{Number: 1}, servers: []migration.Server{knows("s1", 3), {Name: "s2", Silent: "refused"}}, waits: "server s2, which does not answer (refused)"},
		"a change that was begun":      {known: three(), layout: &storev1.Layout{Number: 1, To: 2}, servers: []migration.Server{knows("s1", 3), {Name: "s2", Silent: "refused"}}, to: 2},
		"the newest is reached":        {known: three(), layout: &storev1.Layout{Number: 3}, servers: []migration.Server{knows("s1", 3), {Name: "s2", Silent: "refused"}}},
		"no servers are no permission": {known: three(), layout: &storev1.Layout{Number: 1}},
	} {
		p := c.known.Decide(c.layout, c.servers)
		if p.To != c.to || !strings.Contains(p.Waits, c.waits) || (p.Waits == "") != (c.waits == "") {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func TestCheck(t *testing.T) {
	late := migration.Known{Oldest: 2, Steps: make([]migration.Step, 1)}
	for name, c := range map[string]struct {
		known  migration.Known
		layout *storev1.Layout
		says   []string
	}{
		"what it writes itself":         {known: late, layout: &storev1.Layout{Number: 3}},
		"on the way to what it knows":   {known: late, layout: &storev1.Layout{Number: 2, To: 3}},
		"a later one":                   {known: late, layout: &storev1.Layout{Number: 4, Version: "v9"}, says: []string{"layout 4", "made by argosy v9", "argosy v2 knows layouts 2 to 3", "install argosy v9 or later"}},
		"on the way to a later one":     {known: late, layout: &storev1.Layout{Number: 3, To: 4}, says: []string{"layout 4", "a later release"}},
		"one that is too old by now":    {known: late, layout: &storev1.Layout{Number: 1}, says: []string{"layout 1", "earlier release has to change it first"}},
		"a release that knows one only": {known: migration.Own(), layout: &storev1.Layout{Number: 2}, says: []string{"knows layout 1 only"}},
	} {
		err := c.known.Check(c.layout, "v2")
		var unknown *migration.UnknownError
		if errors.As(err, &unknown) != (c.says != nil) {
			t.Errorf("%s: %v", name, err)
		}
		for _, part := range c.says {
			if err != nil && !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q does not say %q", name, err, part)
			}
		}
	}
}

func TestRead(t *testing.T) {
	s := memory.New()
	if l, rev, err := migration.Read(t.Context(), s); err != nil || rev != 0 || l.Number != 1 {
		t.Errorf("a store without the record has layout %v at %d, %v", l, rev, err)
	}
	for name, value := range map[string]string{"no message": "\xff", "no number": "", "a jump": "\x08\x01\x10\x03"} {
		if _, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: store.LayoutKey, Value: []byte(value)}}}); err != nil {
			t.Fatal(err)
		}
		if l, _, err := migration.Read(t.Context(), s); err == nil && name != "no number" {
			t.Errorf("%s reads as %v", name, l)
		}
	}
	ops, err := three().Born("v3", time.Unix(1, 0))
	if err != nil || len(ops) != 1 {
		t.Fatal(ops, err)
	}
	if l, err := migration.Decode(ops[0].Value); err != nil || l.Number != 3 {
		t.Errorf("a new store has layout %v, %v", l, err)
	}
	if ops, err := migration.Own().Born("v1", time.Unix(1, 0)); err != nil || len(ops) != 0 {
		t.Errorf("layout 1 needs no record, and has %v, %v", ops, err)
	}
}
