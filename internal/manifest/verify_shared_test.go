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
