package manifest

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/unitfile"
)

// Verify refuses an app that no manifest could have made: what [Parse] guarantees of its result, asked of a result that
// somebody else brings. It is for servers, which cannot trust whoever speaks the protocol to have asked Parse. The error
// names the first thing that is wrong; whoever wants all of them, with their places, has a manifest and Parse.
//
// Whatever Parse makes under the same grants, Verify lets pass, unless it is larger than a revision may be.
func Verify(spec *argosyv1.AppSpec, g Grants) error {
	if spec == nil {
		return errors.New("the request has no spec")
	}
	if n := proto.Size(spec); n > MaxSpecSize {
		return fmt.Errorf("the app is %d KiB large, and %d KiB are the most: split it", n>>10, MaxSpecSize>>10)
	}
	if err := CheckAppName(spec.Name); err != nil {
		return fmt.Errorf("the app's name: %w", err)
	}
	if err := sound(spec.ProtoReflect()); err != nil {
		return err
	}
	for name := range spec.Configs {
		if err := checkName(name); err != nil {
			return fmt.Errorf("config: %w", err)
		}
	}
	v := verifier{spec: spec, grants: g, containers: map[string]*argosyv1.ContainerSpec{}, units: map[string]*unitfile.Unit{}, stacks: map[string]*argosyv1.StackSpec{}}
	return v.app()
}

// verifier is one call of Verify.
type verifier struct {
	spec       *argosyv1.AppSpec
	grants     Grants
	containers map[string]*argosyv1.ContainerSpec
	units      map[string]*unitfile.Unit
	stacks     map[string]*argosyv1.StackSpec
	ports      int
	compared   int // bytes of rules of units with each other
}

func (v *verifier) app() error {
	err := eachNamed(v.spec.Containers, "container", MaxContainers, func(c *argosyv1.ContainerSpec) error {
		v.containers[c.Name] = c
		return v.container(c)
	})
	if err != nil {
		return err
	}
	if err := v.unitsOf(); err != nil {
		return err
	}
	for _, s := range v.spec.Stacks {
		v.stacks[s.Name] = s
	}
	if err := eachNamed(v.spec.Stacks, "stack", MaxContainers, v.stack); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, e := range v.spec.Cluster {
		switch {
		case v.stacks[e.Stack] == nil:
			return fmt.Errorf("cluster asks for stack %s, which is not declared", quoted(e.Stack))
		case seen[e.Stack]:
			return fmt.Errorf("cluster asks for stack %s twice", e.Stack)
		case e.Count > MaxReplicas:
			return fmt.Errorf("%d replicas of %s are more than the %d allowed", e.Count, e.Stack, MaxReplicas)
		case e.EachMachine && e.Count != 0:
			return fmt.Errorf("stack %s has a count and runs on each machine: it can be one of them", e.Stack)
		}
		if u := v.global(e); u != nil {
			return errors.New(globalCounted(e, u.Name.Full))
		}
		seen[e.Stack] = true
	}
	return verifyShared(v.spec)
}

// eachNamed checks the names of a list, that they are unique, and its elements.
func eachNamed[T hasName](list []T, what string, most int, check func(T) error) error {
	if len(list) > most {
		return fmt.Errorf("there are %d of kind %s; %d are allowed", len(list), what, most)
	}
	seen := make(map[string]bool, len(list))
	for _, one := range list {
		n := one.GetName()
		if err := checkName(n); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if seen[n] {
			return fmt.Errorf("%s %s is declared twice", what, n)
		}
		seen[n] = true
		if err := check(one); err != nil {
			return fmt.Errorf("%s %s: %w", what, n, err)
		}
	}
	return nil
}

// sound refuses what this version of the protocol has no meaning for, anywhere in a message: words it does not know, and
// durations that are none or below 0 or longer than a year.
func sound(m protoreflect.Message) (err error) {
	if d, ok := m.Interface().(*durationpb.Duration); ok {
		if d.CheckValid() != nil || d.AsDuration() < 0 || d.AsDuration() > maxDuration {
			return errors.New("a duration is below 0 or longer than a year")
		}
		return nil
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
		case f.Kind() == protoreflect.MessageKind && f.IsList():
			for i := 0; err == nil && i < v.List().Len(); i++ {
				err = sound(v.List().Get(i).Message())
			}
		case f.Kind() == protoreflect.MessageKind:
			err = sound(v.Message())
		case f.Kind() == protoreflect.EnumKind && !f.IsList() && f.Enum().Values().ByNumber(v.Enum()) == nil:
			err = fmt.Errorf("%d is not a known %s", v.Enum(), f.Name())
		}
		return err == nil
	})
	return err
}

