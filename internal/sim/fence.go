package sim

import (
	"errors"
	"hash/fnv"
	"time"

	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/claims/witness"
	"github.com/argosy-cluster/argosy/internal/leader/core"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
)

// fenced says whether the storage of a stack's volume can refuse machines, which stays so for a life. It takes nothing from what else is random.
func fenced(seed uint64, at string) bool {
	h := fnv.New64a()
	_, _ = h.Write([]byte(at))
	return (seed^h.Sum64())%2 == 0
}

var errRefused = errors.New("the storage refuses this machine")

// refuse has storage refuse a machine: what this has there can write no more.
func (d *sharedDisk) refuse(m *Machine) {
	d.w.tally.Fenced++
	d.refused[m] = true
}

// allow has it take the machine back, which is a mistake while something is left there from before that another may write beside.
func (d *sharedDisk) allow(m *Machine) {
	delete(d.refused, m)
	if able := d.able(); len(able) > 1 {
		d.w.violate("one writer (S1): the storage %s takes %s back, and then may be written by %s", d.source, m.Name, d.mounted())
	}
}

// able are the mounts that may write.
func (d *sharedDisk) able() (out []mounting) {
	for _, o := range d.mounts {
		if !d.refused[o.m] {
			out = append(out, o)
		}
	}
	return out
}

// program is a run of a fence program of a server. It goes on while that is stopped, and dies with it.
type program struct {
	l    *leaderProcess
	over bool
}

// fenceTry is a machine and a volume, about which one thing is done at a time.
type fenceTry struct {
	volume  state.VolumeKey
	machine string
}

// limit is for how long a program may run, by the server's clock, and retry after what time it is tried again.
const limit, retry = 10 * time.Second, 2 * time.Second

// fence does what is to be done about fences, as package server does.
func (l *leaderProcess) fence() {
	for _, work := range l.view().Fencing() {
		for _, id := range work.Others {
			l.askServer(id, work)
		}
		k := fenceTry{work.Key, work.Fence.GetMachine()}
		if work.Do == core.FenceNothing || l.fencing[k] {
			continue
		}
		l.fencing[k] = true
		again := func(after time.Duration) { l.after(after, func() { delete(l.fencing, k) }) }
		if work.Do == core.FenceTell {
			l.tellFenced(work)
			again(retry)
			continue
		}
		l.server.programs++
		begun := false
		l.change(work, func(_ time.Time, v *argosyv1.Volume) (next *argosyv1.Volume) {
			next, begun = core.FenceBegun(v, work, l.server.name)
			return next
		}, func(err error) {
			if err != nil || !begun || l.dead || l.w.leader != l { // the last is what a majority of the store says
				l.server.programs--
				again(retry)
				return
			}
			l.program(work, again)
		})
	}
}

// program runs one. Its effect falls somewhere between its beginning and its end, and may come to pass though it fails.
func (l *leaderProcess) program(work core.FenceWork, again func(time.Duration)) {
	w := l.w
	p := &program{l: l}
	m, d := w.byID(work.Fence.GetMachine()), w.sharedDisk(work.Fence.GetSource())
	took := w.span(20*time.Millisecond, 2*time.Second)
	if w.chance(0.1) {
		took = w.span(2*time.Second, 40*time.Second)
	}
	fails := w.chance(0.15)
	w.trace("%s: a program %v %s of %s, for %s", l.server.name, work.Do, m.Name, d.source, took)
	effect := func() {
		if work.Do == core.FenceBack {
			d.allow(m)
		} else {
			d.refuse(m)
		}
	}
	at := w.span(0, took)
	if !fails || w.chance(0.5) {
		w.after(at, func() {
			if !p.over && (!l.dead || l.stops > 0) {
				effect()
			}
		})
	}
	end := func(ok bool) {
		if p.over {
			return
		}
		p.over = true
		l.server.programs--
		if l.dead {
			return
		}
		if !ok {
			l.core.FenceSaid(work.Key, m.ID, "it did not work")
			again(retry)
			return
		}
		l.core.FenceSaid(work.Key, m.ID, "")
		l.change(work, func(now time.Time, v *argosyv1.Volume) *argosyv1.Volume {
			next, _ := core.FenceDone(now, v, work, l.server.name)
			return next
		}, func(error) { again(0) })
	}
	l.programs = append(l.programs, func() { end(false) })
	w.after(took, func() { l.run(func() { end(!fails) }) })
	l.after(limit, func() { end(false) })
}

// change proposes another record of a volume; nil changes nothing.
func (l *leaderProcess) change(work core.FenceWork, next func(time.Time, *argosyv1.Volume) *argosyv1.Volume, done func(error)) {
	l.asked = append(l.asked, request{func(now time.Time, v *core.View) (core.Proposal, error) {
		vol := v.Volume(work.Key)
		if vol == nil {
			return core.Proposal{}, nil
		}
		n := next(now, vol)
		if n == nil || proto.Equal(n, vol) {
			return core.Proposal{}, nil
		}
		return put(store.VolumeKey(vol.GetReplica(), vol.GetName()), n)
	}, done})
	l.soon()
}

// tellFenced has witnesses know what a storage confirmed, some of them late.
func (l *leaderProcess) tellFenced(work core.FenceWork) {
	token := claims.Token{Generation: work.Fence.GetToken().GetGeneration(), Revision: work.Fence.GetToken().GetRevision()}
	for _, s := range l.w.servers {
		after := l.w.span(time.Millisecond, 200*time.Millisecond)
		if l.w.chance(0.1) {
			after = l.w.span(time.Second, 60*time.Second)
		}
		l.w.after(after, func() {
			if p := s.beside.now; p != nil && p.stops == 0 && s.joined() {
				s.stepWitness(p, witness.FenceClaim{Claim: work.Claim, Machine: claims.Machine(work.Fence.GetMachine()), Token: token})
			}
		})
	}
}

// askServer has another server say that no program of it is under way.
func (l *leaderProcess) askServer(id string, work core.FenceWork) {
	for _, s := range l.w.servers {
		if s.name != id || !s.joined() || s.programs > 0 {
			continue
		}
		l.change(work, func(_ time.Time, v *argosyv1.Volume) *argosyv1.Volume { return core.FenceSettled(v, work, id) }, func(error) {})
	}
}
