package sim

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	agent "github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/unitfile"
)

// engine is a model of a machine's container engine. It outlives the agent; a crash of the machine stops its containers.
type engine struct {
	m          *Machine
	containers map[string]*box
	byKey      map[agent.Key][]*box // those of containers, in the order of ids
	past       map[string]*box      // removed ones, to know when they ran
	volumes    map[agent.Key]bool
	images     map[string]bool
	serial     int
	// starts counts containers' processes that were started, stops those that were stopped on purpose.
	starts, stops int
}

// box is a container and when its process lived.
type box struct {
	agent.Container
	check bool // has a health check
	lives []life
	run   int    // counts starts, so that a late event knows its own
	slice string // it can run only there; empty without a shared volume
}

type life struct{ from, to time.Time }

func newEngine(m *Machine) *engine {
	return &engine{m: m, containers: map[string]*box{}, byKey: map[agent.Key][]*box{}, past: map[string]*box{}, volumes: map[agent.Key]bool{}, images: map[string]bool{}}
}

// seen is what the engine shows of a group of containers.
func (e *engine) seen(k agent.Key) agent.Seen {
	s := agent.Seen{Known: true}
	for _, b := range e.byKey[k] {
		s.Containers = append(s.Containers, b.Container)
	}
	return s
}

func (e *engine) add(b *box) {
	e.containers[b.ContainerID] = b
	k := b.Owner.Key
	e.byKey[k] = append(e.byKey[k], b)
	slices.SortFunc(e.byKey[k], func(a, b *box) int { return strings.Compare(a.ContainerID, b.ContainerID) })
}

func (e *engine) remove(b *box) {
	e.past[b.ContainerID] = b
	delete(e.containers, b.ContainerID)
	k := b.Owner.Key
	if e.byKey[k] = slices.DeleteFunc(e.byKey[k], func(o *box) bool { return o == b }); len(e.byKey[k]) == 0 {
		delete(e.byKey, k)
	}
}

// forget takes the engine back to when it had certain containers: later ones are gone, removed ones are back.
func (e *engine) forget(had map[string]bool) {
	for _, id := range e.ids() {
		if !had[id] {
			e.remove(e.containers[id])
		}
	}
	for _, id := range slices.Sorted(maps.Keys(had)) {
		if b := e.past[id]; b != nil && e.containers[id] == nil && b.Unit == nil {
			delete(e.past, id)
			e.add(b)
		}
	}
}

