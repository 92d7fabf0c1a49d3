package core

import (
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/state"
)

// View is the cluster as the leader sees it at one instant: the records of the store (the methods of State), and what
// was seen of them. It holds only inside the function it was given to; records may be kept, never written to.
type View struct {
	*state.State
	core *Core
	now  time.Time
}

// Core is the leader's decisions as a step function.
type Core struct{}

// Status puts what is wanted of a replica beside what was seen of it.
func (v *View) Status(r *argosyv1.Replica) *argosyv1.ReplicaStatus { return nil }

// AppStatus counts an app's replicas.
func (v *View) AppStatus(a *argosyv1.App) *argosyv1.AppStatus { return nil }

// MachineStatus says how a machine stands.
func (v *View) MachineStatus(m *argosyv1.Machine) *argosyv1.MachineStatus { return nil }

// Usage lists the latest usage of an app's members (of all apps' when app is empty, of all tenants' when both are) and of
// all machines, by name.
func (v *View) Usage(tenant, app string) *argosyv1.ListUsageResponse { return nil }

// Plan says what making a spec the app's next revision would change.
func (v *View) Plan(tenant string, spec *argosyv1.AppSpec) (*argosyv1.PlanResponse, error) {
	return nil, nil
}

// Explain says why a replica is where it is, or nowhere. It leaves history to the caller.
func (v *View) Explain(key state.Key) (*argosyv1.ExplainResponse, error) { return nil, nil }
