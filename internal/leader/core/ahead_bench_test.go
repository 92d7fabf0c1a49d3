package core_test

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/leader/core"
	"github.com/argosy-cluster/argosy/internal/state"
)

// thousandStacks is an app of 1,000 stacks with ten replicas each.
func thousandStacks() *argosyv1.AppSpec {
	spec := &argosyv1.AppSpec{Name: "big"}
	for i := range 1000 {
		name := fmt.Sprint("s", i)
		spec.Containers = append(spec.Containers, &argosyv1.ContainerSpec{Name: "c" + name, Image: "web:1",
			Resources: &argosyv1.Resources{ReserveCpuMilli: int64(50 + i%7*25), ReserveMemory: int64(64+i%5*32) << 20}})
		spec.Stacks = append(spec.Stacks, &argosyv1.StackSpec{Name: name, Containers: []string{"c" + name}, Placement: &argosyv1.Placement{Spread: []string{"machine"}}})
		spec.Cluster = append(spec.Cluster, &argosyv1.ClusterEntry{Stack: name, Count: 10})
	}
	return spec
}

// BenchmarkPlanAhead plans 1,000 stacks of ten replicas on 1,000 machines, new and as they run already, with a forecast. The
// whole command is to take 300 ms.
func BenchmarkPlanAhead(b *testing.B) {
	spec := thousandStacks()
	plan := func(v *core.View, ahead bool) (*argosyv1.PlanResponse, error) {
		if ahead {
			return v.PlanAhead("default", spec, nil)
		}
		return v.Plan("default", spec)
	}
	for _, running := range []bool{false, true} {
		for _, ahead := range []bool{false, true} {
			b.Run(fmt.Sprintf("running=%v/forecast=%v", running, ahead), func(b *testing.B) {
				r := newRig(b, 1000)
				if running {
					w := town{t: b, c: r.c, now: r.now, revision: r.revision}
					w.apply(spec)
					r.revision = w.revision
				}
				var size int
				for b.Loop() {
					out, err := plan(r.c.View(r.now), ahead)
					if err != nil {
						b.Fatal(err)
					}
					size = proto.Size(out)
				}
				b.ReportMetric(float64(size), "answer-bytes")
			})
		}
	}
}

// BenchmarkAsk is what ps and explain ask of a cluster of 10,000 replicas on 1,000 machines, each to take 100 ms as a whole.
func BenchmarkAsk(b *testing.B) {
	r := newRig(b, 1000)
	r.apply("shop", "web:1", 10_000)
	if n := r.settle(); n != 10_000 {
		b.Fatalf("%d were assigned", n)
	}
	k := state.Key{Tenant: "default", App: "shop", Stack: "web", Number: 4711}
	b.Run("ps", func(b *testing.B) {
		for b.Loop() {
			res := &argosyv1.ListReplicasResponse{Replicas: r.c.View(r.now).Statuses("default", "")}
			raw, err := proto.Marshal(res)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(len(raw)), "answer-bytes")
		}
	})
	for _, rules := range []bool{false, true} {
		b.Run(fmt.Sprintf("explain/rules=%v", rules), func(b *testing.B) {
			for b.Loop() {
				if _, err := r.c.View(r.now).Explain(k, rules); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
