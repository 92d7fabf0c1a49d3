package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// File is a path of the machine bound read-only into a container.
type File struct {
	Source, Target string
}

// Creation is what a container is made of.
type Creation struct {
	Assignment *argosyv1.Assignment
	Spec       *argosyv1.ContainerSpec
	Definition string
	Files      []File
	// Lease is the claim of the shared volume that the container mounts; nil without one.
	Lease *core.Claim
}

// Create creates a container that is not started, and returns its id.
func (e *Engine) Create(ctx context.Context, c Creation) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	opts, err := e.options(c)
	if err != nil {
		return "", err
	}
	if err := e.clearCommand(ctx, c.Spec, &opts); err != nil {
		return "", err
	}
	res, err := e.api.ContainerCreate(ctx, opts)
	if errdefs.IsConflict(err) && e.foreign(ctx, opts.Name) {
		// Another cluster that this machine was in, or a person, has the name. It is only a name.
		sum := sha256.Sum256([]byte(e.cfg.ClusterID))
		opts.Name += "-" + hex.EncodeToString(sum[:4])
		res, err = e.api.ContainerCreate(ctx, opts)
	}
	if err != nil {
		return "", fault("create", err)
	}
	if !validID(res.ID) {
		return "", &core.Fault{Message: "create: the Docker Engine gave the container an id that is none"}
	}
	for _, w := range res.Warnings {
		e.cfg.Log.Debug("the Engine warns of a container", "replica", core.KeyOf(c.Assignment.GetKey()).String(), "member", c.Spec.GetName(), "warning", plain(w))
	}
	return res.ID, nil
}

// foreign says whether the container of that name is not this cluster's.
func (e *Engine) foreign(ctx context.Context, name string) bool {
	res, err := e.api.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
	return err == nil && res.Container.Config != nil && res.Container.Config.Labels[labelCluster] != e.cfg.ClusterID
}

// clearCommand makes an empty command mean none. The Engine takes the image's own for it unless an entrypoint is given.
func (e *Engine) clearCommand(ctx context.Context, spec *argosyv1.ContainerSpec, opts *client.ContainerCreateOptions) error {
	if spec.GetCommand() == nil || len(spec.GetCommand().GetArgs()) > 0 || spec.GetEntrypoint() != nil {
		return nil
	}
	res, err := e.api.ImageInspect(ctx, opts.Config.Image)
	if err != nil {
		return fault("create", err)
	}
	if res.Config != nil {
		opts.Config.Entrypoint = orNone(res.Config.Entrypoint)
	}
	return nil
}

// options maps a spec to what the Engine understands. Every field of the spec is in here, in host or in mounts; what the
// agent itself acts on (order, restart policy) is not the Engine's business.
func (e *Engine) options(c Creation) (client.ContainerCreateOptions, error) {
	spec, key := c.Spec, core.KeyOf(c.Assignment.GetKey())
	ref, err := e.Reference(key.Tenant, spec)
	if err != nil {
		return client.ContainerCreateOptions{}, err
	}
	host, err := e.host(c)
	if err != nil {
		return client.ContainerCreateOptions{}, err
	}
	cfg := &container.Config{
		Image:      ref,
		Hostname:   hostname(spec, key),
		Domainname: spec.GetDomainname(),
		User:       spec.GetUser(),
		WorkingDir: spec.GetWorkingDir(),
		Env:        e.environment(c),
		Labels:     e.labels(c.Assignment, spec, c.Definition, c.Lease),
		Tty:        spec.GetTty(),
		OpenStdin:  spec.GetStdinOpen(),
		StopSignal: spec.GetStopSignal(),
	}
	if spec.GetEntrypoint() != nil {
		cfg.Entrypoint = orNone(spec.GetEntrypoint().GetArgs())
	}
	if spec.GetCommand() != nil {
		cfg.Cmd = spec.GetCommand().GetArgs()
	}
	if d := spec.GetStopGracePeriod(); d != nil {
		seconds := seconds(d.AsDuration())
		cfg.StopTimeout = &seconds
	}
	if cfg.Healthcheck, err = healthcheck(spec.GetHealthcheck()); err != nil {
		return client.ContainerCreateOptions{}, err
	}
	if cfg.ExposedPorts, err = exposed(spec); err != nil {
		return client.ContainerCreateOptions{}, err
	}
	opts := client.ContainerCreateOptions{
		Name: e.containerName(c.Assignment, spec.GetName(), c.Definition), Config: cfg, HostConfig: host, Platform: platform(spec.GetPlatform()),
	}
	if e.cfg.Network != "" {
		host.NetworkMode = container.NetworkMode(e.cfg.Network)
		opts.NetworkingConfig = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{e.cfg.Network: {}}}
	}
	return opts, nil
}

