package docker

import (
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/mount"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/claims"
)

// TestSharedVolume: what is bound is the path of the claim, below its slice; without the claim there is no container, and never an
// empty volume of the machine's own.
func TestSharedVolume(t *testing.T) {
	e, ref := engine(t, nil)
	spec := &argosyv1.ContainerSpec{Name: "mysql", Image: ref, PullPolicy: argosyv1.PullPolicy_PULL_POLICY_NEVER,
		Mounts: []*argosyv1.Mount{{Type: argosyv1.MountType_MOUNT_TYPE_VOLUME, Source: "data", Target: "/data"}}}
	a := assignment(spec)
	a.Stack = &argosyv1.StackSpec{Volumes: []*argosyv1.VolumeSpec{{Name: "data", Class: argosyv1.VolumeClass_VOLUME_CLASS_TIMED}}}
	if err := e.EnsureVolumes(t.Context(), a, spec); err != nil {
		t.Fatal(err)
	}
	lease := core.Claim{Volume: "data", Token: claims.Token{Generation: 1, Revision: 7}, Path: t.TempDir() + "/1-7/data", Slice: "argosy-claim-x.slice", Group: "/argosy.slice/argosy-claim.slice/argosy-claim-x.slice"}
	for _, bad := range []*core.Claim{nil, {Volume: "other", Path: "/x"}, {Volume: "data"}} {
		if _, err := e.options(Creation{Assignment: a, Spec: spec, Lease: bad}); err == nil || !strings.Contains(err.Error(), "not local") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	opts, err := e.options(Creation{Assignment: a, Spec: spec, Definition: "d", Lease: &lease})
	if err != nil {
		t.Fatal(err)
	}
	m := opts.HostConfig.Mounts[0]
	if m.Type != mount.TypeBind || m.Source != lease.Path || m.BindOptions == nil || m.BindOptions.CreateMountpoint || opts.HostConfig.RestartPolicy.Name != "no" {
		t.Errorf("%+v, %+v", m, opts.HostConfig.RestartPolicy)
	}
	parent := lease.Group
	if e.Info().CgroupDriver == "systemd" {
		parent = lease.Slice
	}
	if opts.HostConfig.CgroupParent != parent || opts.Config.Labels[labelClaims] != "data=1-7" || !slices.Contains(opts.Config.Env, "ARGOSY_FENCING_TOKEN=1-7") {
		t.Errorf("%q, %v, %v", opts.HostConfig.CgroupParent, opts.Config.Labels, opts.Config.Env)
	}
	// The path is not there: the Engine refuses, and does not make it.
	if id, err := e.Create(t.Context(), Creation{Assignment: a, Spec: spec, Definition: "definition", Lease: &lease}); err == nil {
		t.Errorf("container %s was created for a path that is not there", id)
	}
}
