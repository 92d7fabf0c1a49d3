package localcluster

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// A machine's data that outlives its container's file system layer: name of the
// volume after the machine's own, and where it is mounted. The inner Engine
// cannot put its overlays on an overlay, hence volumes for its two directories.
var machineVolumes = map[string]string{
	"docker":     "/var/lib/docker",
	"containerd": "/var/lib/containerd",
	"argosy":     "/var/lib/argosy",
}

// containerName is the machine's in the host's Engine.
func (l *Local) containerName(machine string) string { return l.prefix() + "-" + machine }

// createOptions describe the container of machine number.
func (l *Local) createOptions(number int, subnet netip.Prefix) client.ContainerCreateOptions {
	name := machineName(number)
	labels := map[string]string{labelCluster: l.opts.Name, labelMachine: strconv.Itoa(number)}
	var binds []string
	for volume, at := range machineVolumes {
		binds = append(binds, l.volumeSource(name, volume)+":"+at)
	}
	if number == 1 {
		binds = append(binds, l.socketDir()+":/run/argosy")
	}
	slices.Sort(binds)
	stop := int((30 * time.Second).Seconds())
	return client.ContainerCreateOptions{
		Name: l.containerName(name),
		Config: &container.Config{
			Image:       l.imageRef(),
			Hostname:    name,
			Labels:      labels,
			Env:         []string{"container=docker"}, // how systemd knows where it is
			Entrypoint:  []string{"/usr/local/sbin/machine-init"},
			StopSignal:  "SIGRTMIN+3", // systemd's word for an orderly halt
			StopTimeout: &stop,
		},
		HostConfig: &container.HostConfig{
			// All that --privileged gives, save the host's devices, and it works
			// where --privileged is refused. Masked and read-only paths are off
			// because the inner Engine sets sysctls of its network namespace.
			CapAdd:        machineCapabilities(ownStatus()),
			CapDrop:       []string{"ALL"}, // whatever is not added
			SecurityOpt:   []string{"seccomp=unconfined", "apparmor=unconfined", "label=disable"},
			MaskedPaths:   []string{},
			ReadonlyPaths: []string{},
			CgroupnsMode:  "private",
			UsernsMode:    "host",
			Tmpfs:         map[string]string{"/run": "exec,mode=755,size=256m", "/tmp": "exec,mode=1777,size=256m"},
			Binds:         binds,
			NetworkMode:   container.NetworkMode(l.prefix()),
			Resources:     container.Resources{Memory: l.opts.Memory, MemorySwap: l.opts.Memory, DeviceCgroupRules: []string{loopDevices}},
			LogConfig:     container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "1m", "max-file": "1"}},
		},
		NetworkingConfig: &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{
			l.prefix(): {IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: machineAddress(subnet, number)}},
		}},
	}
}

// machines lists the cluster's machines, in the order of their numbers.
func (l *Local) machines(ctx context.Context) ([]Machine, error) {
	list, err := l.docker.ContainerList(ctx, client.ContainerListOptions{
		All:     true,
		Filters: client.Filters{}.Add("label", labelCluster+"="+l.opts.Name, labelMachine),
	})
	if err != nil {
		return nil, fmt.Errorf("list the machines of cluster %s: %w", l.opts.Name, err)
	}
	return machinesOf(list.Items), nil
}

// machinesOf turns the Engine's containers into machines, leaving out what has
// no proper number.
func machinesOf(items []container.Summary) []Machine {
	type numbered struct {
		number int
		Machine
	}
	var found []numbered
	for _, item := range items {
		number, err := strconv.Atoi(item.Labels[labelMachine])
		if err != nil || number < 1 || len(item.Names) == 0 {
			continue
		}
		m := Machine{Name: machineName(number), Container: strings.TrimPrefix(item.Names[0], "/"), State: string(item.State)}
		if item.NetworkSettings != nil {
			for _, n := range item.NetworkSettings.Networks {
				if n.IPAMConfig != nil && n.IPAMConfig.IPv4Address.IsValid() {
					m.Address = n.IPAMConfig.IPv4Address // known while it is stopped, too
				}
			}
		}
		found = append(found, numbered{number, m})
	}
	slices.SortFunc(found, func(a, b numbered) int { return cmp.Compare(a.number, b.number) })
	out := make([]Machine, len(found))
	for i, f := range found {
		out[i] = f.Machine
	}
	return out
}

// ensureMachine creates and boots one machine, whatever of it is there already.
func (l *Local) ensureMachine(ctx context.Context, number int, subnet netip.Prefix) error {
	name := machineName(number)
	id := l.containerName(name)
	if err := l.ensureDisks(ctx, name); err != nil {
		return fmt.Errorf("make the disks of machine %s: %w", name, err)
	}
	res, err := l.docker.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	switch {
	case errdefs.IsNotFound(err):
		for volume := range machineVolumes {
			if filepath.IsAbs(l.volumeSource(name, volume)) {
				continue // a disk
			}
			if err := l.ensureVolume(ctx, id+"-"+volume); err != nil {
				return err
			}
		}
		if _, err := l.docker.ContainerCreate(ctx, l.createOptions(number, subnet)); err != nil {
			return fmt.Errorf("create machine %s: %w", name, err)
		}
	case err != nil:
		return fmt.Errorf("look at machine %s: %w", name, err)
	case res.Container.Config == nil || res.Container.Config.Labels[labelCluster] != l.opts.Name:
		return fmt.Errorf("a container named %s exists and is not this cluster's: remove it, or choose another name", id)
	case res.Container.State != nil && res.Container.State.Running:
		return l.waitBoot(ctx, name)
	}
	return l.step(name, "boot", func() error {
		if _, err := l.docker.ContainerStart(ctx, id, client.ContainerStartOptions{}); err != nil {
			return err
		}
		return l.waitBoot(ctx, name)
	})
}