// orNone keeps "none" apart from "not said": the Engine takes an empty list for the latter.
func orNone(args []string) []string {
	if len(args) == 0 {
		return []string{""}
	}
	return args
}

func hostname(spec *argosyv1.ContainerSpec, k core.Key) string {
	if h := spec.GetHostname(); h != "" {
		return h
	}
	h := spec.GetName() + "-" + k.Stack + "-" + strconv.FormatUint(uint64(k.Number), 10)
	if len(h) > 63 {
		return spec.GetName()
	}
	return h
}

func (e *Engine) environment(c Creation) []string {
	k := core.KeyOf(c.Assignment.GetKey())
	machine := ""
	if e.cfg.Machine != nil {
		machine = e.cfg.Machine()
	}
	env := map[string]string{}
	for name, v := range c.Spec.GetEnvironment() {
		env[name] = v
	}
	for name, v := range map[string]string{
		"REPLICA": k.App + "/" + k.Stack + "." + strconv.FormatUint(uint64(k.Number), 10), "TENANT": k.Tenant, "APP": k.App, "STACK": k.Stack,
		"NUMBER": strconv.FormatUint(uint64(k.Number), 10), "MEMBER": c.Spec.GetName(), "MACHINE": machine,
		"INCARNATION": strconv.FormatUint(c.Assignment.GetIncarnation(), 10),
	} {
		env["ARGOSY_"+name] = v
	}
	if c.Lease != nil {
		env["ARGOSY_FENCING_TOKEN"] = c.Lease.Token.String()
	}
	list := make([]string, 0, len(env))
	for name, v := range env {
		list = append(list, name+"="+v)
	}
	sort.Strings(list)
	return list
}

func healthcheck(h *argosyv1.Healthcheck) (*container.HealthConfig, error) {
	if h == nil {
		return nil, nil
	}
	if h.GetRetries() > math.MaxInt32 {
		return nil, &core.Fault{Message: fmt.Sprintf("healthcheck.retries of %d is too large", h.GetRetries())}
	}
	return &container.HealthConfig{
		Test: h.GetTest(), Interval: h.GetInterval().AsDuration(), Timeout: h.GetTimeout().AsDuration(),
		StartPeriod: h.GetStartPeriod().AsDuration(), StartInterval: h.GetStartInterval().AsDuration(), Retries: int(h.GetRetries()),
	}, nil
}

func port(n uint32, p argosyv1.Protocol) (network.Port, error) {
	proto := network.TCP
	if p == argosyv1.Protocol_PROTOCOL_UDP {
		proto = network.UDP
	}
	if n == 0 || n > math.MaxUint16 {
		return network.Port{}, &core.Fault{Message: fmt.Sprintf("port %d is not between 1 and 65535", n)}
	}
	out, ok := network.PortFrom(uint16(n), proto)
	if !ok {
		return network.Port{}, &core.Fault{Message: fmt.Sprintf("port %d/%s is not one", n, proto)}
	}
	return out, nil
}

func exposed(spec *argosyv1.ContainerSpec) (network.PortSet, error) {
	set := network.PortSet{}
	for _, p := range spec.GetExpose() {
		k, err := port(p.GetPort(), p.GetProtocol())
		if err != nil {
			return nil, err
		}
		set[k] = struct{}{}
	}
	for _, p := range spec.GetPorts() {
		k, err := port(p.GetTarget(), p.GetProtocol())
		if err != nil {
			return nil, err
		}
		set[k] = struct{}{}
	}
	return set, nil
}

