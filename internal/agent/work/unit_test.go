package work

import (
	"strings"
	"testing"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
)

// oneUnit is a machine with one unit.
type oneUnit struct{ Members }

func (oneUnit) Member(core.Key, string) (core.Container, bool) {
	return core.Container{ContainerID: "unit:web.service:1", State: core.Running, Unit: &core.Unit{Name: "web.service"}}, true
}

// TestUnitsAreNotEntered: what only containers have is refused for a unit in words, and the Engine is not asked.
func TestUnitsAreNotEntered(t *testing.T) {
	d := New(Config{Members: oneUnit{}})
	key := &argosyv1.ReplicaKey{Tenant: "default", App: "shop", Stack: "web", Number: 1}
	_, err := d.start(t.Context(), &argosyv1.ExecWork{Key: key, Member: "web.service"})
	for what, got := range map[string]struct {
		err  error
		says string
	}{
		"exec":         {err, "no container to enter"},
		"port-forward": {d.dial(t.Context(), nil, &argosyv1.DialWork{Key: key, Member: "web.service", Port: 80}, nil), "ports are those of its machine"},
		"cp":           {d.copy(t.Context(), nil, &argosyv1.CopyWork{Key: key, Member: "web.service", Path: "/etc"}, nil), "no files of its own"},
	} {
		if got.err == nil || !strings.Contains(got.err.Error(), "shop/web.1/web.service is a unit") || !strings.Contains(got.err.Error(), got.says) {
			t.Errorf("%s: %v", what, got.err)
		}
	}
}
