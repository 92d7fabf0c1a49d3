package volume_test

import (
	"testing"

	"github.com/argosy-cluster/argosy/internal/agent/volume"
	"github.com/argosy-cluster/argosy/internal/agent/volume/volumetest"
)

func TestFake(t *testing.T) {
	volumetest.Run(t, func(*testing.T) volumetest.Bench {
		const source = "LABEL=shop"
		shelf := volume.NewShelf()
		shelf.Change(source, func(*volume.Stored) {})
		fake := volume.NewFake(shelf)
		spoil := func(f func(*volume.Stored)) func() { return func() { shelf.Change(source, f) } }
		return volumetest.Bench{
			Driver: fake, Write: fake.Write, Read: fake.Read,
			Volume:   volume.Volume{Name: "default/shop/db.1/data", Device: &volume.Device{Source: source, Create: true}},
			Absent:   spoil(nil),
			Foreign:  spoil(func(s *volume.Stored) { s.Others = true }),
			Twice:    spoil(func(s *volume.Stored) { s.Twice = true }),
			ReadOnly: spoil(func(s *volume.Stored) { s.ReadOnly = true }),
		}
	})
}

// Two machines: the second is kept out by the file system, as by mmp, and then by the token.
func TestFakeOfTwoMachines(t *testing.T) {
	shelf := volume.NewShelf()
	shelf.Change("LABEL=shop", func(*volume.Stored) {})
	a, b := volume.NewFake(shelf), volume.NewFake(shelf)
	v := volume.Volume{Name: "default/shop/db.1/data", Device: &volume.Device{Source: "LABEL=shop", Create: true}}
	first, second := volume.Claim{Volume: v, Token: volume.Token{Generation: 1, Revision: 1}}, volume.Claim{Volume: v, Token: volume.Token{Generation: 1, Revision: 2}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(a.Stage(t.Context(), first))
	if err := b.Stage(t.Context(), second); volume.ReasonOf(err) != volume.Busy {
		t.Fatalf("mounted on both: %v", err)
	}
	must(a.Unstage(t.Context(), first))
	must(a.Quiet(t.Context(), v))
	must(b.Stage(t.Context(), second))
	_, err := b.Publish(t.Context(), second)
	must(err)
	must(b.Unpublish(t.Context(), second))
	must(b.Unstage(t.Context(), second))
	must(a.Stage(t.Context(), first))
	if _, err := a.Publish(t.Context(), first); volume.ReasonOf(err) != volume.Overtaken {
		t.Fatalf("published with a token that is over: %v", err)
	}
}
