package core_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/state"
)

// story is a cluster with something in it, made again as often as is needed, and what is to be planned for it.
type story struct {
	machines []*argosyv1.Machine
	lost     []string
	filler   *argosyv1.AppSpec
	spec     *argosyv1.AppSpec
}

func (s *story) town(t fataler) *town {
	w := newTown(t, s.machines...)
	w.apply(s.filler)
	if len(s.lost) > 0 {
		w.lose(s.lost...)
	}
	return w
}

func (s *story) String() string {
	return fmt.Sprintf("machines %v\nlost %v\nfiller %v\nspec %v", s.machines, s.lost, s.filler, s.spec)
}

func drawStory(t *rapid.T) *story {
	s := &story{}
	n := rapid.IntRange(2, 5).Draw(t, "machines")
	for i := range n {
		s.machines = append(s.machines, &argosyv1.Machine{Id: fmt.Sprint("m", i+1), Name: fmt.Sprint("m", i+1), BootId: "b",
			Labels:   map[string]string{"rack": rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "rack")},
			Capacity: &argosyv1.Capacity{CpuMilli: int64(rapid.IntRange(1, 4).Draw(t, "cpu")) * 500, Memory: int64(rapid.IntRange(10, 80).Draw(t, "mem")) << 20}})
	}
	if n > 3 && rapid.IntRange(0, 3).Draw(t, "one is lost") == 0 {
		s.lost = []string{"m1"}
	}
	s.filler = drawSpec(t, "filler")
	s.spec = drawSpec(t, "shop")
	return s
}

func drawSpec(t *rapid.T, name string) *argosyv1.AppSpec {
	spec := &argosyv1.AppSpec{Name: name}
	for i := range rapid.IntRange(1, 3).Draw(t, "stacks") {
		stack := fmt.Sprint("s", i)
		r := &argosyv1.Resources{ReserveCpuMilli: int64(rapid.IntRange(1, 8).Draw(t, "cpu")) * 50, ReserveMemory: int64(rapid.IntRange(7, 40).Draw(t, "memory")) << 20}
		r.LimitCpuMilli, r.LimitMemory = r.ReserveCpuMilli, r.ReserveMemory
		ct := &argosyv1.ContainerSpec{Name: "c" + stack, Image: "c:1", Resources: r}
		st := &argosyv1.StackSpec{Name: stack, Containers: []string{ct.Name}, Placement: &argosyv1.Placement{}}
		entry := &argosyv1.ClusterEntry{Stack: stack, Count: rapid.Uint32Range(1, 4).Draw(t, "count")}
		switch rapid.IntRange(0, 8).Draw(t, "kind") {
		case 0:
			ct.Ports = []*argosyv1.PublishedPort{{Target: 80, Published: 80}}
		case 1:
			st.Volumes = []*argosyv1.VolumeSpec{{Name: "data", Class: argosyv1.VolumeClass_VOLUME_CLASS_LOCAL}}
		case 2:
			st.Placement.Require = []string{"rack == " + rapid.SampledFrom([]string{"a", "b", "d"}).Draw(t, "rack")}
		case 3:
			st.Placement.ApartFrom = []string{"s0"}
		case 4:
			entry.EachMachine, entry.Count = true, 0
		case 5:
			st.Placement.Spread = []string{"rack", "machine"}
		}
		spec.Containers, spec.Stacks, spec.Cluster = append(spec.Containers, ct), append(spec.Stacks, st), append(spec.Cluster, entry)
	}
	return spec
}

// TestLossesComeTrue: when machines are lost indeed, exactly the replicas move that the forecast said.
func TestLossesComeTrue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawStory(t)
		w := s.town(t)
		w.apply(s.spec)
		losses := w.ahead(s.spec, "rack").Forecast.Losses
		if len(losses) == 0 {
			return
		}
		loss := losses[rapid.IntRange(0, len(losses)-1).Draw(t, "loss")]
		var lost []string
		for _, m := range s.machines {
			if !slices.Contains(s.lost, m.Id) && (loss.Label == "machine" && m.Name == loss.Value || loss.Label == "rack" && m.Labels["rack"] == loss.Value) {
				lost = append(lost, m.Id)
			}
		}
		before := w.places("shop")
		w.lose(lost...)
		after := w.places("shop")
		want := map[string]bool{} // whether it moved
		for _, st := range loss.Stacks {
			for _, n := range st.Moved {
				want[fmt.Sprintf("%s.%d", st.Stack, n)] = true
			}
			for _, n := range slices.Concat(st.WaitForData, st.DoNotFit, st.BelongThere, st.Halted) {
				want[fmt.Sprintf("%s.%d", st.Stack, n)] = false
			}
		}
		for name, was := range before {
			moved, told := want[name]
			if told != slices.Contains(lost, was) {
				t.Fatalf("%s on %q: told of: %v; lost are %v", name, was, told, lost)
			}
			if now := after[name]; told && moved != (now != "" && !slices.Contains(lost, now)) {
				t.Fatalf("%s on %s: forecast to move: %v, and it is on %q after the loss of %v", name, was, moved, now, lost)
			}
		}
	})
}

