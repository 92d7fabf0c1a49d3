package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/manifest"
	"github.com/argosy-cluster/argosy/internal/placement"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/tracing"
)

// keptRevisions is how many revisions of an app are kept beside those that replicas still run.
const keptRevisions = 50

// appService answers argosy.v1.AppService.
type appService struct{ *Server }

func (s appService) Plan(ctx context.Context, r *connect.Request[argosyv1.PlanRequest]) (*connect.Response[argosyv1.PlanResponse], error) {
	tenant, spec, err := s.checked(ctx, r.Msg.GetTenant(), r.Msg.GetSpec())
	if err != nil {
		return nil, err
	}
	if err := checkLossLabels(r.Msg.GetLossLabels()); err != nil {
		return nil, err
	}
	warnings := s.pin(ctx, tenant, spec)
	err = s.read(func(_ time.Time, v *leader.View) error {
		keepPins(spec, v.AppRevision(tenant, spec.Name, v.App(tenant, spec.Name).GetRevision()).GetSpec())
		return nil
	})
	if err != nil {
		return nil, err
	}
	var res *argosyv1.PlanResponse
	if r.Msg.GetForecast() {
		res, err = s.leader.PlanAhead(tenant, spec, r.Msg.GetLossLabels())
	} else {
		res, err = s.leader.Plan(tenant, spec)
	}
	if err != nil {
		return nil, planError(err)
	}
	res.Warnings = append(warnings, res.Warnings...)
	return connect.NewResponse(res), nil
}

func checkLossLabels(labels []string) error {
	if len(labels) > leader.MaxLossLabels {
		return invalid("the loss of %d labels is asked for; at most %d are looked at", len(labels), leader.MaxLossLabels)
	}
	for _, label := range labels {
		if placement.CheckKey(label) != nil && label != placement.Machine {
			return invalid("%q cannot be a label's key, so no machine has it", clip(label))
		}
	}
	return nil
}

// planError: what the leader's core refuses to plan is the caller's to change.
func planError(err error) error {
	if err = rpcError(err); connect.CodeOf(err) == connect.CodeInternal {
		return refused("%w", errors.Unwrap(err))
	}
	return err
}

func (s appService) Apply(ctx context.Context, r *connect.Request[argosyv1.ApplyRequest]) (*connect.Response[argosyv1.ApplyResponse], error) {
	tenant, spec, err := s.checked(ctx, r.Msg.GetTenant(), r.Msg.GetSpec())
	if err != nil {
		return nil, err
	}
	res := &argosyv1.ApplyResponse{}
	warnings := s.pin(ctx, tenant, spec)
	err = s.change(ctx, change{
		rpc: "Apply", tenant: tenant, key: r.Msg.IdempotencyKey, request: r.Msg, response: res,
		decide: func(now time.Time, v *leader.View) (leader.Proposal, error) {
			if r.Msg.MustNotExist && v.App(tenant, spec.Name) != nil {
				return leader.Proposal{}, exists("app %s exists already", spec.Name)
			}
			res.Warnings = append(warnings, missingSecrets(v, tenant, spec)...)
			return s.revise(ctx, now, v, tenant, spec, r.Msg.ExpectedRevision, "apply", res)
		},
	})
	return respond(res, err)
}