func bindings(spec *argosyv1.ContainerSpec) (network.PortMap, error) {
	m := network.PortMap{}
	for _, p := range spec.GetPorts() {
		k, err := port(p.GetTarget(), p.GetProtocol())
		if err != nil {
			return nil, err
		}
		b := network.PortBinding{}
		if p.GetPublished() != 0 {
			b.HostPort = strconv.FormatUint(uint64(p.GetPublished()), 10)
		}
		if ip := p.GetHostIp(); ip != "" {
			if b.HostIP, err = netip.ParseAddr(ip); err != nil {
				return nil, &core.Fault{Message: fmt.Sprintf("%s is not an address to publish port %d on", plain(ip), p.GetTarget())}
			}
		}
		m[k] = append(m[k], b)
	}
	return m, nil
}

func platform(s string) *ocispec.Platform {
	if s == "" {
		return nil
	}
	parts := strings.SplitN(s, "/", 3)
	p := &ocispec.Platform{OS: parts[0]}
	if len(parts) > 1 {
		p.Architecture = parts[1]
	}
	if len(parts) > 2 {
		p.Variant = parts[2]
	}
	return p
}

// seconds rounds up, because the Engine counts in whole ones and 0 means an immediate kill.
func seconds(d time.Duration) int {
	if d <= 0 {
		return 0
	}
	return int(min((d+time.Second-1)/time.Second, math.MaxInt32))
}

func (e *Engine) host(c Creation) (*container.HostConfig, error) {
	spec, key := c.Spec, core.KeyOf(c.Assignment.GetKey())
	h := &container.HostConfig{
		RestartPolicy:  container.RestartPolicy{Name: container.RestartPolicyDisabled},
		LogConfig:      e.logging(spec.GetLogging()),
		CapAdd:         spec.GetCapAdd(),
		CapDrop:        spec.GetCapDrop(),
		ReadonlyRootfs: spec.GetReadOnly(),
		GroupAdd:       spec.GetGroupAdd(),
		ExtraHosts:     spec.GetExtraHosts(),
		OomScoreAdj:    int(spec.GetOomScoreAdj()),
		SecurityOpt:    spec.GetSecurityOpt(),
		ShmSize:        spec.GetShmSize(),
		Sysctls:        spec.GetSysctls(),
		Annotations:    spec.GetAnnotations(),
		Resources:      e.resources(spec, c.Lease),
	}
	if spec.GetInit() {
		yes := true
		h.Init = &yes
	}
	var err error
	if h.PortBindings, err = bindings(spec); err != nil {
		return nil, err
	}
	if h.Mounts, err = e.mounts(c, key); err != nil {
		return nil, err
	}
	return h, e.resolve(h, spec, key)
}

// resolve says how the container resolves names: as its spec says, and where that says nothing, so that siblings are found
// by their plain names.
func (e *Engine) resolve(h *container.HostConfig, spec *argosyv1.ContainerSpec, key core.Key) error {
	var ours Names
	if e.cfg.Names != nil {
		ours = e.cfg.Names(key)
	}
	h.DNS = ours.Servers
	if len(spec.GetDns()) > 0 {
		h.DNS = nil
		for _, s := range spec.GetDns() {
			a, err := netip.ParseAddr(s)
			if err != nil {
				return &core.Fault{Message: fmt.Sprintf("dns: %s is not an address", plain(s))}
			}
			h.DNS = append(h.DNS, a)
		}
	}
	h.DNSSearch = spec.GetDnsSearch()
	if len(h.DNSSearch) == 0 {
		h.DNSSearch = ours.Search
	}
	h.DNSOptions = slices.Clone(spec.GetDnsOpt())
	for _, o := range ours.Options {
		name, _, _ := strings.Cut(o, ":")
		said := slices.ContainsFunc(h.DNSOptions, func(s string) bool { return s == name || strings.HasPrefix(s, name+":") })
		if !said {
			h.DNSOptions = append(h.DNSOptions, o)
		}
	}
	return nil
}

