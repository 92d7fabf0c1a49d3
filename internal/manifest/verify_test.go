package manifest

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// TestVerifyTakesWhatParseMakes: the two agree about what an app is.
func TestVerifyTakesWhatParseMakes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := drawApp(t).text(t)
		spec, _, faults := Parse([]File{{Name: "m.yaml", Data: []byte(text)}}, Options{})
		if len(faults) > 0 {
			t.Fatalf("%v\n%s", faults, text)
		}
		if err := Verify(spec, Grants{}); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	})
}

func lampSpec(t testing.TB) *argosyv1.AppSpec {
	t.Helper()
	data, err := os.ReadFile("testdata/lamp.yaml")
	if err != nil {
		t.Fatal(err)
	}
	spec, _, faults := Parse([]File{{Name: "lamp.yaml", Data: data}}, Options{})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return spec
}

// TestVerifyRefuses: each change makes the example one that no manifest could be, and the sentence says which.
func TestVerifyRefuses(t *testing.T) {
	type spec = argosyv1.AppSpec
	first := func(s *spec) *argosyv1.ContainerSpec { return s.Containers[0] }
	mount := func(m *argosyv1.Mount) func(*spec) {
		return func(s *spec) { first(s).Mounts = append(first(s).Mounts, m) }
	}
	unit := func(name, content string) func(*spec) {
		return func(s *spec) {
			s.Units = append(s.Units, &argosyv1.Unit{Name: name, Content: content, Resources: UnitResources(name, content)})
		}
	}
	for _, c := range []struct {
		name, want string
		change     func(*spec)
	}{
		{"no name", "a name is empty", func(s *spec) { s.Name = "" }},
		{"a path as a name", "app's name", func(s *spec) { s.Name = "../x" }},
		{"a container's name", "container", func(s *spec) { first(s).Name = strings.Repeat("a", 64) }},
		{"a config's name", "config", func(s *spec) { s.Configs = map[string][]byte{"../../etc/passwd": nil} }},
		{"a unit's name", "is not the name of a unit", unit("web", "[Service]\nExecStart=/bin/true")},
		{"a unit that climbs", "is not the name of a unit", unit("../x.service", "[Service]\nExecStart=/bin/true")},
		{"a unit without text", "says nothing", unit("web.service", "")},
		{"a unit with a zero byte", "byte 0", unit("web.service", "[Service]\n\x00")},
		{"a unit's section", "no section", unit("web.service", "[Mount]\nWhat=/dev/sda")},
		{"a unit of nobody", "unit \"other.service\" is not declared", func(s *spec) { s.Stacks[0].Units = []string{"other.service"} }},
		{"a unit that reserves nothing", "it reserves no cpu", func(s *spec) {
			unit("web.service", "[Service]\nExecStart=/bin/true")(s)
			s.Units[0].Resources = nil
		}},
		{"a number of a unit of each machine", "cluster asks for 5 of stack lamp, and its unit \"web.service\" says Global", func(s *spec) {
			unit("web.service", "[Service]\nExecStart=/bin/true\n[X-Fleet]\nGlobal=true\n")(s)
			s.Stacks[0].Units = []string{"web.service"}
		}},
		{"units that keep each other off", "unit \"b@.service\" conflicts with \"a*\", as \"a.service\" is", func(s *spec) {
			unit("a.service", "[Service]\nExecStart=/bin/true\n")(s)
			unit("b@.service", "[Service]\nExecStart=/bin/true\n[X-Fleet]\nConflicts=a*\n")(s)
			s.Stacks[0].Units = []string{"a.service", "b@.service"}
		}},
		{"a template beside its instance", "unit \"web@12.service\" is what replica 12 has of \"web@.service\"", func(s *spec) {
			unit("web@.service", "[Service]\nExecStart=/bin/true\n")(s)
			unit("web@12.service", "[Service]\nExecStart=/bin/true\n")(s)
			s.Stacks[0].Units = []string{"web@12.service", "web@.service"}
		}},
		{"more rules than can be compared", "too many rules", func(s *spec) {
			var names, globs []string
			for i := range 60 {
				globs = append(globs, fmt.Sprint(strings.Repeat("*", 100), i))
			}
			for i := range MaxMembers {
				names = append(names, fmt.Sprintf("u%d.service", i))
				text := "[Service]\nExecStart=/bin/true\n"
				if i < 20 {
					text += "[X-Fleet]\nConflicts=" + strings.Join(globs[:30], " ") + "\nConflicts=" + strings.Join(globs[30:], " ") + "\n"
				}
				unit(names[i], text)(s)
			}
			s.Cluster = nil
			s.Stacks = nil
			for i := range 5 {
				s.Stacks = append(s.Stacks, &argosyv1.StackSpec{Name: fmt.Sprint("s", i), Units: names[:MaxMembers-1]})
			}
		}},
		{"an app called like a unit", "is the unit of that name and nothing else", func(s *spec) { s.Name = "web.service" }},
		{"a name twice", "declared twice", func(s *spec) { s.Containers = append(s.Containers, proto.CloneOf(first(s))) }},
		{"an image", "not an image reference", func(s *spec) { first(s).Image = "a b" }},
		{"a path of the machine", "a path of the machine", mount(&argosyv1.Mount{Type: argosyv1.MountType_MOUNT_TYPE_BIND, Source: "/etc", Target: "/x"})},
		{"the engine's socket", "engine's socket", mount(&argosyv1.Mount{Type: argosyv1.MountType_MOUNT_TYPE_BIND, Source: "/var/run/docker.sock", Target: "/x"})},
		{"a mount of no kind", "neither a volume nor a tmpfs", mount(&argosyv1.Mount{Source: "/etc", Target: "/x"})},
		{"a mount of an unknown kind", "not a known type", mount(&argosyv1.Mount{Type: 99, Source: "/etc", Target: "/x"})},
		{"a volume's name", "the volume at /x", mount(&argosyv1.Mount{Type: argosyv1.MountType_MOUNT_TYPE_VOLUME, Source: "../x", Target: "/x"})},
		{"a volume of nobody", "not declared", mount(&argosyv1.Mount{Type: argosyv1.MountType_MOUNT_TYPE_VOLUME, Source: "other", Target: "/x"})},
		{"a target that climbs", "is written /etc", mount(&argosyv1.Mount{Type: argosyv1.MountType_MOUNT_TYPE_TMPFS, Target: "/x/../etc"})},
		{"a capability", "reaches beyond the container", func(s *spec) { first(s).CapAdd = []string{"sys_admin"} }},
		{"a capability of the future", "no policy grants it", func(s *spec) { first(s).CapAdd = []string{"FROBNICATE"} }},
		{"a security option", "weakens the container's walls", func(s *spec) { first(s).SecurityOpt = []string{"seccomp=unconfined"} }},
		{"a sysctl", "belongs to the whole machine", func(s *spec) { first(s).Sysctls = map[string]string{"kernel.panic": "1"} }},
		{"the OOM killer", "at the cost of the machine", func(s *spec) { first(s).OomScoreAdj = -1 }},
		{"a label of Argosy's", "Argosy's own", func(s *spec) { first(s).Labels = map[string]string{"argosy.app": "x"} }},
		{"a variable", "not the name of a variable", func(s *spec) { first(s).Environment = map[string]string{"A=B": ""} }},
		{"a signal", "not a signal", func(s *spec) { first(s).StopSignal = "SIGFROB" }},
		{"a ulimit", "not a ulimit", func(s *spec) { first(s).Ulimits = []*argosyv1.Ulimit{{Name: "x"}} }},
		{"nothing reserved", "the scheduler counts both", func(s *spec) { first(s).Resources = nil }},
		{"less than nothing", "cannot be had", func(s *spec) { first(s).Resources.ReserveMemory = -1 }},
		{"more than there is", "cannot be had", func(s *spec) { first(s).Resources.ReserveCpuMilli = 1 << 62 }},
		{"a grace of ages", "longer than a year", func(s *spec) { first(s).StopGracePeriod = durationpb.New(1 << 62) }},
		{"a grace that is none", "longer than a year", func(s *spec) { first(s).StopGracePeriod = &durationpb.Duration{Seconds: 1, Nanos: -1} }},
		{"a check below zero", "below 0", func(s *spec) { first(s).Healthcheck.Interval = durationpb.New(-time.Second) }},
		{"a healthcheck", "begins with CMD", func(s *spec) { first(s).Healthcheck.Test = []string{"curl"} }},
		{"a restart of an unknown kind", "not a known mode", func(s *spec) { first(s).Restart = &argosyv1.RestartPolicy{Mode: 77} }},
		{"a port", "out of range", func(s *spec) { first(s).Ports = []*argosyv1.PublishedPort{{Target: 70000}} }},
		{"a port's address", "not an IP address", func(s *spec) { first(s).Ports = []*argosyv1.PublishedPort{{Target: 1, HostIp: "x"}} }},
		{"a port twice", "which container", func(s *spec) {
			first(s).Ports = []*argosyv1.PublishedPort{{Target: 1, Published: 5}, {Target: 2, Published: 5}}
		}},
		{"a dependency on nobody", "not in the stack", func(s *spec) {
			first(s).DependsOn = []*argosyv1.Dependency{{Container: "nobody", Required: true, Condition: argosyv1.Condition_CONDITION_STARTED}}
		}},
		{"a circle", "wait for each other", func(s *spec) {
			first(s).DependsOn = []*argosyv1.Dependency{{Container: "apache", Required: true, Condition: argosyv1.Condition_CONDITION_STARTED}}
		}},
		{"an empty stack", "it has 0 containers", func(s *spec) { s.Stacks[0].Containers = nil }},
		{"a member that is nobody", "not declared", func(s *spec) { s.Stacks[0].Containers = []string{"nobody"} }},
		{"an expression", "placement", func(s *spec) { s.Stacks[0].Placement = &argosyv1.Placement{Require: []string{"(("}} }},
		{"a long expression", "placement", func(s *spec) {
			s.Stacks[0].Placement = &argosyv1.Placement{Require: []string{strings.Repeat("b", 5000)}}
		}},
		{"apart from nobody", "not declared", func(s *spec) { s.Stacks[0].Placement = &argosyv1.Placement{ApartFrom: []string{"nobody"}} }},
		{"together with itself", "never runs", func(s *spec) { s.Stacks[0].Placement = &argosyv1.Placement{TogetherWith: []string{s.Stacks[0].Name}} }},
		{"a stack that is not there", "not declared", func(s *spec) { s.Cluster[0].Stack = "nobody" }},
		{"too many", "more than the", func(s *spec) { s.Cluster[0].Count = MaxReplicas + 1 }},
		{"a large one", "split it", func(s *spec) { s.Configs = map[string][]byte{"c": make([]byte, MaxSpecSize)} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := lampSpec(t)
			c.change(s)
			err := Verify(s, Grants{})
			if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 1000 {
				t.Errorf("got %v, want something about %q", err, c.want)
			}
		})
	}
	if err := Verify(nil, Grants{}); err == nil {
		t.Error("no spec at all is taken")
	}
	if err := Verify(lampSpec(t), Grants{}); err != nil {
		t.Errorf("the example is refused: %v", err)
	}
}

