package executor

import (
	"context"
	"maps"
	"sync"
	"testing"
	"testing/synctest"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/agent/systemd"
	"github.com/argosy-cluster/argosy/internal/unitfile"
)

// unitTwin is systemd in memory, whose units all start.
type unitTwin struct {
	mu    sync.Mutex
	units map[string]core.Container
	looks map[string]int // by unit, before it was started
}

func (u *unitTwin) Glance(context.Context) ([]systemd.Glimpse, error) { return nil, nil }

func (u *unitTwin) Watch(ctx context.Context, ready func(), _ func(string)) error {
	ready()
	<-ctx.Done()
	return ctx.Err()
}

func (u *unitTwin) Look(_ context.Context, id string) (core.Container, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	c, ok := u.units[id]
	if !ok {
		return c, &core.Fault{Kind: core.FaultGone}
	}
	if c.State == core.Created {
		u.looks[c.Unit.Name]++
	}
	return c, nil
}

func (u *unitTwin) Create(_ context.Context, c systemd.Creation) (string, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	name := unitfile.ForReplica(c.Unit.GetName(), c.Assignment.GetKey().GetNumber())
	id := "unit:" + name + ":1"
	u.units[id] = core.Container{ContainerID: id, Owner: core.IDOf(c.Assignment), Member: c.Unit.GetName(), Definition: c.Definition, State: core.Created,
		Revision: c.Assignment.GetRevision(), Unit: &core.Unit{Name: name, Load: "loaded", Active: "inactive"}}
	return id, nil
}

func (u *unitTwin) Start(_ context.Context, id string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	c := u.units[id]
	c.State, c.Health, c.Unit = core.Running, core.Healthy, &core.Unit{Name: c.Unit.Name, Load: "loaded", Active: "active"}
	u.units[id] = c
	return nil
}

func (u *unitTwin) Stop(context.Context, string) error   { return nil }
func (u *unitTwin) Remove(context.Context, string) error { return nil }

// TestUnitsAreLookedAtWhereThatTellsMore: between the file of a unit and its start systemd is asked about it only where somebody needs the
// answer. To ask has systemd load it, forget it and load it again.
func TestUnitsAreLookedAtWhereThatTellsMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &unitTwin{units: map[string]core.Container{}, looks: map[string]int{}}
		x := New(Config{Engine: newTwin(), Files: noFiles{}, Units: u})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go x.Run(ctx)
		x.Act()
		var all []*argosyv1.Assignment
		for i, units := range [][]*argosyv1.Unit{
			{{Name: "alone@.service", Content: "[Service]\n"}},
			{{Name: "loaded.service", Content: "[Service]\n", NotStarted: true}},
			{{Name: "a.service", Content: "[Service]\n"}, {Name: "b.service", Content: "[Unit]\nAfter=a.service\n"}},
		} {
			a := replica(uint32(i+1), "")
			a.Containers, a.Units = nil, units
			all = append(all, a)
		}
		x.Assign(true, all, nil)
		synctest.Wait()
		if want := map[string]int{"loaded.service": 1, "a.service": 1, "b.service": 1}; !maps.Equal(u.looks, want) {
			t.Errorf("before they were started, units were looked at so often: %v", u.looks)
		}
		for _, o := range x.Observations() {
			for _, m := range o.GetMembers() {
				want := "active"
				if m.GetName() == "loaded.service" {
					want = "inactive"
				}
				if m.GetUnit().GetActiveState() != want || m.GetUnit().GetLoadState() != "loaded" {
					t.Errorf("%s is told as %v", m.GetName(), m)
				}
			}
		}
		if n := len(x.Observations()); n != 3 {
			t.Errorf("%d replicas are told", n)
		}
	})
}
