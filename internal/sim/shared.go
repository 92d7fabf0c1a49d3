package sim

import (
	"context"
	"fmt"

	agent "github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/agent/volume"
	"github.com/argosy-cluster/argosy/internal/claims"
)

// sharedDisk is storage that all machines reach. It refuses whom it is told to, records who mounts it and who writes, and so judges.
type sharedDisk struct {
	w      *World
	source string
	// token is the highest that mounted it, as its mark says.
	token claims.Token
	// mounts are those that may write now: in the kernel of a machine that runs.
	mounts []mounting
	// refused are machines that can do nothing with it.
	refused map[*Machine]bool
	// writes counts what was written and acknowledged; by is the token of the last.
	writes uint64
	by     claims.Token
}

// mounting is a machine that has mounted it with a token.
type mounting struct {
	m     *Machine
	token claims.Token
}

func (w *World) sharedDisk(source string) *sharedDisk {
	d := w.shared[source]
	if d == nil {
		d = &sharedDisk{w: w, source: source, refused: map[*Machine]bool{}}
		w.shared[source] = d
	}
	return d
}

// sourceOf is where a volume is.
func sourceOf(v volume.Volume) string {
	if v.Device != nil {
		return v.Device.Source
	}
	return v.Mount.Source
}

// mount has a machine able to write. Nobody else may be.
func (d *sharedDisk) mount(m *Machine, t claims.Token) error {
	if d.refused[m] {
		return errRefused
	}
	for _, o := range d.able() {
		if o.m == m && o.token == t {
			return nil
		}
		d.w.violate("one writer (S1): %s mounts %s with token %v, and %s has it mounted with token %v", m.Name, d.source, t, o.m.Name, o.token)
	}
	if t.Less(d.token) {
		d.w.violate("tokens grow (S11): %s mounts %s with token %v, and its mark says %v", m.Name, d.source, t, d.token)
		return volume.Refuse(volume.Overtaken, "token %v was there before", d.token)
	}
	d.w.tally.Mounts++
	d.token = t
	d.mounts = append(d.mounts, mounting{m, t})
	return nil
}

// unmount ends that.
func (d *sharedDisk) unmount(m *Machine, t claims.Token) {
	for i, o := range d.mounts {
		if o.m == m && o.token == t {
			d.mounts = append(d.mounts[:i:i], d.mounts[i+1:]...)
			return
		}
	}
}

// write is a write of a process that runs in a token's slice, and that has seen so many before.
func (d *sharedDisk) write(m *Machine, t claims.Token, seen uint64) uint64 {
	able := d.able()
	switch {
	case seen != d.writes:
		d.w.violate("nothing acknowledged is lost: %s writes %s with token %v after write %d, and there are %d, the last with token %v", m.Name, d.source, t, seen, d.writes, d.by)
	case t.Less(d.by):
		d.w.violate("tokens grow (S11): %s writes %s with token %v after one with %v", m.Name, d.source, t, d.by)
	case len(able) != 1 || able[0] != mounting{m, t}:
		d.w.violate("nothing runs that is not mounted (S8): %s writes %s with token %v, mounted are %s", m.Name, d.source, t, d.mounted())
	}
	d.writes++
	d.by = t
	return d.writes
}

func (d *sharedDisk) mounted() string {
	text := ""
	for _, o := range d.mounts {
		text += fmt.Sprintf("%s with %v, ", o.m.Name, o.token)
	}
	return text
}

// write has a container write to its shared volume for as long as it runs.
func (e *engine) write(b *box, s *slot, seen uint64) {
	run := b.run
	e.m.w.after(e.m.w.span(writeOften, writeSeldom), func() {
		if b.State == agent.Running && b.run == run && s.gate.Runs() && len(e.m.w.broken) == 0 {
			if s.disk.refused[e.m] {
				e.exit(b, 1) // an error of its disk
				e.m.look(b.Owner.Key)
				return
			}
			e.write(b, s, s.disk.write(e.m, s.token, seen))
		}
	})
}

// finder looks for storage, which is always there.
type finder struct {
	volume.Driver
	detects bool
}

func (f finder) Attach(_ context.Context, v volume.Volume) (volume.Attached, error) {
	return volume.Attached{At: sourceOf(v), Detects: f.detects}, nil
}
