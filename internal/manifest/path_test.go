package manifest

import (
	"slices"
	"strings"
	"testing"
)

func TestCompletePath(t *testing.T) {
	files := []File{{Name: "a.yaml", Data: []byte("containers:\n  web: {environment: {MODE: a}}\n  db: {}\nstacks: {lamp: {}}\ncluster: {lamp: 3}\n")},
		{Name: "broken.yaml", Data: []byte("a: [")}}
	for _, c := range []struct{ word, want string }{
		{"", "argosy= app= containers. units. stacks. cluster. configs."},
		{"c", "containers. cluster. configs."},
		{"containers.", "containers.web. containers.db."},
		{"containers.w", "containers.web."},
		{"containers.web.ima", "containers.web.image="},
		{"containers.web.healthcheck.st", "containers.web.healthcheck.start_period= containers.web.healthcheck.start_interval="},
		{"containers.web.environment.", "containers.web.environment.MODE="},
		{"containers.web.deploy.resources.", "containers.web.deploy.resources.limits. containers.web.deploy.resources.reservations."},
		{"stacks.lamp.pl", "stacks.lamp.placement."},
		{"cluster.", "cluster.lamp."},
		{"frob.", ""},
	} {
		var got []string
		for _, s := range CompletePath(files, c.word) {
			s, _, _ = strings.Cut(s, "\t")
			got = append(got, s)
		}
		if want := strings.Fields(c.want); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", c.word, got, want)
		}
	}
}