// container checks one container by itself.
func (v *verifier) container(c *argosyv1.ContainerSpec) error {
	if _, err := parseImage(c.Image); err != nil {
		return err
	}
	if err := v.grants.Check(c); err != nil {
		return err
	}
	for _, check := range []func(*argosyv1.ContainerSpec) error{verifyResources, verifyProcess, v.files, v.network, verifyDependencies} {
		if err := check(c); err != nil {
			return err
		}
	}
	return nil
}

func verifyResources(c *argosyv1.ContainerSpec) error {
	r := c.GetResources()
	for _, n := range []int64{r.GetReserveCpuMilli(), r.GetLimitCpuMilli()} {
		if n < 0 || n > maxCPUMilli {
			return fmt.Errorf("%d thousandths of a cpu cannot be had", n)
		}
	}
	for _, n := range []int64{r.GetReserveMemory(), r.GetLimitMemory(), c.GetShmSize(), max(r.GetMemorySwap(), 0), c.GetLogging().GetMaxSize()} {
		if n < 0 || n > maxMemory {
			return fmt.Errorf("%d bytes cannot be had", n)
		}
	}
	switch {
	case r.GetReserveCpuMilli() == 0 || r.GetReserveMemory() == 0:
		return errors.New("it reserves no cpu or no memory: the scheduler counts both")
	case r.GetLimitMemory() != 0 && r.GetLimitMemory() < minMemory:
		return fmt.Errorf("a limit of %d bytes of memory is less than the %d an engine allows", r.GetLimitMemory(), minMemory)
	case r.GetLimitMemory() != 0 && r.GetReserveMemory() > r.GetLimitMemory(), r.GetLimitCpuMilli() != 0 && r.GetReserveCpuMilli() > r.GetLimitCpuMilli():
		return errors.New("more is reserved than the limit allows")
	case r.GetMemorySwap() < -1, r.GetMemorySwap() != 0 && r.GetLimitMemory() == 0, r.GetMemorySwap() > 0 && r.GetMemorySwap() < r.GetLimitMemory():
		return errors.New("memory and swap together need a limit for memory that is no larger")
	case r.GetLimitPids() < 0 || r.GetLimitPids() > 1<<22:
		return fmt.Errorf("%d processes cannot be had", r.GetLimitPids())
	case r.GetCpuShares() != 0 && (r.GetCpuShares() < 2 || r.GetCpuShares() > 262144):
		return fmt.Errorf("a weight of %d is not between 2 and 262144", r.GetCpuShares())
	case c.GetOomScoreAdj() > 1000:
		return fmt.Errorf("oom_score_adj %d is above 1000", c.GetOomScoreAdj())
	}
	for _, u := range c.GetUlimits() {
		if !contains(ulimitNames, u.GetName()) {
			return fmt.Errorf("%s is not a ulimit", quoted(u.GetName()))
		}
		if u.Soft < -1 || u.Hard < -1 || u.Hard >= 0 && (u.Soft > u.Hard || u.Soft < 0) {
			return fmt.Errorf("the soft limit of %s is above the hard one, or below none", u.Name)
		}
	}
	return nil
}

// verifyProcess checks what is handed to the container's process.
func verifyProcess(c *argosyv1.ContainerSpec) error {
	for name := range c.GetEnvironment() {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return fmt.Errorf("%s is not the name of a variable", quoted(name))
		}
	}
	for name := range c.GetLabels() {
		if strings.HasPrefix(name, "argosy.") || strings.HasPrefix(name, "io.argosy.") {
			return errors.New("labels that begin with argosy are Argosy's own")
		}
	}
	if s := c.GetStopSignal(); s != "" {
		if _, err := parseSignal(s); err != nil {
			return err
		}
	}
	if s := c.GetPlatform(); s != "" {
		if _, err := parsePlatform(s); err != nil {
			return err
		}
	}
	if w := c.GetWorkingDir(); w != "" && !path.IsAbs(w) {
		return fmt.Errorf("%s is not an absolute path to start in", quoted(w))
	}
	for _, cmd := range []*argosyv1.Command{c.GetCommand(), c.GetEntrypoint()} {
		if len(cmd.GetArgs()) > maxWords {
			return fmt.Errorf("a command has at most %d words", maxWords)
		}
	}
	p := c.GetRestart()
	if p.GetMaxAttempts() > 0 && p.GetMode() != argosyv1.RestartMode_RESTART_MODE_ON_FAILURE {
		return errors.New("a number of attempts is for restarts on failure only")
	}
	for _, word := range append(slices.Clone(c.GetCapAdd()), c.GetCapDrop()...) {
		if word = strings.TrimPrefix(strings.ToUpper(word), "CAP_"); !contains(ordinary, word) && !contains(extraordinary, word) {
			return fmt.Errorf("%s is not a capability of Linux", quoted(word))
		}
	}
	return verifyHealth(c.GetHealthcheck())
}

