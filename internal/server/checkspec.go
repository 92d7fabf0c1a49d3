package server

import (
	"errors"
	"fmt"
	"path"

	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/image"
	"github.com/argosy-cluster/argosy/internal/placement"
)

const (
	// maxSpec is the largest spec, encoded, in bytes: a revision is one record of the store.
	maxSpec = 1 << 20
	// maxNames bounds each list of named things in a spec.
	maxNames = 5_000
	// maxCPU and maxMemory bound what one container may ask for; beyond them sums could overflow.
	maxCPU    = 1_000_000      // thousandths: a thousand cpus
	maxMemory = int64(1) << 50 // a pebibyte
)

// checkSpec refuses a spec that no manifest could have made. Manifests are checked by package manifest, which knows where
// in the file each fault is; this protects the cluster from callers that speak the protocol themselves.
func checkSpec(spec *argosyv1.AppSpec) error {
	if spec == nil {
		return errors.New("the request has no spec")
	}
	if n := proto.Size(spec); n > maxSpec {
		return fmt.Errorf("the spec is %d KiB large, and %d KiB are the most: split the app", n>>10, maxSpec>>10)
	}
	if err := checkName("app", spec.Name); err != nil {
		return err
	}
	containers := map[string]*argosyv1.ContainerSpec{}
	err := each(spec.Containers, "container", (*argosyv1.ContainerSpec).GetName, func(c *argosyv1.ContainerSpec) error {
		containers[c.Name] = c
		return checkContainer(spec, c)
	})
	if err != nil {
		return err
	}
	stacks := map[string]bool{}
	err = each(spec.Stacks, "stack", (*argosyv1.StackSpec).GetName, func(st *argosyv1.StackSpec) error {
		stacks[st.Name] = true
		return checkStack(st, containers)
	})
	if err != nil {
		return err
	}
	return each(spec.Cluster, "stack in cluster", (*argosyv1.ClusterEntry).GetStack, func(e *argosyv1.ClusterEntry) error {
		switch {
		case !stacks[e.Stack]:
			return fmt.Errorf("cluster asks for stack %s, which is not declared", e.Stack)
		case e.Count > maxCount:
			return fmt.Errorf("%d replicas of %s are more than the %d allowed", e.Count, e.Stack, maxCount)
		case e.EachMachine && e.Count != 0:
			return fmt.Errorf("stack %s has a count and runs on each machine: it can be one of them", e.Stack)
		}
		return nil
	})
}

// each checks the names of a list, that they are unique, and its elements.
func each[T any](list []T, what string, name func(T) string, check func(T) error) error {
	if len(list) > maxNames {
		return fmt.Errorf("there are more than %d of kind %s", maxNames, what)
	}
	seen := map[string]bool{}
	for _, v := range list {
		n := name(v)
		if err := checkName(what, n); err != nil {
			return err
		}
		if seen[n] {
			return fmt.Errorf("%s %s is declared twice", what, n)
		}
		seen[n] = true
		if err := check(v); err != nil {
			return fmt.Errorf("%s %s: %w", what, n, err)
		}
	}
	return nil
}

func checkName(what, name string) error {
	if !dnsLabel.MatchString(name) {
		return fmt.Errorf("%q cannot name a %s: it is a DNS label that starts with a letter", clip(name), what)
	}
	return nil
}

