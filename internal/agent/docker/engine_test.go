package docker

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"google.golang.org/protobuf/types/known/durationpb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/image/testimage"
)

// These tests need a Docker Engine. Everything they make carries a cluster id of its own and goes at the end.

func engine(t *testing.T, more func(*Config)) (*Engine, string) {
	t.Helper()
	id := fmt.Sprintf("argosy-agent-test-%d-%d", os.Getpid(), time.Now().UnixNano())
	cfg := Config{ClusterID: id, Prefix: id, Machine: func() string { return "m1" }}
	if more != nil {
		more(&cfg)
	}
	e, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("this test needs a Docker Engine and none answers: start one (systemctl start docker) and try again: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		res, err := e.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: e.mine()})
		if err != nil {
			t.Error(err)
		}
		for _, c := range res.Items {
			if _, err := e.api.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true}); err != nil {
				t.Error(err)
			}
		}
		volumes, err := e.api.VolumeList(ctx, client.VolumeListOptions{Filters: e.mine()})
		if err != nil {
			t.Error(err)
		}
		for _, v := range volumes.Items {
			if _, err := e.api.VolumeRemove(ctx, v.Name, client.VolumeRemoveOptions{}); err != nil {
				t.Error(err)
			}
		}
		e.Close()
	})
	ref, err := testimage.Ensure(t.Context(), e.api)
	if err != nil {
		t.Fatal(err)
	}
	return e, ref
}

func assignment(specs ...*argosyv1.ContainerSpec) *argosyv1.Assignment {
	return &argosyv1.Assignment{
		Key: &argosyv1.ReplicaKey{Tenant: "acme", App: "shop", Stack: "lamp", Number: 3}, AppUid: "0123456789abcdef", Incarnation: 2, Revision: 7, Restart: 1,
		Containers: specs,
	}
}

// everything is a spec with every field of the API set.
func everything(image string) *argosyv1.ContainerSpec {
	return &argosyv1.ContainerSpec{
		Name: "mysql", Image: image, PullPolicy: argosyv1.PullPolicy_PULL_POLICY_NEVER,
		Entrypoint: &argosyv1.Command{Args: []string{"/testprog"}}, Command: &argosyv1.Command{Args: []string{"serve", ":8080"}},
		Environment: map[string]string{"GREETING": "hello world", "ARGOSY_APP": "forged"},
		Mounts: []*argosyv1.Mount{
			{Type: argosyv1.MountType_MOUNT_TYPE_VOLUME, Source: "data", Target: "/data", NoCopy: true},
			{Type: argosyv1.MountType_MOUNT_TYPE_TMPFS, Target: "/scratch", Size: 1 << 20, Mode: 0o1777},
			{Type: argosyv1.MountType_MOUNT_TYPE_BIND, Source: "/etc", Target: "/host-etc", ReadOnly: true},
		},
		Healthcheck: &argosyv1.Healthcheck{Test: []string{"CMD", "/testprog", "check", "http://127.0.0.1:8080/health"}, Interval: durationpb.New(time.Second), Timeout: durationpb.New(2 * time.Second), StartPeriod: durationpb.New(3 * time.Second), Retries: 4},
		Resources:   &argosyv1.Resources{LimitCpuMilli: 250, LimitMemory: 64 << 20, MemorySwap: 64 << 20, LimitPids: 50, CpuShares: 512, ReserveCpuMilli: 100, ReserveMemory: 1 << 20},
		DependsOn:   []*argosyv1.Dependency{{Container: "cache"}, {Container: "init"}},
		Expose:      []*argosyv1.Port{{Port: 3306}, {Port: 53, Protocol: argosyv1.Protocol_PROTOCOL_UDP}},
		Ports:       []*argosyv1.PublishedPort{{Target: 8080, HostIp: "127.0.0.1"}},
		StopSignal:  "SIGINT", StopGracePeriod: durationpb.New(1500 * time.Millisecond), User: "65534:65534", WorkingDir: "/tmp",
		Hostname: "db", Domainname: "example.org", Labels: map[string]string{"tier": "data", "argosy.app": "forged"},
		CapAdd: []string{"NET_ADMIN"}, CapDrop: []string{"CHOWN"}, ReadOnly: true, Init: true, StdinOpen: true,
		Ulimits: []*argosyv1.Ulimit{{Name: "nofile", Soft: 100, Hard: 200}}, Sysctls: map[string]string{"net.ipv4.ip_unprivileged_port_start": "0"}, ShmSize: 8 << 20,
		GroupAdd: []string{"7"}, ExtraHosts: []string{"outside:192.0.2.1"}, Dns: []string{"192.0.2.53"}, DnsSearch: []string{"example.org"}, DnsOpt: []string{"timeout:1"},
		OomScoreAdj: 100, Logging: &argosyv1.LogOptions{MaxSize: 1 << 20, MaxFiles: 2}, SecurityOpt: []string{"no-new-privileges"}, Annotations: map[string]string{"a": "b"},
		Platform: "linux/amd64", Tty: true,
	}
}