func verifyHealth(h *argosyv1.Healthcheck) error {
	test := h.GetTest()
	switch {
	case len(test) == 0:
	case test[0] != "NONE" && test[0] != "CMD" && test[0] != "CMD-SHELL":
		return fmt.Errorf("a healthcheck begins with CMD, CMD-SHELL or NONE, not %s", quoted(test[0]))
	case test[0] == "NONE" && len(test) > 1, test[0] == "CMD" && len(test) == 1, test[0] == "CMD-SHELL" && len(test) != 2:
		return fmt.Errorf("a healthcheck of kind %s has not %d words", test[0], len(test))
	}
	if h.GetRetries() > 10_000 {
		return fmt.Errorf("%d tries are too many", h.GetRetries())
	}
	return nil
}

// files checks what is mounted where.
func (v *verifier) files(c *argosyv1.ContainerSpec) error {
	targets := map[string]bool{}
	mount := func(target string) error {
		clean, err := parsePath(target)
		switch {
		case err != nil:
			return err
		case clean != target:
			return fmt.Errorf("%s is written %s", quoted(target), clean)
		case targets[target]:
			return fmt.Errorf("two things are mounted at %s", quoted(target))
		}
		targets[target] = true
		return nil
	}
	for _, m := range c.Mounts {
		if err := mount(m.Target); err != nil {
			return err
		}
		switch m.Type {
		case argosyv1.MountType_MOUNT_TYPE_VOLUME:
			if err := checkName(m.Source); err != nil {
				return fmt.Errorf("the volume at %s: %w", m.Target, err)
			}
		case argosyv1.MountType_MOUNT_TYPE_TMPFS:
			if m.Source != "" || m.Size < 0 || m.Size > maxMemory || m.Mode > 0o7777 {
				return fmt.Errorf("the tmpfs at %s has a source, or no possible size or mode", m.Target)
			}
		case argosyv1.MountType_MOUNT_TYPE_BIND: // the grants have decided
		default:
			return fmt.Errorf("the mount at %s is neither a volume nor a tmpfs", m.Target)
		}
	}
	for _, ref := range append(slices.Clone(c.Secrets), c.Configs...) {
		if err := checkName(ref.Source); err != nil {
			return fmt.Errorf("secret or config: %w", err)
		}
		if err := mount(ref.Target); err != nil {
			return err
		}
		for _, id := range []string{ref.Uid, ref.Gid} {
			if _, err := parseWhole(id, 0, 1<<32-2); id != "" && err != nil {
				return fmt.Errorf("the owner of %s: %w", ref.Source, err)
			}
		}
		if ref.Mode > 0o7777 {
			return fmt.Errorf("%o is no mode of a file", ref.Mode)
		}
	}
	for _, ref := range c.Configs {
		if _, ok := v.spec.Configs[ref.Source]; !ok {
			return fmt.Errorf("config %s is not declared", ref.Source)
		}
	}
	return nil
}