// revise makes a spec the app's next revision, unless it is the current one already.
func (s *Server) revise(ctx context.Context, now time.Time, v *leader.View, tenant string, spec *argosyv1.AppSpec, expected uint64, cause string, res *argosyv1.ApplyResponse) (leader.Proposal, error) {
	old := v.App(tenant, spec.Name)
	if err := mayChange(old, expected); err != nil {
		return leader.Proposal{}, err
	}
	app := &argosyv1.App{Tenant: tenant, Name: spec.Name, Uid: s.newID(), CreatedAt: timestamppb.New(now)}
	from := "absent"
	if old != nil {
		current := v.AppRevision(tenant, spec.Name, old.Revision)
		keepPins(spec, current.GetSpec())
		if current != nil && proto.Equal(current.Spec, spec) {
			res.App, res.Changed = old, false
			return leader.Proposal{}, nil
		}
		app = proto.CloneOf(old)
		from = fmt.Sprintf("revision %d", old.Revision)
	}
	app.Revision++
	actor := actorOf(ctx)
	revision := &argosyv1.Revision{Tenant: tenant, App: app.Name, AppUid: app.Uid, Number: app.Revision, Spec: spec,
		CreatedAt: timestamppb.New(now), Author: actor, Cause: cause, Traceparent: tracing.Parent(ctx)}
	ops, err := puts(
		record{store.AppKey(tenant, app.Name), app},
		record{store.RevisionKey(tenant, app.Name, app.Revision), revision})
	if err != nil {
		return leader.Proposal{}, err
	}
	res.App, res.Changed = app, true
	return leader.Proposal{
		Ops: append(ops, oldRevisions(v, tenant, app.Name, app.Revision)...),
		Transitions: []*argosyv1.Transition{{Kind: argosyv1.TransitionKind_TRANSITION_KIND_APP, Tenant: tenant, App: app.Name,
			From: from, To: fmt.Sprintf("revision %d", app.Revision), Cause: cause, Actor: actor}},
	}, nil
}

// keepPins takes over the digests of images that nobody could resolve now and that have not changed by name: a registry
// that is away for a moment changes nothing.
func keepPins(spec, current *argosyv1.AppSpec) {
	pinned := map[string]*argosyv1.ContainerSpec{}
	for _, c := range current.GetContainers() {
		pinned[c.Name] = c
	}
	for _, c := range spec.Containers {
		if old := pinned[c.Name]; c.ImageDigest == "" && old.GetImage() == c.Image && old.GetImageDigest() != "" {
			c.ImageDigest, c.ImageOrigin = old.ImageDigest, old.ImageOrigin
		}
	}
}

// mayChange checks what the caller has seen against what is. A nil app is one that does not exist.
func mayChange(app *argosyv1.App, expected uint64) error {
	switch {
	case app.GetDeleting():
		return refused("app %s is being deleted: wait until it is gone ('argosy ps %s')", app.Name, app.Name)
	case expected != 0 && app == nil:
		return aborted("the app does not exist, but was expected at revision %d", expected)
	case expected != 0 && app.Revision != expected:
		return aborted("app %s is at revision %d, not %d: somebody changed it; look at it again ('argosy plan') and repeat", app.Name, app.Revision, expected)
	}
	return nil
}

// oldRevisions forgets revisions that are neither among the last keptRevisions nor run by any replica.
func oldRevisions(v *leader.View, tenant, app string, current uint64) []store.Op {
	used := map[uint64]bool{}
	for _, r := range v.AppReplicas(state.AppKey{Tenant: tenant, App: app}) {
		used[r.Revision] = true
	}
	var ops []store.Op
	for _, r := range v.Revisions(tenant, app) {
		if r.Number+keptRevisions <= current && !used[r.Number] && len(ops) < 2*keptRevisions {
			ops = append(ops, store.Delete(store.RevisionKey(tenant, app, r.Number)))
		}
	}
	return ops
}

// missingSecrets warns of secrets that containers name and the cluster does not have.
func missingSecrets(v *leader.View, tenant string, spec *argosyv1.AppSpec) []string {
	missing := map[string][]string{}
	for _, c := range spec.Containers {
		for _, ref := range c.Secrets {
			if v.Secret(tenant, ref.Source) == nil {
				missing[ref.Source] = append(missing[ref.Source], c.Name)
			}
		}
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		out = append(out, fmt.Sprintf("secret %s is not set, so %s cannot start: argosy secret set %s", name, strings.Join(missing[name], " and "), name))
	}
	return out
}