func (e *Engine) resources(spec *argosyv1.ContainerSpec, lease *core.Claim) container.Resources {
	r := spec.GetResources()
	out := container.Resources{
		Memory: r.GetLimitMemory(), MemorySwap: r.GetMemorySwap(), CPUShares: r.GetCpuShares(), CgroupParent: e.cfg.CgroupParent,
	}
	if lease != nil {
		// What runs there runs only while the guard lets it.
		if out.CgroupParent = lease.Group; e.Info().CgroupDriver == "systemd" {
			out.CgroupParent = lease.Slice
		}
	}
	if milli := r.GetLimitCpuMilli(); milli > 0 {
		// The Engine refuses less than a hundredth of a cpu, and more cpus than there are; the latter bind nothing anyway.
		milli = max(milli, 10)
		if cpus := e.Info().CPUs; cpus > 0 {
			milli = min(milli, int64(cpus)*1000)
		}
		out.NanoCPUs = milli * 1e6
	}
	if n := r.GetLimitPids(); n != 0 {
		out.PidsLimit = &n
	}
	for _, u := range spec.GetUlimits() {
		out.Ulimits = append(out.Ulimits, &container.Ulimit{Name: u.GetName(), Soft: u.GetSoft(), Hard: u.GetHard()})
	}
	return out
}

func (e *Engine) logging(l *argosyv1.LogOptions) container.LogConfig {
	size, files := l.GetMaxSize(), l.GetMaxFiles()
	if size <= 0 {
		size = 10 << 20
	}
	if files == 0 {
		files = 3
	}
	driver := e.cfg.LogDriver
	if driver == "" {
		driver = "json-file"
	}
	return container.LogConfig{Type: driver, Config: map[string]string{"max-size": strconv.FormatInt(size, 10), "max-file": strconv.FormatUint(uint64(files), 10)}}
}

func (e *Engine) mounts(c Creation, key core.Key) ([]mount.Mount, error) {
	var list []mount.Mount
	for _, m := range c.Spec.GetMounts() {
		out := mount.Mount{Target: m.GetTarget(), ReadOnly: m.GetReadOnly()}
		switch m.GetType() {
		case argosyv1.MountType_MOUNT_TYPE_VOLUME:
			if core.Shared(c.Assignment.GetStack(), m.GetSource()) != nil {
				// An empty volume of the machine's own must never stand in for one that is elsewhere, and a path that is not there is
				// not made: the Engine makes none for a mount of this kind.
				if c.Lease == nil || c.Lease.Volume != m.GetSource() || c.Lease.Path == "" {
					return nil, &core.Fault{Kind: core.FaultRefused, Message: fmt.Sprintf("volume %s is not local, and nobody has it mounted and verified here", plain(m.GetSource()))}
				}
				out.Type, out.Source = mount.TypeBind, c.Lease.Path
				out.BindOptions = &mount.BindOptions{Propagation: mount.PropagationRPrivate}
				break
			}
			out.Type, out.Source = mount.TypeVolume, e.volumeName(key, m.GetSource())
			out.VolumeOptions = &mount.VolumeOptions{NoCopy: m.GetNoCopy(), Labels: e.volumeLabels(c.Assignment, m.GetSource())}
		case argosyv1.MountType_MOUNT_TYPE_TMPFS:
			out.Type = mount.TypeTmpfs
			out.TmpfsOptions = &mount.TmpfsOptions{SizeBytes: m.GetSize(), Mode: fileMode(m.GetMode())}
		case argosyv1.MountType_MOUNT_TYPE_BIND:
			out.Type, out.Source = mount.TypeBind, m.GetSource()
		default:
			return nil, &core.Fault{Message: fmt.Sprintf("the mount at %s is of a kind that this agent does not know; upgrade the agent", plain(m.GetTarget()))}
		}
		list = append(list, out)
	}
	for _, f := range c.Files {
		list = append(list, mount.Mount{Type: mount.TypeBind, Source: f.Source, Target: f.Target, ReadOnly: true})
	}
	return list, nil
}