func (l *Local) ensureVolume(ctx context.Context, name string) error {
	_, err := l.docker.VolumeCreate(ctx, client.VolumeCreateOptions{
		Name: name, Driver: "local", Labels: map[string]string{labelCluster: l.opts.Name},
	})
	if err != nil {
		return fmt.Errorf("create volume %s: %w", name, err)
	}
	return nil
}

// bootTime is how long a machine may take to boot. It takes a few seconds, and
// minutes on a host that has much else to do.
const bootTime = 3 * time.Minute

// waitBoot returns when systemd has started what it starts at boot and the
// inner Engine answers.
func (l *Local) waitBoot(ctx context.Context, machine string) error {
	return poll(ctx, bootTime, func(ctx context.Context) error {
		res, err := l.docker.ContainerInspect(ctx, l.containerName(machine), client.ContainerInspectOptions{})
		if err != nil {
			return err
		}
		if st := res.Container.State; st == nil || !st.Running {
			return fmt.Errorf("the machine ended while booting; `docker logs %s` may say why", l.containerName(machine))
		}
		state, err := l.Exec(ctx, machine, "systemctl", "is-system-running")
		var exit *ExitError
		if err != nil && !errors.As(err, &exit) {
			return notYet("%w", err)
		}
		// "degraded" is up as well: some unit failed, which need not concern us.
		if s := strings.TrimSpace(string(state)); s != "running" && s != "degraded" {
			return notYet("systemd is %q", s)
		}
		if _, err := l.Exec(ctx, machine, "docker", "version", "--format", "{{.Server.Version}}"); err != nil {
			return notYet("its Docker Engine does not answer: %w", err)
		}
		return nil
	})
}

// ExitError is a command that ran in a machine and failed.
type ExitError struct {
	Machine string
	Command []string
	Code    int
	Stderr  string
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("%s on %s ended with code %d: %s", strings.Join(e.Command, " "), e.Machine, e.Code, strings.TrimSpace(e.Stderr))
}

// Exec runs a command as root in the machine and returns its standard output.
// A command that ran and failed is an *ExitError, and its output is returned
// beside it.
func (l *Local) Exec(ctx context.Context, machine string, cmd ...string) ([]byte, error) {
	if _, paused := l.paused.Load(machine); paused {
		return nil, fmt.Errorf("run a command on %s: the machine is paused", machine)
	}
	created, err := l.docker.ExecCreate(ctx, l.containerName(machine), client.ExecCreateOptions{
		Cmd: cmd, AttachStdout: true, AttachStderr: true,
	})
	if errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("%s in cluster %s: %w", machine, l.opts.Name, errNoMachine)
	}
	if err != nil {
		return nil, fmt.Errorf("run a command on %s: %w", machine, err)
	}
	conn, err := l.docker.ExecAttach(ctx, created.ID, client.ExecAttachOptions{})
	if err != nil {
		return nil, fmt.Errorf("run a command on %s: %w", machine, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, conn.Close) // ends the copy below
	defer stop()
	var stdout, stderr bytes.Buffer
	if _, err := stdcopy.StdCopy(&stdout, &stderr, conn.Reader); err != nil {
		return nil, fmt.Errorf("read the output of %s on %s: %w", cmd[0], machine, cmp.Or(ctx.Err(), err))
	}
	end, err := l.docker.ExecInspect(ctx, created.ID, client.ExecInspectOptions{})
	if err != nil {
		return nil, fmt.Errorf("ask how %s ended on %s: %w", cmd[0], machine, err)
	}
	if end.ExitCode != 0 {
		return stdout.Bytes(), &ExitError{Machine: machine, Command: cmd, Code: end.ExitCode, Stderr: stderr.String()}
	}
	return stdout.Bytes(), nil
}

// file is one to be put into a machine.
type file struct {
	path string // absolute
	mode int64
	size int64
	data io.Reader
}

// copyIn writes files into a machine. A name is replaced whole: a process that
// runs from the old file keeps it.
func (l *Local) copyIn(ctx context.Context, machine string, files ...file) error {
	const suffix = ".new"
	r, w := io.Pipe()
	go func() {
		t := tar.NewWriter(w)
		for _, f := range files {
			if err := t.WriteHeader(&tar.Header{Name: strings.TrimPrefix(f.path, "/") + suffix, Mode: f.mode, Size: f.size, Typeflag: tar.TypeReg}); err != nil {
				w.CloseWithError(err)
				return
			}
			if _, err := io.Copy(t, f.data); err != nil {
				w.CloseWithError(err)
				return
			}
		}
		w.CloseWithError(t.Close())
	}()
	_, err := l.docker.CopyToContainer(ctx, l.containerName(machine), client.CopyToContainerOptions{DestinationPath: "/", Content: r})
	_ = r.Close()
	if err != nil {
		return fmt.Errorf("copy files to %s: %w", machine, err)
	}
	for _, f := range files {
		if _, err := l.Exec(ctx, machine, "mv", "--", f.path+suffix, f.path); err != nil {
			return err
		}
	}
	return nil
}
