package manifest

import (
	"fmt"
	"testing"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// A specification that no manifest made is held to the same: one shared volume for each container.
func TestVerifyOneShared(t *testing.T) {
	mount := func(names ...string) (out []*argosyv1.Mount) {
		for _, n := range names {
			out = append(out, &argosyv1.Mount{Type: argosyv1.MountType_MOUNT_TYPE_VOLUME, Source: n, Target: "/" + n})
		}
		return out
	}
	device := func(name string) *argosyv1.VolumeSpec {
		return &argosyv1.VolumeSpec{Name: name, Device: &argosyv1.DeviceSource{Device: "LABEL=" + name}}
	}
	stack := &argosyv1.StackSpec{Name: "s", Containers: []string{"db", "log"}, Volumes: []*argosyv1.VolumeSpec{device("a"), device("b"), {Name: "c"}}}
	for _, k := range []struct {
		db, log []*argosyv1.Mount
		want    string
	}{
		{mount("a", "c", "a"), mount("b"), "<nil>"},
		{mount("a"), append(mount("c", "b"), &argosyv1.Mount{Type: argosyv1.MountType_MOUNT_TYPE_BIND, Source: "a"}), "<nil>"},
		{mount("c"), mount("b", "c", "a"), "stack s: container log mounts shared volumes b and a, and can be held back for the lease of one only"},
	} {
		err := verifyShared(&argosyv1.AppSpec{Stacks: []*argosyv1.StackSpec{stack},
			Containers: []*argosyv1.ContainerSpec{{Name: "db", Mounts: k.db}, {Name: "log", Mounts: k.log}, {Name: "elsewhere", Mounts: mount("a", "b")}}})
		if got := fmt.Sprint(err); got != k.want {
			t.Errorf("%s, not %s", got, k.want)
		}
	}
}

// The class of a volume with a fence is fenced, and of no other.
func TestVerifyFence(t *testing.T) {
	device, fenced := &argosyv1.DeviceSource{Device: "LABEL=a", Filesystem: "ext4"}, argosyv1.VolumeClass_VOLUME_CLASS_FENCED
	for _, k := range []struct {
		v    *argosyv1.VolumeSpec
		want string
	}{
		{&argosyv1.VolumeSpec{Device: device, Fence: "san", Class: fenced}, "<nil>"},
		{&argosyv1.VolumeSpec{Mount: &argosyv1.MountSource{Type: "nfs", Source: "s:/x"}, Fence: "san", Class: fenced}, "<nil>"},
		{&argosyv1.VolumeSpec{Device: device, Class: fenced}, "a volume on a device is of class timed+detected"},
		{&argosyv1.VolumeSpec{Device: device, Fence: "san", Class: argosyv1.VolumeClass_VOLUME_CLASS_TIMED_DETECTED}, "a volume with a fence is of class fenced"},
		{&argosyv1.VolumeSpec{Mount: &argosyv1.MountSource{Type: "nfs", Source: "s:/x"}, Fence: "san", Class: argosyv1.VolumeClass_VOLUME_CLASS_TIMED}, "a volume with a fence is of class fenced"},
		{&argosyv1.VolumeSpec{Device: device, Fence: "/bin/sh", Class: fenced}, `the name "/bin/sh" does not begin with a small letter`},
		{&argosyv1.VolumeSpec{Fence: "san"}, "it is local, and has a fence"},
	} {
		if got := fmt.Sprint(verifyVolume(k.v)); got != k.want {
			t.Errorf("%v: %s, not %s", k.v, got, k.want)
		}
	}
}