// TestVerifyTakesMissingOptional: what need not be there may be missing from the stack, as in a manifest.
func TestVerifyTakesMissingOptional(t *testing.T) {
	s := lampSpec(t)
	s.Containers[0].DependsOn = []*argosyv1.Dependency{{Container: "nobody", Condition: argosyv1.Condition_CONDITION_STARTED}}
	if err := Verify(s, Grants{}); err != nil {
		t.Error(err)
	}
}

// FuzzVerify: bytes from anywhere are an app or get a sentence, within bounds.
func FuzzVerify(f *testing.F) {
	whole, err := proto.Marshal(lampSpec(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte{})
	f.Add(whole[:len(whole)/2])
	f.Fuzz(func(t *testing.T, data []byte) {
		spec := &argosyv1.AppSpec{}
		if proto.Unmarshal(data, spec) != nil {
			return
		}
		began := processTime()
		err := Verify(spec, Grants{})
		if took := processTime() - began; took > 2*time.Second {
			t.Errorf("took %s", took)
		}
		if err != nil && (err.Error() == "" || len(err.Error()) > 1000) {
			t.Errorf("a sentence of %d bytes: %q", len(err.Error()), err)
		}
	})
}

// TestVerifyTakesAUnitAsAnApp: one that is submitted by itself is called as it is.
func TestVerifyTakesAUnitAsAnApp(t *testing.T) {
	for _, name := range []string{"web.service", "web@1.service", "web@.service", `var-lib-a\x2db.mount`} {
		text := map[bool]string{true: "[Mount]\nWhat=tmpfs\n", false: "[Service]\nExecStart=/bin/true\n"}[strings.HasSuffix(name, ".mount")]
		spec := &argosyv1.AppSpec{Name: name, Units: []*argosyv1.Unit{{Name: name, Content: text, NotStarted: true, Resources: UnitResources(name, text)}},
			Stacks: []*argosyv1.StackSpec{{Name: UnitStack, Units: []string{name}}}, Cluster: []*argosyv1.ClusterEntry{{Stack: UnitStack, Count: 1}}}
		if err := Verify(spec, Grants{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUnitResources(t *testing.T) {
	for _, c := range []struct {
		name, text string
		cpu        int64
		memory     int64
	}{
		{"a.service", "[Service]\nExecStart=/bin/true\n", DefaultCPUMilli, DefaultMemory},
		{"a.service", "[Service]\nCPUQuota=150%\nMemoryMax=1.5G\n", 1500, 3 << 29},
		{"a.service", "[Service]\nCPUQuota = 0.5 %\nMemoryLimit=64K\n", DefaultCPUMilli, 64 << 10},
		{"a.service", "[Unit]\nCPUQuota=50%\n[Service]\nMemoryMax=infinity\n", DefaultCPUMilli, DefaultMemory},
		{"a.service", "[Service]\nMemoryMax=20%\nCPUQuota=-5%\n", DefaultCPUMilli, DefaultMemory},
		{"a.service", "[Service]\nMemoryMax=1E\nMemoryMax=99999T\nMemoryMax=NaN\nCPUQuota=NaN%\nCPUQuota=1e300%\n", DefaultCPUMilli, DefaultMemory},
		{"a.service", "[Service]\nMemoryMax=1G\nMemoryMax=\nMemoryMax=2M\n", DefaultCPUMilli, 2 << 20},
		{"a.mount", "[Mount]\nMemoryMax=8M\n[Service]\nCPUQuota=90%\n", DefaultCPUMilli, 8 << 20},
		{"a.target", "[Unit]\nDescription=x\n", DefaultCPUMilli, DefaultMemory},
	} {
		r := UnitResources(c.name, c.text)
		if r.ReserveCpuMilli != c.cpu || r.ReserveMemory != c.memory {
			t.Errorf("%s %q: %d, %d", c.name, c.text, r.ReserveCpuMilli, r.ReserveMemory)
		}
		if err := verifyResources(&argosyv1.ContainerSpec{Resources: r}); err != nil {
			t.Errorf("%s %q: %v", c.name, c.text, err)
		}
	}
}