// TestRemediesHelp: what a remedy says, done to a cluster where the plan was applied (or applied instead, if it changes the
// manifest), leaves nothing of the stack waiting; and one step less does not.
func TestRemediesHelp(t *testing.T) {
	tried := map[argosyv1.RemedyKind]int{}
	rapid.Check(t, func(t *rapid.T) {
		s := drawStory(t)
		w := s.town(t)
		shortfalls := w.ahead(s.spec).Forecast.Shortfalls
		alone := len(shortfalls) == 1
		for _, machine := range w.places("filler") {
			alone = alone && machine != "" && !slices.Contains(s.lost, machine)
		}
		for _, short := range shortfalls {
			for _, r := range short.Remedies {
				if !alone && r.Kind != argosyv1.RemedyKind_REMEDY_KIND_MEMORY && r.Kind != argosyv1.RemedyKind_REMEDY_KIND_CPU && r.Kind != argosyv1.RemedyKind_REMEDY_KIND_SCALE {
					continue // what else waits may take the place first
				}
				tried[r.Kind]++
				if n := s.waitingAfter(t, short.Stack, r); n > 0 {
					t.Fatalf("%s: after %q %d of %s wait\n%v", r.Kind, r.Text, n, short.Stack, s)
				}
				for _, less := range oneStepLess(r) {
					if n := s.waitingAfter(t, short.Stack, less); n == 0 {
						t.Fatalf("%s: %q is not the smallest: nothing waits after %v either", r.Kind, r.Text, less)
					}
				}
			}
		}
	})
	for kind := argosyv1.RemedyKind_REMEDY_KIND_MACHINE_BACK; kind <= argosyv1.RemedyKind_REMEDY_KIND_NEW_MACHINE; kind++ {
		t.Logf("%s: %d", kind, tried[kind])
	}
}

func oneStepLess(r *argosyv1.Remedy) []*argosyv1.Remedy {
	less := func(change func(r *argosyv1.Remedy)) *argosyv1.Remedy {
		out := proto.CloneOf(r)
		change(out)
		return out
	}
	var out []*argosyv1.Remedy
	switch r.Kind {
	case argosyv1.RemedyKind_REMEDY_KIND_MEMORY:
		out = append(out, less(func(r *argosyv1.Remedy) { r.After += 1 << 20 }))
	case argosyv1.RemedyKind_REMEDY_KIND_CPU:
		out = append(out, less(func(r *argosyv1.Remedy) { r.After += 10 }))
	case argosyv1.RemedyKind_REMEDY_KIND_SCALE:
		out = append(out, less(func(r *argosyv1.Remedy) { r.After++ }))
	case argosyv1.RemedyKind_REMEDY_KIND_LABEL:
		for k := range r.SetLabels {
			out = append(out, less(func(r *argosyv1.Remedy) { delete(r.SetLabels, k) }))
		}
	case argosyv1.RemedyKind_REMEDY_KIND_FREE_ON_MACHINE, argosyv1.RemedyKind_REMEDY_KIND_NEW_MACHINE:
		if r.CpuMilli > 0 {
			out = append(out, less(func(r *argosyv1.Remedy) { r.CpuMilli-- }))
		}
		if r.Memory > 0 {
			out = append(out, less(func(r *argosyv1.Remedy) { r.Memory -= 4096 }))
		}
		if r.Machines > 1 {
			out = append(out, less(func(r *argosyv1.Remedy) { r.Machines-- }))
		}
	}
	return out
}

