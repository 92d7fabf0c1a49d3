package docker

import (
	"errors"
	"testing"

	"github.com/argosy-cluster/argosy/internal/agent/core"
)

// What an Engine says decides whether the same container is tried again, or a new one made. The sentences are Engines' own.
func TestFaultKinds(t *testing.T) {
	for _, c := range []struct {
		what, text string
		want       core.FaultKind
	}{
		{"start", "Error response from daemon: network 4f2a not found", core.FaultBroken},
		{"start", "failed to start shim: mkdir /run/containerd/io.containerd.runtime.v2.task/moby/4673f4f4: file exists: unknown", core.FaultBroken},
		{"start", "failed to create shim task: OCI runtime create failed: container with id 4673f4f4 already exists: unknown", core.FaultBroken},
		{"start", "task 4673f4f4 already exists: unknown", core.FaultBroken},
		{"start", "failed to start shim: fork/exec /usr/bin/containerd-shim: resource temporarily unavailable", core.FaultOther},
		{"create", "mkdir /var/lib/docker/x: file exists", core.FaultOther},
		{"start", "driver failed programming external connectivity: Bind for 0.0.0.0:80 failed: port is already allocated", core.FaultOther},
		{"create", "No such image: shop/web:1", core.FaultNoImage},
	} {
		var f *core.Fault
		if err := fault(c.what, errors.New(c.text)); !errors.As(err, &f) || f.Kind != c.want {
			t.Errorf("%s: %q is of kind %v, not %v", c.what, c.text, f.Kind, c.want)
		}
	}
}