func checkContainer(spec *argosyv1.AppSpec, c *argosyv1.ContainerSpec) error {
	if _, err := image.ParseRef(c.Image); err != nil {
		return err
	}
	r := c.GetResources()
	for _, n := range []int64{r.GetReserveCpuMilli(), r.GetLimitCpuMilli()} {
		if n < 0 || n > maxCPU {
			return fmt.Errorf("%d thousandths of a cpu cannot be had", n)
		}
	}
	for _, n := range []int64{r.GetReserveMemory(), r.GetLimitMemory()} {
		if n < 0 || n > maxMemory {
			return fmt.Errorf("%d bytes of memory cannot be had", n)
		}
	}
	if r.GetReserveCpuMilli() == 0 || r.GetReserveMemory() == 0 {
		return errors.New("it reserves no cpu or no memory: the scheduler counts both")
	}
	for _, m := range c.Mounts {
		if m.Type == argosyv1.MountType_MOUNT_TYPE_BIND {
			return fmt.Errorf("mounting %s of the machine needs a policy that grants it, and there is none", clip(m.Source))
		}
		if !path.IsAbs(m.Target) {
			return fmt.Errorf("%q is not an absolute path to mount at", clip(m.Target))
		}
	}
	for _, p := range c.Ports {
		if p.Target == 0 || p.Target > 65535 || p.Published > 65535 {
			return fmt.Errorf("port %d to %d is out of range", p.Published, p.Target)
		}
	}
	for _, ref := range c.Configs {
		if _, ok := spec.Configs[ref.Source]; !ok {
			return fmt.Errorf("config %s is not declared", clip(ref.Source))
		}
	}
	for _, ref := range c.Secrets {
		if err := checkName("secret", ref.Source); err != nil {
			return err
		}
	}
	return nil
}

func checkStack(st *argosyv1.StackSpec, containers map[string]*argosyv1.ContainerSpec) error {
	if len(st.Containers) == 0 {
		return errors.New("it has no containers")
	}
	volumes := map[string]bool{}
	err := each(st.Volumes, "volume", (*argosyv1.VolumeSpec).GetName, func(v *argosyv1.VolumeSpec) error {
		volumes[v.Name] = true
		return nil
	})
	if err != nil {
		return err
	}
	members := map[string]bool{}
	for _, name := range st.Containers {
		c := containers[name]
		switch {
		case c == nil:
			return fmt.Errorf("container %s is not declared", clip(name))
		case members[name]:
			return fmt.Errorf("container %s is in it twice", name)
		}
		members[name] = true
		for _, m := range c.Mounts {
			if m.Type == argosyv1.MountType_MOUNT_TYPE_VOLUME && m.Source != "" && !volumes[m.Source] {
				return fmt.Errorf("container %s mounts volume %s, which is not declared", name, clip(m.Source))
			}
		}
	}
	for _, name := range st.Containers {
		for _, d := range containers[name].DependsOn {
			if !members[d.Container] {
				return fmt.Errorf("container %s depends on %s, which is not in the stack", name, clip(d.Container))
			}
		}
	}
	if err := checkOrder(st, containers); err != nil {
		return err
	}
	return checkPlacement(st.GetPlacement())
}

// checkOrder refuses containers that wait for each other.
func checkOrder(st *argosyv1.StackSpec, containers map[string]*argosyv1.ContainerSpec) error {
	started := map[string]bool{}
	for left := len(st.Containers); left > 0; {
		before := left
		for _, name := range st.Containers {
			ready := !started[name]
			for _, d := range containers[name].DependsOn {
				ready = ready && started[d.Container]
			}
			if ready {
				started[name] = true
				left--
			}
		}
		if left == before {
			return errors.New("its containers wait for each other, so none could start")
		}
	}
	return nil
}

func checkPlacement(p *argosyv1.Placement) error {
	expressions := append([]string(nil), p.GetRequire()...)
	for _, pref := range p.GetPrefer() {
		if pref.Weight < -100 || pref.Weight > 100 || pref.Weight == 0 {
			return fmt.Errorf("weight %d is not between -100 and 100, or is 0", pref.Weight)
		}
		expressions = append(expressions, pref.Expression)
	}
	if len(expressions)+len(p.GetSpread())+len(p.GetApartFrom())+len(p.GetTogetherWith()) > 64 {
		return errors.New("its placement has more than 64 rules")
	}
	for _, e := range expressions {
		if _, err := placement.Parse(e); err != nil {
			return fmt.Errorf("placement %q: %w", clip(e), err)
		}
	}
	return nil
}
