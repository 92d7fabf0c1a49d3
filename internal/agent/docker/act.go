package docker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

// Start starts a container.
func (e *Engine) Start(ctx context.Context, containerID string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	_, err := e.api.ContainerStart(ctx, containerID, client.ContainerStartOptions{})
	return fault("start", err)
}

// defaultGrace is what the Engine gives a container that says nothing.
const defaultGrace = 10 * time.Second

// Stop sends the container its stop signal and kills it after grace; a negative grace means the container's own. It returns
// when the container has ended.
func (e *Engine) Stop(ctx context.Context, containerID string, grace time.Duration) error {
	var opts client.ContainerStopOptions
	patience := callTime + defaultGrace
	if grace >= 0 {
		n := seconds(grace)
		opts.Timeout, patience = &n, callTime+grace
	} else if res, err := e.api.ContainerInspect(ctx, containerID, client.ContainerInspectOptions{}); err == nil && res.Container.Config != nil {
		if t := res.Container.Config.StopTimeout; t != nil && *t > 0 {
			patience = callTime + time.Duration(*t)*time.Second
		}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := e.api.ContainerStop(ctx, containerID, opts)
	return fault("stop", err)
}

// Remove removes a container that does not run, with its anonymous volumes, and with force whatever the Engine calls it. A container
// that is being removed by somebody else counts as removed.
func (e *Engine) Remove(ctx context.Context, containerID string, force bool) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	_, err := e.api.ContainerRemove(ctx, containerID, client.ContainerRemoveOptions{RemoveVolumes: true, Force: force})
	if errdefs.IsNotFound(err) {
		return nil
	}
	err = fault("remove", err)
	if f := (*core.Fault)(nil); force && errors.As(err, &f) {
		f.Message += "; the Docker Engine of this machine keeps a container whose process is gone: if it does not let go of it, restart the " +
			"Engine with: systemctl restart docker (other containers run on)"
	}
	return err
}

// EnsureVolumes makes the volumes that a member mounts, with their labels. Those that are there stay as they are.
func (e *Engine) EnsureVolumes(ctx context.Context, a *argosyv1.Assignment, spec *argosyv1.ContainerSpec) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	for _, m := range spec.GetMounts() {
		if m.GetType() != argosyv1.MountType_MOUNT_TYPE_VOLUME {
			continue
		}
		if core.Shared(a.GetStack(), m.GetSource()) != nil {
			continue // the guard mounts it
		}
		name := e.volumeName(core.KeyOf(a.GetKey()), m.GetSource())
		_, err := e.api.VolumeCreate(ctx, client.VolumeCreateOptions{Name: name, Driver: "local", Labels: e.volumeLabels(a, m.GetSource())})
		if err != nil {
			return fault("make volume "+m.GetSource(), err)
		}
		// Its labels are asked for separately: after a restart, an Engine answers a create of a volume that it has and that
		// no container uses without them.
		res, err := e.api.VolumeInspect(ctx, name, client.VolumeInspectOptions{})
		if err != nil {
			return fault("look at volume "+m.GetSource(), err)
		}
		// Somebody else's data must not become this replica's by having the right name.
		if l := res.Volume.Labels; l[labelCluster] != e.cfg.ClusterID || l[labelTenant] != a.GetKey().GetTenant() {
			return &core.Fault{Kind: core.FaultRefused, Message: fmt.Sprintf("the Docker volume %s on this machine was not made by this cluster; "+
				"look at what is in it, and remove it with: docker volume rm %s", name, name)}
		}
	}
	return nil
}

func (e *Engine) volumeLabels(a *argosyv1.Assignment, volume string) map[string]string {
	labels := e.replicaLabels(a)
	labels[labelVolume] = volume
	return labels
}

// RemoveVolumes removes all volumes of a replica, whatever its incarnation, found by their labels.
func (e *Engine) RemoveVolumes(ctx context.Context, k core.Key) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	res, err := e.api.VolumeList(ctx, client.VolumeListOptions{Filters: e.mine()})
	if err != nil {
		return fault("list volumes", err)
	}
	var errs []error
	for _, v := range res.Items {
		if v.Labels[labelCluster] != e.cfg.ClusterID || v.Name != e.volumeName(k, v.Labels[labelVolume]) {
			continue
		}
		if _, err := e.api.VolumeRemove(ctx, v.Name, client.VolumeRemoveOptions{}); err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, fault("remove volume "+v.Labels[labelVolume], err))
		}
	}
	return errors.Join(errs...)
}

// Volumes lists the cluster's volumes on this machine. What is labelled in another way than the agent does it is nobody's.
func (e *Engine) Volumes(ctx context.Context) ([]core.Volume, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	res, err := e.api.VolumeList(ctx, client.VolumeListOptions{Filters: e.mine()})
	if err != nil {
		return nil, fault("list volumes", err)
	}
	var out []core.Volume
	for _, v := range res.Items {
		number, err := strconv.ParseUint(v.Labels[labelNumber], 10, 32)
		k := core.Key{Tenant: v.Labels[labelTenant], App: v.Labels[labelApp], Stack: v.Labels[labelStack], Number: uint32(number)}
		if err != nil || v.Labels[labelCluster] != e.cfg.ClusterID || len(v.Name) > maxVolumeName || v.Name != e.volumeName(k, v.Labels[labelVolume]) {
			continue
		}
		out = append(out, core.Volume{Key: k, Name: v.Labels[labelVolume], EngineName: v.Name})
	}
	return out, nil
}

// maxVolumeName is above what five DNS labels and a prefix come to.
const maxVolumeName = 512

func fileMode(mode uint32) fs.FileMode {
	return fs.FileMode(mode & 0o7777)
}

func isKind(err error, kind core.FaultKind) bool {
	var f *core.Fault
	return errors.As(err, &f) && f.Kind == kind
}
