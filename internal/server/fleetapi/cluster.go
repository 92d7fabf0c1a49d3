package fleetapi

import (
	"context"

	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
)

// Cluster is what the API is an API of. Errors are those of argosy.v1: *connect.Error.
type Cluster interface {
	ListUnits(context.Context, *argosyv1.ListUnitsRequest) (*argosyv1.ListUnitsResponse, error)
	SubmitUnit(context.Context, *argosyv1.SubmitUnitRequest) (*argosyv1.SubmitUnitResponse, error)
	SetUnitGoal(context.Context, *argosyv1.SetUnitGoalRequest) (*argosyv1.SetUnitGoalResponse, error)
	DeleteApp(context.Context, *argosyv1.DeleteAppRequest) (*argosyv1.DeleteAppResponse, error)
	ListMachines(context.Context, *argosyv1.ListMachinesRequest) (*argosyv1.ListMachinesResponse, error)
	LabelMachine(context.Context, *argosyv1.LabelMachineRequest) (*argosyv1.MachineStatus, error)
}

// Remote is the cluster behind a server.
func Remote(hc connect.HTTPClient, base string) Cluster {
	return remote{
		units:    argosyv1connect.NewUnitServiceClient(hc, base),
		apps:     argosyv1connect.NewAppServiceClient(hc, base),
		machines: argosyv1connect.NewMachineServiceClient(hc, base),
	}
}

type remote struct {
	units    argosyv1connect.UnitServiceClient
	apps     argosyv1connect.AppServiceClient
	machines argosyv1connect.MachineServiceClient
}

func ask[Q, A any](ctx context.Context, rpc func(context.Context, *connect.Request[Q]) (*connect.Response[A], error), q *Q) (*A, error) {
	res, err := rpc(ctx, connect.NewRequest(q))
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

func (r remote) ListUnits(ctx context.Context, q *argosyv1.ListUnitsRequest) (*argosyv1.ListUnitsResponse, error) {
	return ask(ctx, r.units.ListUnits, q)
}

func (r remote) SubmitUnit(ctx context.Context, q *argosyv1.SubmitUnitRequest) (*argosyv1.SubmitUnitResponse, error) {
	return ask(ctx, r.units.SubmitUnit, q)
}

func (r remote) SetUnitGoal(ctx context.Context, q *argosyv1.SetUnitGoalRequest) (*argosyv1.SetUnitGoalResponse, error) {
	return ask(ctx, r.units.SetUnitGoal, q)
}

func (r remote) DeleteApp(ctx context.Context, q *argosyv1.DeleteAppRequest) (*argosyv1.DeleteAppResponse, error) {
	return ask(ctx, r.apps.DeleteApp, q)
}

func (r remote) ListMachines(ctx context.Context, q *argosyv1.ListMachinesRequest) (*argosyv1.ListMachinesResponse, error) {
	return ask(ctx, r.machines.ListMachines, q)
}

func (r remote) LabelMachine(ctx context.Context, q *argosyv1.LabelMachineRequest) (*argosyv1.MachineStatus, error) {
	return ask(ctx, r.machines.LabelMachine, q)
}