func TestEveryFieldReachesTheEngine(t *testing.T) {
	e, image := engine(t, func(c *Config) {
		c.Names = func(core.Key) Names {
			return Names{Servers: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Search: []string{"ours"}, Options: []string{"ndots:4", "timeout:9"}}
		}
	})
	spec := everything(image)
	a := assignment(spec)
	if err := e.EnsureVolumes(t.Context(), a, spec); err != nil {
		t.Fatal(err)
	}
	id, err := e.Create(t.Context(), Creation{Assignment: a, Spec: spec, Definition: "0123456789abcdef", Files: []File{{Source: "/etc/hostname", Target: "/run/secrets/x"}}})
	if err != nil {
		t.Fatal(err)
	}
	res, err := e.api.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	in := res.Container
	c, h := in.Config, in.HostConfig
	check := func(what string, got, want any) {
		t.Helper()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %v, want %v", what, got, want)
		}
	}
	check("name", in.Name, "/"+e.cfg.Prefix+".acme.shop.lamp.3.mysql.2-01234567-r1")
	check("entrypoint", c.Entrypoint, []string{"/testprog"})
	check("command", c.Cmd, []string{"serve", ":8080"})
	for _, want := range []string{"GREETING=hello world", "ARGOSY_APP=shop", "ARGOSY_REPLICA=shop/lamp.3", "ARGOSY_TENANT=acme", "ARGOSY_MACHINE=m1", "ARGOSY_INCARNATION=2"} {
		check("environment has "+want, slices.Contains(c.Env, want), true)
	}
	for k, want := range map[string]string{"tier": "data", "argosy.app": "shop", "argosy.cluster": e.cfg.ClusterID, "argosy.tenant": "acme", "argosy.app-uid": "0123456789abcdef", "argosy.stack": "lamp",
		"argosy.number": "3", "argosy.member": "mysql", "argosy.incarnation": "2", "argosy.revision": "7", "argosy.restart": "1", "argosy.definition": "0123456789abcdef", "argosy.after": "cache,init"} {
		check("label "+k, c.Labels[k], want)
	}
	check("health check", fmt.Sprint(*c.Healthcheck), "{[CMD /testprog check http://127.0.0.1:8080/health] 1s 2s 3s 0s 4}")
	check("stop signal", c.StopSignal, "SIGINT")
	check("stop time", *c.StopTimeout, 2)
	check("user", c.User, "65534:65534")
	check("working directory", c.WorkingDir, "/tmp")
	check("hostname", c.Hostname+"."+c.Domainname, "db.example.org")
	check("terminal, input", []bool{c.Tty, c.OpenStdin, h.ReadonlyRootfs, *h.Init}, []bool{true, true, true, true})
	check("exposed", len(c.ExposedPorts), 3)
	check("published", h.PortBindings[network.MustParsePort("8080/tcp")], []network.PortBinding{{HostIP: netip.MustParseAddr("127.0.0.1")}})
	check("cpus", h.NanoCPUs, int64(250e6))
	check("memory", []int64{h.Memory, h.MemorySwap, h.CPUShares, *h.PidsLimit, h.ShmSize}, []int64{64 << 20, 64 << 20, 512, 50, 8 << 20})
	check("restart policy", h.RestartPolicy.IsNone(), true)
	check("capabilities", []string{h.CapAdd[0], h.CapDrop[0]}, []string{"CAP_NET_ADMIN", "CAP_CHOWN"})
	check("ulimit", h.Ulimits[0].String(), "nofile=100:200")
	check("sysctls", h.Sysctls, map[string]string{"net.ipv4.ip_unprivileged_port_start": "0"})
	check("groups", h.GroupAdd, []string{"7"})
	check("hosts", h.ExtraHosts, []string{"outside:192.0.2.1"})
	check("name servers", h.DNS, []netip.Addr{netip.MustParseAddr("192.0.2.53")})
	check("search", h.DNSSearch, []string{"example.org"})
	check("resolver options", h.DNSOptions, []string{"timeout:1", "ndots:4"})
	check("oom score", h.OomScoreAdj, 100)
	check("log", h.LogConfig.Type+fmt.Sprint(h.LogConfig.Config), "json-filemap[max-file:2 max-size:1048576]")
	check("security", h.SecurityOpt, []string{"no-new-privileges"})
	mounts := map[string]string{}
	for _, m := range h.Mounts {
		mounts[m.Target] = fmt.Sprint(m.Type, " ", m.Source, " ", m.ReadOnly)
	}
	check("mounts", mounts, map[string]string{"/data": "volume " + e.cfg.Prefix + ".acme.shop.lamp.3.data false", "/scratch": "tmpfs  false", "/host-etc": "bind /etc true", "/run/secrets/x": "bind /etc/hostname true"})

	// The Engine can run all of it, and what it shows is read back.
	if err := e.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	seen, err := e.Look(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	check("seen", []any{seen.Owner, seen.Member, seen.Definition, seen.Revision, seen.Restart, seen.After, seen.State, seen.PID > 0, seen.Address != "", len(seen.Ports)},
		[]any{core.IDOf(a), "mysql", "0123456789abcdef", uint64(7), uint64(1), []string{"cache", "init"}, core.Running, true, true, 1})
	list, err := e.List(t.Context())
	if err != nil || len(list) != 1 || list[0].ContainerID != id {
		t.Errorf("listed: %v %v", list, err)
	}
	if err := e.Stop(t.Context(), id, -1); err != nil {
		t.Fatal(err)
	}
	if err := e.Remove(t.Context(), id, false); err != nil {
		t.Fatal(err)
	}
	if err := e.Remove(t.Context(), id, false); err != nil {
		t.Errorf("removing what is gone: %v", err)
	}
	if _, err := e.Look(t.Context(), id); !isKind(err, core.FaultGone) {
		t.Errorf("looking at what is gone: %v", err)
	}
	if err := e.RemoveVolumes(t.Context(), core.KeyOf(a.GetKey())); err != nil {
		t.Fatal(err)
	}
	volumes, err := e.api.VolumeList(t.Context(), client.VolumeListOptions{Filters: e.mine()})
	if err != nil || len(volumes.Items) > 0 {
		t.Errorf("volumes are left: %v %v", volumes.Items, err)
	}
}

