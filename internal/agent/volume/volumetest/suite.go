package volumetest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/argosy-cluster/argosy/internal/agent/volume"
)

// Bench is a driver with storage to try it on, and ways to spoil that.
type Bench struct {
	Driver volume.Driver
	// Volume was never used, and its storage is ready for it.
	Volume volume.Volume
	// The storage is taken away, taken by something else, shown a second time, made unwritable. Each is called at most once, while
	// nothing is staged; nil when the driver has no such thing.
	Absent, Foreign, Twice, ReadOnly func()
	// Write and Read are what a container does at a published path; nil for the machine's own files.
	Write func(at, name, text string) error
	Read  func(at, name string) (string, error)
}

func (b *Bench) fill() {
	if b.Write == nil {
		b.Write = func(at, name, text string) error { return os.WriteFile(filepath.Join(at, name), []byte(text), 0o600) }
	}
	if b.Read == nil {
		b.Read = func(at, name string) (string, error) {
			text, err := os.ReadFile(filepath.Join(at, name))
			return string(text), err
		}
	}
}

func (b *Bench) claim(revision uint64) volume.Claim {
	return volume.Claim{Volume: b.Volume, Token: volume.Token{Generation: 1, Revision: revision}}
}

func (b *Bench) up(t *testing.T, c volume.Claim) volume.Published {
	t.Helper()
	if _, err := b.Driver.Attach(t.Context(), c.Volume); err != nil {
		t.Fatal(err)
	}
	if err := b.Driver.Stage(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	pub, err := b.Driver.Publish(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return pub
}

func (b *Bench) down(t *testing.T, c volume.Claim) {
	t.Helper()
	if err := b.Driver.Unpublish(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := b.Driver.Unstage(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := b.Driver.Quiet(t.Context(), c.Volume); err != nil {
		t.Fatalf("not quiet after it was unmounted: %v", err)
	}
}

// refused asks for all three steps up to the visible path; one must refuse, for that reason, and nothing may be visible.
func (b *Bench) refused(t *testing.T, c volume.Claim, want ...volume.Reason) {
	t.Helper()
	_, err := b.Driver.Attach(t.Context(), c.Volume)
	if err == nil {
		err = b.Driver.Stage(t.Context(), c)
	}
	if err == nil {
		_, err = b.Driver.Publish(t.Context(), c)
	}
	if err == nil {
		t.Fatal("it was published")
	}
	got := volume.ReasonOf(err)
	for _, w := range want {
		if got == w {
			t.Logf("refused: %v", err)
			return
		}
	}
	t.Fatalf("refused for reason %d, want one of %v: %v", got, want, err)
}

// Run tries everything that [volume.Driver] promises.
func Run(t *testing.T, open func(t *testing.T) Bench) {
	each := func(name string, f func(t *testing.T, b *Bench)) {
		t.Run(name, func(t *testing.T) {
			b := open(t)
			b.fill()
			f(t, &b)
		})
	}
	each("life", life)
	each("again and again", repeated)
	each("tokens only grow", tokens)
	each("nothing staged", func(t *testing.T, b *Bench) {
		if _, err := b.Driver.Publish(t.Context(), b.claim(1)); volume.ReasonOf(err) == 0 {
			t.Fatalf("published what is not mounted: %v", err)
		}
	})
	each("another volume's", func(t *testing.T, b *Bench) {
		c := b.claim(1)
		b.up(t, c)
		b.down(t, c)
		c = b.claim(2)
		c.Volume.Name = "default/shop/db.2/data"
		b.refused(t, c, volume.Foreign)
	})
	each("another UUID", func(t *testing.T, b *Bench) {
		c := b.claim(1)
		b.up(t, c)
		b.down(t, c)
		c = b.claim(2)
		c.Volume.UUID = "11111111-2222-4333-8444-555555555555"
		b.refused(t, c, volume.Foreign)
	})
	each("nobody waits", nobody)
	each("names", func(t *testing.T, b *Bench) {
		for _, name := range []string{"", "/", "a/b/c", "../../../etc", "a/../b/c", "a/b/c/d/e", "a/b/c/\n", "a//b/c"} {
			c := b.claim(1)
			c.Volume.Name = name
			if _, err := b.Driver.Publish(t.Context(), c); err == nil {
				t.Errorf("a volume called %q was published", name)
			}
		}
	})
	spoil := func(name string, how func(*Bench) func(), want ...volume.Reason) {
		each(name, func(t *testing.T, b *Bench) {
			if how(b) == nil {
				return // such storage does not exist
			}
			how(b)()
			b.refused(t, b.claim(1), want...)
		})
		each(name+" after use", func(t *testing.T, b *Bench) {
			if how(b) == nil {
				return
			}
			c := b.claim(1)
			pub := b.up(t, c)
			b.down(t, c)
			b.Volume.UUID = pub.UUID
			how(b)()
			b.refused(t, b.claim(2), want...)
		})
	}
	spoil("absent", func(b *Bench) func() { return b.Absent }, volume.Absent)
	spoil("foreign", func(b *Bench) func() { return b.Foreign }, volume.Foreign)
	spoil("twice", func(b *Bench) func() { return b.Twice }, volume.Ambiguous)
	spoil("read-only", func(b *Bench) func() { return b.ReadOnly }, volume.ReadOnly)
}

func life(t *testing.T, b *Bench) {
	c := b.claim(1)
	pub := b.up(t, c)
	if pub.UUID == "" || pub.Path == "" {
		t.Fatalf("published as %+v", pub)
	}
	if err := b.Write(pub.Path, "a", "one"); err != nil {
		t.Fatal(err)
	}
	if err := b.Driver.Quiet(t.Context(), c.Volume); volume.ReasonOf(err) != volume.Busy {
		t.Fatalf("quiet while it is published: %v", err)
	}
	if err := b.Driver.Unstage(t.Context(), c); volume.ReasonOf(err) != volume.Busy {
		t.Fatalf("unstaged while it is published: %v", err)
	}
	if err := b.Driver.Unpublish(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := b.Write(pub.Path, "b", "two"); err == nil {
		t.Fatal("something could be written where nothing is published")
	}
	if err := b.Driver.Quiet(t.Context(), c.Volume); volume.ReasonOf(err) != volume.Busy {
		t.Fatalf("quiet while it is staged: %v", err)
	}
	b.down(t, c)

	b.Volume.UUID = pub.UUID
	next := b.up(t, b.claim(2))
	if next.UUID != pub.UUID || next.Path == pub.Path {
		t.Fatalf("first %+v, then %+v", pub, next)
	}
	if text, err := b.Read(next.Path, "a"); err != nil || text != "one" {
		t.Fatalf("read %q, %v", text, err)
	}
	if err := b.Write(pub.Path, "c", "three"); err == nil {
		t.Fatal("something could be written at the path of an earlier token")
	}
	b.down(t, b.claim(2))
}

func repeated(t *testing.T, b *Bench) {
	c := b.claim(1)
	b.down(t, c) // nothing is there yet
	first := b.up(t, c)
	if again := b.up(t, c); again != first {
		t.Fatalf("first %+v, then %+v", first, again)
	}
	b.down(t, c)
	b.down(t, c)
}

func tokens(t *testing.T, b *Bench) {
	c := b.claim(7)
	pub := b.up(t, c)
	// Not while another claim of the same volume has it.
	if err := b.Driver.Stage(t.Context(), b.claim(8)); volume.ReasonOf(err) != volume.Busy {
		t.Fatalf("staged twice: %v", err)
	}
	b.down(t, c)
	b.Volume.UUID = pub.UUID
	b.refused(t, b.claim(6), volume.Overtaken)
	b.down(t, b.claim(6))
	// A restore raises the generation, whatever the revision is.
	c = b.claim(1)
	c.Token.Generation = 2
	b.up(t, c)
	b.down(t, c)
	b.refused(t, b.claim(9), volume.Overtaken)
	b.down(t, b.claim(9))
}

func nobody(t *testing.T, b *Bench) {
	c := b.claim(1)
	if _, err := b.Driver.Attach(t.Context(), c.Volume); err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Driver.Stage(gone, c); !errors.Is(err, context.Canceled) {
		t.Fatalf("staged for nobody: %v", err)
	}
	if err := b.Driver.Stage(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Driver.Publish(gone, c); !errors.Is(err, context.Canceled) {
		t.Fatalf("published for nobody: %v", err)
	}
	b.down(t, c)
}
