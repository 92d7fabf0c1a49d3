package core_test

import (
	"fmt"
	"strings"
	"testing"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
)

func TestStrays(t *testing.T) {
	volume := func(stack string, number uint32, name string) core.Volume {
		return core.Volume{Key: core.Key{Tenant: "default", App: "shop", Stack: stack, Number: number}, Name: name}
	}
	assigned := func(stack string, number uint32) *argosyv1.Assignment {
		return &argosyv1.Assignment{Key: &argosyv1.ReplicaKey{Tenant: "default", App: "shop", Stack: stack, Number: number}}
	}
	volumes := []core.Volume{volume("lamp", 2, "logs"), volume("lamp", 2, "data"), volume("lamp", 1, "data"), volume("db", 1, "data")}
	leaves := assigned("db", 1)
	leaves.Goal = argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE
	var many []core.Volume
	for i := range core.MostStrays + 10 {
		many = append(many, volume("lamp", uint32(i+1), "data"))
	}
	for _, c := range []struct {
		what    string
		wanted  []*argosyv1.Assignment
		volumes []core.Volume
		want    string
	}{
		{"nothing is assigned", nil, volumes, "db.1/data lamp.1/data lamp.2/data lamp.2/logs"},
		{"a replica has all of its volumes", []*argosyv1.Assignment{assigned("lamp", 2)}, volumes, "db.1/data lamp.1/data"},
		{"one that is to be removed has its own until it is gone", []*argosyv1.Assignment{leaves, assigned("lamp", 1), assigned("lamp", 2)}, volumes, ""},
	} {
		var got []string
		for _, v := range core.Strays(c.wanted, c.volumes).GetVolumes() {
			got = append(got, fmt.Sprintf("%s.%d/%s", v.GetReplica().GetStack(), v.GetReplica().GetNumber(), v.GetName()))
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %s, want %s", c.what, s, c.want)
		}
	}
	if n := len(core.Strays(nil, many).GetVolumes()); n != core.MostStrays {
		t.Errorf("%d are reported, want %d", n, core.MostStrays)
	}
}