func TestWatchHearsOnlyOurOwn(t *testing.T) {
	e, image := engine(t, nil)
	stranger, _ := engine(t, nil)
	heard := make(chan string, 100)
	ready := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Watch(ctx, func() { close(ready) }, func(id string) { heard <- id }) }()
	<-ready
	run := func(e *Engine) string {
		spec := &argosyv1.ContainerSpec{Name: "x", Image: image}
		id, err := e.Create(t.Context(), Creation{Assignment: assignment(spec), Spec: spec, Definition: "0"})
		if err == nil {
			err = e.Start(t.Context(), id)
		}
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	run(stranger)
	own := run(e)
	select {
	case id := <-heard:
		if id != own {
			t.Errorf("heard of %s, which is a stranger's", id)
		}
	case <-time.After(10 * time.Second):
		t.Error("heard nothing")
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("Watch ends without a reason")
	}
	if list, err := e.List(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("listed: %v %v", list, err)
	}
}

func TestVolumesOfOthersAreNotTaken(t *testing.T) {
	e, _ := engine(t, nil)
	spec := &argosyv1.ContainerSpec{Name: "x", Mounts: []*argosyv1.Mount{{Type: argosyv1.MountType_MOUNT_TYPE_VOLUME, Source: "data", Target: "/data"}}}
	a := assignment(spec)
	name := e.volumeName(core.KeyOf(a.GetKey()), "data")
	if _, err := e.api.VolumeCreate(t.Context(), client.VolumeCreateOptions{Name: name}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_, _ = e.api.VolumeRemove(context.WithoutCancel(t.Context()), name, client.VolumeRemoveOptions{})
	}()
	err := e.EnsureVolumes(t.Context(), a, spec)
	if err == nil || !strings.Contains(err.Error(), "was not made by this cluster") {
		t.Errorf("a stranger's volume is taken: %v", err)
	}
}