// network checks how a container is reached and whom it knows.
func (v *verifier) network(c *argosyv1.ContainerSpec) error {
	if v.ports += len(c.Ports) + len(c.Expose); v.ports > maxPorts {
		return fmt.Errorf("the app publishes and exposes more than %d ports", maxPorts)
	}
	for _, p := range c.Ports {
		if p.Target == 0 || p.Target > 65535 || p.Published > 65535 {
			return fmt.Errorf("port %d to %d is out of range", p.Published, p.Target)
		}
		if p.HostIp != "" {
			if ip, err := parseIP(p.HostIp); err != nil || ip != p.HostIp {
				return fmt.Errorf("%s is not an IP address", quoted(p.HostIp))
			}
		}
		if p.Name != "" {
			if err := checkName(p.Name); err != nil {
				return fmt.Errorf("port %d: %w", p.Target, err)
			}
		}
	}
	for _, p := range c.Expose {
		if p.Port == 0 || p.Port > 65535 {
			return fmt.Errorf("port %d is out of range", p.Port)
		}
	}
	for _, name := range []string{c.Hostname, c.Domainname} {
		if _, err := parseHost(name); name != "" && err != nil {
			return err
		}
	}
	for _, name := range c.DnsSearch {
		if _, err := parseHost(name); name != "." && err != nil {
			return err
		}
	}
	for _, addr := range c.Dns {
		if _, err := parseIP(addr); err != nil {
			return err
		}
	}
	for _, pair := range c.ExtraHosts {
		name, addr, _ := strings.Cut(pair, ":")
		if _, err := parseHost(name); err != nil {
			return err
		}
		if _, err := parseIP(addr); addr != "host-gateway" && err != nil {
			return err
		}
	}
	return nil
}

func verifyDependencies(c *argosyv1.ContainerSpec) error {
	if len(c.DependsOn) > maxDepends {
		return fmt.Errorf("it depends on %d containers; %d are allowed", len(c.DependsOn), maxDepends)
	}
	seen := map[string]bool{}
	for _, d := range c.DependsOn {
		if d.Container == c.Name || seen[d.Container] {
			return fmt.Errorf("it depends on itself, or on %s twice", quoted(d.Container))
		}
		if d.Condition == argosyv1.Condition_CONDITION_UNSPECIFIED {
			return fmt.Errorf("it does not say what it waits for of %s", quoted(d.Container))
		}
		seen[d.Container] = true
	}
	return nil
}

// stack checks a stack and what its members say of each other.
func (v *verifier) stack(s *argosyv1.StackSpec) error {
	if n := len(s.Containers) + len(s.Units); n == 0 || n > MaxMembers {
		return fmt.Errorf("it has %d containers and units; 1 to %d are allowed", n, MaxMembers)
	}
	volumes, members, ports := map[string]bool{}, map[string]bool{}, hostPorts{}
	for _, name := range s.Units {
		switch {
		case v.units[name] == nil:
			return fmt.Errorf("unit %s is not declared", quoted(name))
		case members[name]:
			return fmt.Errorf("unit %s is in it twice", name)
		}
		members[name] = true
	}
	if err := v.apart(s); err != nil {
		return err
	}
	err := eachNamed(s.Volumes, "volume", MaxContainers, func(vol *argosyv1.VolumeSpec) error {
		volumes[vol.Name] = true
		return verifyVolume(vol)
	})
	if err != nil {
		return err
	}
	for _, name := range s.Containers {
		c := v.containers[name]
		switch {
		case c == nil:
			return fmt.Errorf("container %s is not declared", quoted(name))
		case members[name]:
			return fmt.Errorf("container %s is in it twice", name)
		}
		members[name] = true
		for _, m := range c.Mounts {
			if m.Type == argosyv1.MountType_MOUNT_TYPE_VOLUME && !volumes[m.Source] {
				return fmt.Errorf("container %s mounts volume %s, which is not declared", name, m.Source)
			}
		}
		for _, p := range c.Ports {
			if other, taken := ports.take(p, portUse{whose: name}); taken {
				return fmt.Errorf("container %s wants the machine's port %d, which container %s has", name, p.Published, other.whose)
			}
		}
	}
	for _, name := range s.Containers {
		for _, d := range v.containers[name].DependsOn {
			if d.Required && !members[d.Container] {
				return fmt.Errorf("container %s depends on %s, which is not in the stack", name, quoted(d.Container))
			}
		}
	}
	if err := v.order(s); err != nil {
		return err
	}
	return v.placement(s)
}

// order refuses containers that wait for each other. A stack has at most MaxMembers of them.
func (v *verifier) order(s *argosyv1.StackSpec) error {
	left := map[string]bool{}
	for _, name := range s.Containers {
		left[name] = true
	}
	for len(left) > 0 {
		before := len(left)
		for _, name := range s.Containers {
			waits := slices.ContainsFunc(v.containers[name].DependsOn, func(d *argosyv1.Dependency) bool { return left[d.Container] })
			if !waits {
				delete(left, name)
			}
		}
		if len(left) == before {
			return errors.New("its containers wait for each other, so none could start")
		}
	}
	return nil
}
