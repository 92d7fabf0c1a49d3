package cli

import (
	"strings"
	"testing"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

func TestUpgradeNotes(t *testing.T) {
	of := func(name, version string) *argosyv1.ServerStatus {
		s := &argosyv1.ServerStatus{Name: name}
		if version != "" {
			s.Health = &argosyv1.ServerHealth{Version: version}
		}
		return s
	}
	for name, c := range map[string]struct {
		res  *argosyv1.ListServersResponse
		want string
	}{
		"one version":      {&argosyv1.ListServersResponse{Servers: []*argosyv1.ServerStatus{of("s1", "v1"), of("s2", "v1"), of("s3", "")}}, ""},
		"two versions":     {&argosyv1.ListServersResponse{Servers: []*argosyv1.ServerStatus{of("s1", "v2"), of("s2", "v1"), of("s3", "v1")}}, "Servers are of different versions (s2, s3: v1; s1: v2), which work together while they are upgraded."},
		"the layout waits": {&argosyv1.ListServersResponse{LayoutMessage: "the store's layout 1 becomes 2 later"}, "The store's layout 1 becomes 2 later."},
	} {
		if got := strings.Join(upgradeNotes(c.res), "\n"); got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