func TestEmptyCommandMeansNone(t *testing.T) {
	e, image := engine(t, nil)
	spec := &argosyv1.ContainerSpec{Name: "x", Image: image, Command: &argosyv1.Command{}}
	id, err := e.Create(t.Context(), Creation{Assignment: assignment(spec), Spec: spec, Definition: "0"})
	if err != nil {
		t.Fatal(err)
	}
	res, err := e.api.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if c := res.Container.Config; len(c.Cmd) != 0 || !slices.Equal(c.Entrypoint, []string{"/testprog"}) {
		t.Errorf("entrypoint %v, command %v", c.Entrypoint, c.Cmd)
	}
}

// A check is run as the Engine runs it: the command of a list, or a text for the shell of the image.
func TestCheckCommand(t *testing.T) {
	for _, c := range []struct{ test, shell, want []string }{
		{[]string{"CMD", "curl", "-f", "localhost"}, nil, []string{"curl", "-f", "localhost"}},
		{[]string{"CMD-SHELL", "curl -f localhost || exit 1"}, nil, []string{"/bin/sh", "-c", "curl -f localhost || exit 1"}},
		{[]string{"CMD-SHELL", "true"}, []string{"/bin/bash", "-ec"}, []string{"/bin/bash", "-ec", "true"}},
		{[]string{"NONE"}, nil, nil},
		{[]string{"CMD"}, nil, nil},
		{nil, nil, nil},
		{[]string{"something", "else"}, nil, nil},
	} {
		if got := checkCommand(c.test, c.shell); !slices.Equal(got, c.want) {
			t.Errorf("%q in %q is %q, want %q", c.test, c.shell, got, c.want)
		}
	}
}

func TestProbe(t *testing.T) {
	e, image := engine(t, nil)
	for _, c := range []struct {
		name   string
		check  *argosyv1.Healthcheck
		passed bool
		fails  bool
	}{
		{"passes", &argosyv1.Healthcheck{Test: []string{"CMD", "/testprog", "exit", "0"}}, true, false},
		{"does not pass", &argosyv1.Healthcheck{Test: []string{"CMD", "/testprog", "exit", "3"}}, false, false},
		{"hangs", &argosyv1.Healthcheck{Test: []string{"CMD", "/testprog", "exit", "0", "1h"}, Timeout: durationpb.New(200 * time.Millisecond)}, false, true},
		{"is not there", nil, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := &argosyv1.ContainerSpec{Name: strings.ReplaceAll(c.name, " ", "-"), Image: image, PullPolicy: argosyv1.PullPolicy_PULL_POLICY_NEVER,
				Command: &argosyv1.Command{Args: []string{"exit", "0", "1h"}}, Healthcheck: c.check}
			if c.check != nil {
				c.check.Interval = durationpb.New(time.Hour)
			}
			id, err := e.Create(t.Context(), Creation{Assignment: assignment(spec), Spec: spec, Definition: "d"})
			if err != nil {
				t.Fatal(err)
			}
			if err := e.Start(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			if passed, err := e.Probe(t.Context(), id); passed != c.passed || (err != nil) != c.fails {
				t.Errorf("passed %t, %v", passed, err)
			}
		})
	}
}