func (e *engine) ids() []string {
	ids := make([]string, 0, len(e.containers))
	for id := range e.containers {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// listVolumes lists the volumes that there are: a replica has one at most, called data.
func (e *engine) listVolumes() []agent.Volume {
	var out []agent.Volume
	for k := range e.volumes {
		out = append(out, agent.Volume{Key: k, Name: "data"})
	}
	return out
}

// Images lists the images that a machine has.
func (m *Machine) Images() []string { return slices.Sorted(maps.Keys(m.engine.images)) }

// do carries out a step's effect.
func (e *engine) do(s agent.Step) error {
	w := e.m.w
	switch s.Kind {
	case agent.Pull, agent.Prepare, agent.Create:
		if e.m.suffers(DiskFull) {
			return &agent.Fault{Kind: agent.FaultOther, Message: errNoSpace.Error()}
		}
	}
	switch s.Kind {
	case agent.Pull:
		if strings.Contains(s.Spec.GetImage(), "missing") {
			return &agent.Fault{Kind: agent.FaultRefused, Message: fmt.Sprintf("image %s: not found", s.Spec.GetImage())}
		}
		e.images[s.Spec.GetImage()] = true
	case agent.Prepare:
		for _, mt := range s.Spec.GetMounts() {
			if mt.GetType() == argosyv1.MountType_MOUNT_TYPE_VOLUME && agent.Shared(s.Assignment.GetStack(), mt.GetSource()) == nil {
				e.volumes[s.Key] = true
			}
		}
	case agent.Create:
		return e.create(s)
	case agent.Start:
		b := e.containers[s.ContainerID]
		if b == nil {
			return &agent.Fault{Kind: agent.FaultGone, Message: "no such container"}
		}
		if w.suffers(Engine) && w.chance(0.1) {
			return &agent.Fault{Kind: agent.FaultOther, Message: "the engine could not start it"}
		}
		if b.slice != "" {
			if s := e.m.kernel.slots[b.slice]; s == nil || !s.mounted || !s.gate.Accepts() {
				return &agent.Fault{Kind: agent.FaultOther, Message: "what is to be bound is not there"}
			}
		}
		e.startBox(b)
	case agent.Stop:
		b := e.containers[s.ContainerID]
		if b == nil {
			return &agent.Fault{Kind: agent.FaultGone, Message: "no such container"}
		}
		e.stops++
		if b.Unit != nil {
			e.exit(b, 0)
			break
		}
		e.exit(b, 143)
	case agent.Remove:
		if b := e.containers[s.ContainerID]; b != nil && b.Alive() {
			return errors.New("it runs")
		}
		if b := e.containers[s.ContainerID]; b != nil {
			e.remove(b)
		}
	case agent.Clean:
		if s.RemoveVolumes {
			delete(e.volumes, s.Key)
		}
	}
	return nil
}

func (e *engine) create(s agent.Step) error {
	for _, b := range e.byKey[s.Key] {
		// A second create of the same name is a conflict that the driver settles by adopting what is there.
		if b.Owner == s.ID && b.Member == s.Member && b.Definition == s.Definition && b.Claims == s.Lease.Label() && b.Restart == s.Assignment.GetRestart() {
			return nil
		}
	}
	e.serial++
	id := fmt.Sprintf("%s-c%d", e.m.Name, e.serial)
	if s.Unit != nil {
		return e.createUnit(s, id)
	}
	slice := ""
	if s.Lease != nil {
		slice = s.Lease.Slice
	}
	e.add(&box{
		slice: slice,
		Container: agent.Container{
			Claims:      s.Lease.Label(),
			ContainerID: id, Owner: s.ID, Member: s.Member, Definition: s.Definition, Revision: s.Assignment.GetRevision(),
			Restart: s.Assignment.GetRestart(), State: agent.Created, CreatedAt: e.m.clock.wall(),
			ImageID: "sha256:" + s.Spec.GetImage(),
		},
		check: s.Spec.GetHealthcheck() != nil,
	})
	return nil
}

func (e *engine) startBox(b *box) {
	if b.State == agent.Running {
		return
	}
	w := e.m.w
	e.starts++
	b.State, b.StartedAt, b.ExitCode, b.run = agent.Running, e.m.clock.wall(), 0, b.run+1
	b.Address = fmt.Sprintf("%s%d", e.m.prefix, 2+e.serial%250)
	b.lives = append(b.lives, life{from: w.now})
	w.checkStart(e.m, b)
	if b.slice != "" {
		s := e.m.kernel.slots[b.slice]
		e.write(b, s, s.disk.writes)
	}
	run := b.run
	if b.Unit != nil {
		b.Health, b.Unit.Active, b.Unit.Sub, b.Error, b.Address = agent.Healthy, "active", "running", "", ""
	}
	if b.check {
		b.Health = agent.CheckStarting
		w.after(w.span(500*time.Millisecond, 3*time.Second), func() {
			if b.State == agent.Running && b.run == run {
				b.Health = agent.Healthy
				e.m.look(b.Owner.Key)
			}
		})
	}
	spec := b.ImageID
	switch {
	case strings.Contains(spec, "failing"):
		w.after(w.span(100*time.Millisecond, time.Second), func() { e.exitRun(b, run, 1) })
	case w.suffers(Engine) && w.chance(0.1):
		w.after(w.span(time.Second, time.Minute), func() { e.exitRun(b, run, 137) })
	}
}

func (e *engine) exitRun(b *box, run, code int) {
	if b.run == run && b.State == agent.Running {
		e.m.w.trace("%s: container %s of %s/%s exits with %d", e.m.Name, b.ContainerID, b.Owner.Key, b.Member, code)
		e.exit(b, code)
		e.m.look(b.Owner.Key)
	}
}

func (e *engine) exit(b *box, code int) {
	if b.State == agent.Running {
		b.lives[len(b.lives)-1].to = e.m.w.now
		b.State, b.FinishedAt, b.ExitCode, b.Address = agent.Exited, e.m.clock.wall(), code, ""
		b.Health = agent.NoCheck
		if b.Unit != nil {
			b.Unit.Active, b.Unit.Sub = "inactive", "dead"
			if code != 0 {
				b.Unit.Active, b.Unit.Sub, b.Error = "failed", "failed", fmt.Sprintf("exited with code %d", code)
			}
		}
	}
}

// crash stops everything, as a power cut does. Of units nothing is left: their files are where nothing outlives a boot.
func (e *engine) crash() {
	for _, id := range e.ids() {
		b := e.containers[id]
		if e.exit(b, 255); b.Unit != nil {
			e.remove(b)
		}
	}
}

// createUnit writes a unit's file. A machine has one of a name: while another replica's is there, which nobody wants any more, it is
// refused, and asked for again.
func (e *engine) createUnit(s agent.Step, id string) error {
	name := unitfile.ForReplica(s.Unit.GetName(), s.Number)
	for _, other := range e.ids() {
		if o := e.containers[other]; o.Unit != nil && o.Unit.Name == name {
			return &agent.Fault{Kind: agent.FaultRefused, Message: fmt.Sprintf("unit %s belongs to %s", name, o.Owner.Key)}
		}
	}
	e.add(&box{Container: agent.Container{
		ContainerID: id, Owner: s.ID, Member: s.Member, Definition: s.Definition, Revision: s.Assignment.GetRevision(),
		Restart: s.Assignment.GetRestart(), State: agent.Created, CreatedAt: e.m.clock.wall(),
		Unit: &agent.Unit{Name: name, Load: "loaded", Active: "inactive", Sub: "dead"},
	}})
	return nil
}

// ranWithin reports whether a container's process lived at some time between two instants.
func (e *engine) ranWithin(id string, from, to time.Time) bool {
	b := e.containers[id]
	if b == nil {
		b = e.past[id]
	}
	if b == nil {
		return false
	}
	for _, l := range b.lives {
		if !l.from.After(to) && (l.to.IsZero() || !l.to.Before(from)) {
			return true
		}
	}
	return false
}