// waitingAfter does to a new cluster what a remedy says, and counts what waits of the stack.
func (s *story) waitingAfter(t *rapid.T, stack string, r *argosyv1.Remedy) int {
	w := s.town(t)
	spec := proto.CloneOf(s.spec)
	switch r.Kind {
	case argosyv1.RemedyKind_REMEDY_KIND_MEMORY, argosyv1.RemedyKind_REMEDY_KIND_CPU, argosyv1.RemedyKind_REMEDY_KIND_SCALE:
		for _, ct := range spec.Containers {
			switch {
			case ct.Name != r.Container:
			case r.Kind == argosyv1.RemedyKind_REMEDY_KIND_MEMORY:
				ct.Resources.LimitMemory, ct.Resources.ReserveMemory = r.After, r.After
			default:
				ct.Resources.LimitCpuMilli, ct.Resources.ReserveCpuMilli = r.After, r.After
			}
		}
		if r.Kind == argosyv1.RemedyKind_REMEDY_KIND_SCALE {
			state.Entry(spec, stack).Count = uint32(r.After)
		}
		// What waits elsewhere must not become more.
		w.apply(spec)
		plain := s.town(t)
		plain.apply(s.spec)
		n, before := w.waiting("shop", stack), plain.places("shop")
		for name, machine := range w.places("shop") {
			if was, ok := before[name]; machine == "" && ok && was != "" && !strings.HasPrefix(name, stack+".") {
				n++
			}
		}
		return n
	}
	w.apply(spec)
	if w.waiting("shop", stack) == 0 {
		t.Fatalf("nothing of %s waits once it is applied", stack)
	}
	m := w.machines[r.Machine]
	switch r.Kind {
	case argosyv1.RemedyKind_REMEDY_KIND_MACHINE_BACK:
		w.back(r.Machine)
	case argosyv1.RemedyKind_REMEDY_KIND_LABEL:
		for k, v := range r.SetLabels {
			m.Labels[k] = v
		}
		for _, k := range r.RemoveLabels {
			delete(m.Labels, k)
		}
		w.join(m)
	case argosyv1.RemedyKind_REMEDY_KIND_FREE_PORT:
		// Nobody can be sent away alone; its app goes, and what else goes with it can only help.
		if r.Holder.App == "shop" {
			return 0
		}
		w.apply(&argosyv1.AppSpec{Name: r.Holder.App})
	case argosyv1.RemedyKind_REMEDY_KIND_FREE_ON_MACHINE:
		m.Capacity.CpuMilli += r.CpuMilli
		m.Capacity.Memory += r.Memory
		w.join(m)
	case argosyv1.RemedyKind_REMEDY_KIND_NEW_MACHINE:
		cpu, memory := s.onEach(stack)
		for i := range r.Machines {
			id := fmt.Sprint("new", i)
			w.join(&argosyv1.Machine{Id: id, Name: id, BootId: "b", Labels: r.SetLabels,
				Capacity: &argosyv1.Capacity{CpuMilli: r.CpuMilli + cpu, Memory: r.Memory + memory}})
		}
	}
	w.pass(state.DefaultUnreachable)
	return w.waiting("shop", stack)
}

// onEach is what stacks other than shop's own one take of a machine that joins, because they run on each.
func (s *story) onEach(own string) (cpu, memory int64) {
	for _, spec := range []*argosyv1.AppSpec{s.filler, s.spec} {
		for i, entry := range spec.Cluster { // drawSpec makes one container for each stack
			if entry.EachMachine && !(spec == s.spec && entry.Stack == own) {
				cpu += spec.Containers[i].Resources.ReserveCpuMilli
				memory += spec.Containers[i].Resources.ReserveMemory
			}
		}
	}
	return cpu, memory
}

// TestHeadroomIsWhatFits: so many more fit, and one more does not.
func TestHeadroomIsWhatFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawStory(t)
		for _, h := range s.town(t).ahead(s.spec).Forecast.Headroom {
			for _, beyond := range []uint32{0, 1} {
				w := s.town(t)
				w.apply(s.spec)
				before := w.waiting("shop", h.Stack)
				spec := proto.CloneOf(s.spec)
				state.Entry(spec, h.Stack).Count += h.More + beyond
				w.apply(spec)
				if more := w.waiting("shop", h.Stack) - before; more != int(beyond) {
					t.Fatalf("%s: there is room for %d more, and with %d more %d wait", h.Stack, h.More, h.More+beyond, more)
				}
			}
		}
	})
}