func (s appService) Scale(ctx context.Context, r *connect.Request[argosyv1.ScaleRequest]) (*connect.Response[argosyv1.ApplyResponse], error) {
	tenant, err := s.named(ctx, r.Msg.Tenant, r.Msg.App)
	if err != nil {
		return nil, err
	}
	res := &argosyv1.ApplyResponse{}
	err = s.change(ctx, change{
		rpc: "Scale", tenant: tenant, key: r.Msg.IdempotencyKey, request: r.Msg, response: res,
		decide: func(now time.Time, v *leader.View) (leader.Proposal, error) {
			spec, cause, err := scaled(v, tenant, r.Msg)
			if err != nil {
				return leader.Proposal{}, err
			}
			return s.revise(ctx, now, v, tenant, spec, r.Msg.ExpectedRevision, cause, res)
		},
	})
	return respond(res, err)
}

func (s appService) Rollback(ctx context.Context, r *connect.Request[argosyv1.RollbackRequest]) (*connect.Response[argosyv1.ApplyResponse], error) {
	tenant, err := s.named(ctx, r.Msg.Tenant, r.Msg.App)
	if err != nil {
		return nil, err
	}
	res := &argosyv1.ApplyResponse{}
	err = s.change(ctx, change{
		rpc: "Rollback", tenant: tenant, key: r.Msg.IdempotencyKey, request: r.Msg, response: res,
		decide: func(now time.Time, v *leader.View) (leader.Proposal, error) {
			to, err := earlier(v, tenant, r.Msg)
			if err != nil {
				return leader.Proposal{}, err
			}
			res.Warnings = missingSecrets(v, tenant, to.Spec)
			return s.revise(ctx, now, v, tenant, proto.CloneOf(to.Spec), r.Msg.ExpectedRevision, fmt.Sprintf("rollback to revision %d", to.Number), res)
		},
	})
	return respond(res, err)
}

// earlier is the revision that is to come back.
func earlier(v *leader.View, tenant string, r *argosyv1.RollbackRequest) (*argosyv1.Revision, error) {
	app := v.App(tenant, r.App)
	if app == nil {
		return nil, notFound("there is no app %s; see 'argosy apps'", r.App)
	}
	list := v.Revisions(tenant, r.App)
	var kept []string
	for _, rev := range slices.Backward(list) {
		if rev.Number == r.Revision || r.Revision == 0 && rev.Number < app.Revision {
			return rev, nil
		}
		kept = append(kept, strconv.FormatUint(rev.Number, 10))
	}
	if r.Revision == 0 {
		return nil, refused("app %s has no revision before %d", r.App, app.Revision)
	}
	return nil, notFound("app %s has no revision %d any more: there are %s", r.App, r.Revision, clip(strings.Join(kept, ", ")))
}

func scaled(v *leader.View, tenant string, r *argosyv1.ScaleRequest) (spec *argosyv1.AppSpec, cause string, err error) {
	app := v.App(tenant, r.App)
	if app == nil {
		return nil, "", notFound("there is no app %s; see 'argosy apps'", r.App)
	}
	current := v.AppRevision(tenant, r.App, app.Revision)
	if current == nil {
		return nil, "", refused("revision %d of app %s is missing from the store: apply its manifest again", app.Revision, r.App)
	}
	spec = proto.CloneOf(current.Spec)
	parts := []string{}
	for _, stack := range slices.Sorted(maps.Keys(r.Counts)) {
		n := r.Counts[stack]
		if err := checkNames(r.App, stack); err != nil {
			return nil, "", err
		}
		if n > manifest.MaxReplicas {
			return nil, "", invalid("%d replicas of %s are more than the %d allowed", n, stack, manifest.MaxReplicas)
		}
		i := slices.IndexFunc(spec.Cluster, func(e *argosyv1.ClusterEntry) bool { return e.Stack == stack })
		switch {
		case i < 0 && !slices.ContainsFunc(spec.Stacks, func(st *argosyv1.StackSpec) bool { return st.Name == stack }):
			return nil, "", notFound("app %s has no stack %s; it has %s", r.App, stack, stackNames(spec))
		case i < 0:
			spec.Cluster = append(spec.Cluster, &argosyv1.ClusterEntry{Stack: stack, Count: n})
		case spec.Cluster[i].EachMachine:
			return nil, "", refused("stack %s runs once on each machine, so it has no count to change", stack)
		default:
			spec.Cluster[i].Count = n
		}
		if unit := manifest.GlobalUnit(spec, stack); unit != "" && n > 0 {
			return nil, "", refused("unit %s of stack %s is to be on each machine, as its Global says, so it has no count: apply it with `%s: {on: each-machine}`", unit, stack, stack)
		}
		parts = append(parts, fmt.Sprintf("%s=%d", stack, n))
	}
	if len(parts) == 0 {
		return nil, "", invalid("no stack is named: say which one and how many, for example %s/web=3", r.App)
	}
	return spec, "scale " + strings.Join(parts, " "), nil
}

