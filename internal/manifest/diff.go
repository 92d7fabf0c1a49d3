package manifest

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// Diff says in lines for people what new changes of old, such as `apache: image httpd:2.4 → httpd:2.5`. Old may be nil:
// everything is then new. Equal apps have no lines.
func Diff(before, after *argosyv1.AppSpec) []string {
	d := differ{}
	things(&d, "container", before.GetContainers(), after.GetContainers())
	d.units(before.GetUnits(), after.GetUnits())
	things(&d, "stack", before.GetStacks(), after.GetStacks())
	d.cluster(before.GetCluster(), after.GetCluster())
	d.configs(before.GetConfigs(), after.GetConfigs())
	return d.lines
}

type differ struct{ lines []string }

func (d *differ) say(format string, args ...any) {
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

type hasName interface {
	proto.Message
	GetName() string
}

func things[T hasName](d *differ, what string, before, after []T) {
	old := map[string]T{}
	for _, t := range before {
		old[t.GetName()] = t
	}
	kept := map[string]bool{}
	for _, t := range after {
		name := t.GetName()
		was, there := old[name]
		if !there {
			if c, ok := any(t).(*argosyv1.ContainerSpec); ok {
				d.say("%s: new container of %s", name, printable(c.Image))
			} else {
				d.say("%s: new %s", name, what)
			}
			continue
		}
		kept[name] = true
		d.message(name+": ", was.ProtoReflect(), t.ProtoReflect())
	}
	for _, t := range before {
		if !kept[t.GetName()] {
			d.say("%s: %s removed", t.GetName(), what)
		}
	}
}

// units says that a unit's file changed; what changed in it is a matter of lines, see [Changes].
func (d *differ) units(before, after []*argosyv1.Unit) {
	old := map[string]*argosyv1.Unit{}
	for _, u := range before {
		old[u.Name] = u
	}
	started := func(u *argosyv1.Unit) string {
		if u.NotStarted {
			return "not started"
		}
		return "started"
	}
	for _, u := range after {
		was, there := old[u.Name]
		delete(old, u.Name)
		if !there {
			d.say("%s: new unit", u.Name)
			continue
		}
		if was.Content != u.Content {
			gone, fresh := minus(linesOf([]byte(was.Content)), linesOf([]byte(u.Content))), minus(linesOf([]byte(u.Content)), linesOf([]byte(was.Content)))
			if len(gone) == 1 && len(fresh) == 1 {
				d.say("%s: %s → %s", u.Name, lineText(gone[0]), lineText(fresh[0]))
			} else {
				d.say("%s: unit file changed (%d lines gone, %d new)", u.Name, len(gone), len(fresh))
			}
		}
		if was.NotStarted != u.NotStarted {
			d.say("%s: %s → %s", u.Name, started(was), started(u))
		}
	}
	for _, u := range before {
		if old[u.Name] != nil {
			d.say("%s: unit removed", u.Name)
		}
	}
}

func (d *differ) cluster(before, after []*argosyv1.ClusterEntry) {
	many := func(e *argosyv1.ClusterEntry) string {
		if e.GetEachMachine() {
			return "one on each machine"
		}
		return fmt.Sprint(e.GetCount())
	}
	old := map[string]*argosyv1.ClusterEntry{}
	for _, e := range before {
		old[e.Stack] = e
	}
	for _, e := range after {
		was, there := old[e.Stack]
		switch {
		case !there:
			d.say("%s: replicas %s", e.Stack, many(e))
		case many(was) != many(e):
			d.say("%s: replicas %s → %s", e.Stack, many(was), many(e))
		}
		delete(old, e.Stack)
	}
	for _, e := range before {
		if old[e.Stack] != nil {
			d.say("%s: replicas %s → none", e.Stack, many(e))
		}
	}
}

func (d *differ) configs(before, after map[string][]byte) {
	for _, name := range slices.Sorted(maps.Keys(after)) {
		was, there := before[name]
		switch {
		case !there:
			d.say("%s: new config", name)
		case !bytes.Equal(was, after[name]):
			d.say("%s: config changed (%d → %d bytes)", name, len(was), len(after[name]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if _, there := after[name]; !there {
			d.say("%s: config removed", name)
		}
	}
}

// derived are fields that the parser fills in from others, or the server by itself.
var derived = map[protoreflect.Name]bool{"default_cpu": true, "default_memory": true, "image_origin": true}

// followsLimit is true for a reservation that nobody wrote: it is the limit, or the default.
func followsLimit(field protoreflect.Name, m protoreflect.Message) bool {
	r, ok := m.Interface().(*argosyv1.Resources)
	switch {
	case !ok:
		return false
	case field == "reserve_cpu_milli":
		return r.ReserveCpuMilli == 0 || r.DefaultCpu || r.ReserveCpuMilli == r.LimitCpuMilli
	case field == "reserve_memory":
		return r.ReserveMemory == 0 || r.DefaultMemory || r.ReserveMemory == r.LimitMemory
	}
	return false
}

// message says which fields differ; prefix leads to them.
func (d *differ) message(prefix string, before, after protoreflect.Message) {
	fields := after.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if derived[f.Name()] || (followsLimit(f.Name(), before) && followsLimit(f.Name(), after)) {
			continue
		}
		name := fieldWord(f.Name())
		a, b := before.Get(f), after.Get(f)
		switch {
		case f.IsMap():
			d.mapping(prefix+name+" ", f, a.Map(), b.Map())
		case f.IsList():
			d.list(prefix+name+" ", f, a.List(), b.List())
		case f.Message() != nil && !oneValue(f):
			if before.Has(f) || after.Has(f) {
				d.message(strings.TrimRight(prefix+name, " ")+" ", a.Message(), b.Message())
			}
		default:
			was, is := show(f, a, before.Has(f)), show(f, b, after.Has(f))
			if was != is {
				d.say("%s%s %s → %s", prefix, name, was, is)
			}
		}
	}
}

// fieldWord is the manifest's word for a field.
func fieldWord(n protoreflect.Name) string {
	switch n {
	case "mounts":
		return "volumes"
	case "resources":
		return ""
	case "limit_cpu_milli":
		return "cpus"
	case "limit_memory":
		return "mem_limit"
	case "limit_pids":
		return "pids_limit"
	case "reserve_cpu_milli":
		return "reserved cpus"
	case "reserve_memory":
		return "reserved memory"
	case "memory_swap":
		return "memswap_limit"
	case "image_digest":
		return "image digest"
	}
	return string(n)
}

// oneValue is true for messages that are shown as one value.
func oneValue(f protoreflect.FieldDescriptor) bool {
	switch f.Message().FullName() {
	case (&durationpb.Duration{}).ProtoReflect().Descriptor().FullName(),
		(&argosyv1.Command{}).ProtoReflect().Descriptor().FullName(),
		(&argosyv1.RestartPolicy{}).ProtoReflect().Descriptor().FullName():
		return true
	}
	return false
}

func (d *differ) mapping(prefix string, f protoreflect.FieldDescriptor, before, after protoreflect.Map) {
	keys := map[string]bool{}
	add := func(k protoreflect.MapKey, _ protoreflect.Value) bool { keys[k.String()] = true; return true }
	before.Range(add)
	after.Range(add)
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		key := protoreflect.ValueOfString(k).MapKey()
		a, b := before.Get(key), after.Get(key)
		switch {
		case !a.IsValid():
			d.say("%s%s added: %s", prefix, k, show(f.MapValue(), b, true))
		case !b.IsValid():
			d.say("%s%s removed", prefix, k)
		case !a.Equal(b):
			d.say("%s%s %s → %s", prefix, k, show(f.MapValue(), a, true), show(f.MapValue(), b, true))
		}
	}
}

// list compares lists by what their elements look like: what order they are in is said only when nothing else differs.
func (d *differ) list(prefix string, f protoreflect.FieldDescriptor, before, after protoreflect.List) {
	texts := func(l protoreflect.List) []string {
		out := make([]string, l.Len())
		for i := range out {
			out[i] = show(f, l.Get(i), true)
		}
		return out
	}
	a, b := texts(before), texts(after)
	if slices.Equal(a, b) {
		return
	}
	if f.Name() == "test" {
		words := func(list []string) string { return "[" + strings.Join(list, ", ") + "]" }
		d.say("%s%s → %s", prefix, words(a), words(b))
		return
	}
	gone, fresh := minus(a, b), minus(b, a)
	if len(gone) == 0 && len(fresh) == 0 {
		d.say("%sin another order: %s", prefix, strings.Join(b, ", "))
		return
	}
	if len(gone) == 1 && len(fresh) == 1 {
		d.say("%s%s → %s", prefix, gone[0], fresh[0])
		return
	}
	for _, s := range gone {
		d.say("%s%s removed", prefix, s)
	}
	for _, s := range fresh {
		d.say("%s%s added", prefix, s)
	}
}

// minus is what of a is not in b, counting repeats.
func minus(a, b []string) []string {
	have := map[string]int{}
	for _, s := range b {
		have[s]++
	}
	var out []string
	for _, s := range a {
		if have[s]--; have[s] < 0 {
			out = append(out, s)
		}
	}
	return out
}