func stackNames(spec *argosyv1.AppSpec) string {
	var names []string
	for _, st := range spec.Stacks {
		names = append(names, st.Name)
	}
	return strings.Join(names, ", ")
}

func (s appService) Restart(ctx context.Context, r *connect.Request[argosyv1.RestartRequest]) (*connect.Response[argosyv1.RestartResponse], error) {
	tenant, err := s.named(ctx, r.Msg.Tenant, r.Msg.App)
	if err != nil {
		return nil, err
	}
	res := &argosyv1.RestartResponse{}
	err = s.change(ctx, change{
		rpc: "Restart", tenant: tenant, key: r.Msg.IdempotencyKey, request: r.Msg, response: res,
		decide: func(_ time.Time, v *leader.View) (leader.Proposal, error) {
			return s.restart(ctx, v, tenant, r.Msg, res)
		},
	})
	return respond(res, err)
}

func (s *Server) restart(ctx context.Context, v *leader.View, tenant string, r *argosyv1.RestartRequest, res *argosyv1.RestartResponse) (leader.Proposal, error) {
	old := v.App(tenant, r.App)
	if old == nil {
		return leader.Proposal{}, notFound("there is no app %s; see 'argosy apps'", r.App)
	}
	if err := mayChange(old, 0); err != nil {
		return leader.Proposal{}, err
	}
	if r.Stack == "" && r.Number != 0 {
		return leader.Proposal{}, invalid("replica %d of which stack? Name it, for example %s/web.%d", r.Number, r.App, r.Number)
	}
	if err := checkNames(r.App, r.Stack); err != nil {
		return leader.Proposal{}, err
	}
	app, stacks := proto.CloneOf(old), map[string]bool{}
	for _, rep := range v.AppReplicas(state.AppKey{Tenant: tenant, App: r.App}) {
		k := rep.GetKey()
		if (r.Stack == "" || k.Stack == r.Stack) && (r.Number == 0 || k.Number == r.Number) {
			res.Replicas++
			stacks[k.Stack] = true
		}
	}
	if res.Replicas == 0 {
		return leader.Proposal{}, notFound("app %s has no such replica; see 'argosy ps %s'", r.App, r.App)
	}
	what := r.App
	if r.Number != 0 {
		name := fmt.Sprintf("%s.%d", r.Stack, r.Number)
		app.ReplicaRestarts = grown(app.ReplicaRestarts, name)
		what += "/" + name
	} else {
		for _, stack := range slices.Sorted(maps.Keys(stacks)) {
			app.Restarts = grown(app.Restarts, stack)
		}
		if r.Stack != "" {
			what += "/" + r.Stack
		}
	}
	ops, err := puts(record{store.AppKey(tenant, app.Name), app})
	return leader.Proposal{Ops: ops, Transitions: []*argosyv1.Transition{{
		Kind: argosyv1.TransitionKind_TRANSITION_KIND_APP, Tenant: tenant, App: app.Name, To: "restart asked for", Cause: "restart " + what, Actor: actorOf(ctx)}}}, err
}

func grown(m map[string]uint64, key string) map[string]uint64 {
	if m == nil {
		m = map[string]uint64{}
	}
	m[key]++
	return m
}

func (s appService) DeleteApp(ctx context.Context, r *connect.Request[argosyv1.DeleteAppRequest]) (*connect.Response[argosyv1.DeleteAppResponse], error) {
	tenant, err := s.named(ctx, r.Msg.Tenant, r.Msg.App)
	if err != nil {
		return nil, err
	}
	res := &argosyv1.DeleteAppResponse{}
	err = s.change(ctx, change{
		rpc: "DeleteApp", tenant: tenant, app: r.Msg.App, key: r.Msg.IdempotencyKey, request: r.Msg, response: res,
		decide: func(_ time.Time, v *leader.View) (leader.Proposal, error) {
			old := v.App(tenant, r.Msg.App)
			if old == nil {
				return leader.Proposal{}, notFound("there is no app %s; see 'argosy apps'", r.Msg.App)
			}
			res.Replicas = uint32(len(v.AppReplicas(state.AppKey{Tenant: tenant, App: r.Msg.App})))
			if old.Deleting && (old.DeleteVolumes || !r.Msg.Volumes) {
				return leader.Proposal{}, nil
			}
			if !old.Deleting {
				if err := mayChange(old, r.Msg.ExpectedRevision); err != nil {
					return leader.Proposal{}, err
				}
			}
			app := proto.CloneOf(old)
			app.Deleting, app.DeleteVolumes = true, old.DeleteVolumes || r.Msg.Volumes
			ops, err := puts(record{store.AppKey(tenant, app.Name), app})
			cause := "delete"
			if app.DeleteVolumes {
				cause = "delete with volumes"
			}
			return leader.Proposal{Ops: ops, Transitions: []*argosyv1.Transition{{Kind: argosyv1.TransitionKind_TRANSITION_KIND_APP,
				Tenant: tenant, App: app.Name, From: fmt.Sprintf("revision %d", app.Revision), To: "being deleted", Cause: cause, Actor: actorOf(ctx)}}}, err
		},
	})
	return respond(res, err)
}

func (s appService) ListApps(ctx context.Context, r *connect.Request[argosyv1.ListAppsRequest]) (*connect.Response[argosyv1.ListAppsResponse], error) {
	tenant, err := s.tenant(ctx, r.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	res := &argosyv1.ListAppsResponse{}
	err = s.leader.Read(func(_ time.Time, v *leader.View) {
		for _, app := range v.Apps(tenant) {
			res.Apps = append(res.Apps, v.AppStatus(app))
		}
	})
	return respond(res, rpcError(err))
}

func (s appService) GetApp(ctx context.Context, r *connect.Request[argosyv1.GetAppRequest]) (*connect.Response[argosyv1.GetAppResponse], error) {
	tenant, err := s.named(ctx, r.Msg.Tenant, r.Msg.App)
	if err != nil {
		return nil, err
	}
	var res *argosyv1.GetAppResponse
	err = s.leader.Read(func(_ time.Time, v *leader.View) {
		app := v.App(tenant, r.Msg.App)
		if app == nil {
			return
		}
		res = &argosyv1.GetAppResponse{Status: v.AppStatus(app)}
		if r.Msg.AllRevisions {
			res.Revisions = v.Revisions(tenant, app.Name)
			return
		}
		if rev := v.AppRevision(tenant, app.Name, cmp.Or(r.Msg.Revision, app.Revision)); rev != nil {
			res.Revisions = []*argosyv1.Revision{rev}
		}
	})
	if err == nil && res == nil {
		return nil, notFound("there is no app %s; see 'argosy apps'", r.Msg.App)
	}
	if err == nil && r.Msg.Revision != 0 && len(res.Revisions) == 0 {
		return nil, notFound("app %s has no revision %d any more, or not yet", r.Msg.App, r.Msg.Revision)
	}
	return respond(res, rpcError(err))
}
