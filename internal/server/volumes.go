package server

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
)

// volumeService answers argosy.v1.VolumeService.
type volumeService struct{ *Server }

func (s volumeService) ListVolumes(ctx context.Context, r *connect.Request[argosyv1.ListVolumesRequest]) (*connect.Response[argosyv1.ListVolumesResponse], error) {
	tenant, err := s.tenant(ctx, r.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	if r.Msg.AllTenants {
		tenant = ""
	}
	if r.Msg.App != "" {
		if err := checkNames(r.Msg.App, ""); err != nil {
			return nil, err
		}
	}
	res := &argosyv1.ListVolumesResponse{}
	err = s.read(func(_ time.Time, v *leader.View) error {
		for _, app := range v.AppKeys(tenant) {
			if r.Msg.App != "" && app.App != r.Msg.App {
				continue
			}
			for _, st := range v.StackKeys(app) {
				for _, vol := range v.StackVolumes(st) {
					res.Volumes = append(res.Volumes, v.VolumeStatus(vol))
				}
			}
		}
		return nil
	})
	return respond(res, err)
}

// maxReleaseReason bounds what is kept of why a volume was released, in bytes.
const maxReleaseReason = 500

// ReleaseVolume takes a shared volume from a holder that does not answer. It shortens no time in which that may write: what the
// leader's witness heard of counts, and each server's witness has a say of its own.
func (s volumeService) ReleaseVolume(ctx context.Context, r *connect.Request[argosyv1.ReleaseVolumeRequest]) (*connect.Response[argosyv1.VolumeStatus], error) {
	k := state.KeyOf(r.Msg.GetReplica())
	tenant, err := s.tenant(ctx, cmp.Or(k.Tenant, r.Msg.Tenant))
	if err != nil {
		return nil, err
	}
	k.Tenant = tenant
	key := state.VolumeKey{Replica: k, Name: r.Msg.Name}
	reason := strings.TrimSpace(r.Msg.Reason)
	switch {
	case !r.Msg.Force:
		return nil, invalid("a claim that is over is let go by itself: to take one from a holder that does not answer, use --force and say why with --reason")
	case reason == "":
		return nil, invalid("say why the claim is forced, with --reason: it is kept in the cluster's history")
	case len(reason) > maxReleaseReason:
		return nil, invalid("the reason has %d bytes, and %d are kept", len(reason), maxReleaseReason)
	}
	f := claims.Force{By: actorOf(ctx), Allowed: true, Reason: reason} // that nobody else may is a rule of the RPC
	var seen claims.Decision
	if err := s.read(func(_ time.Time, v *leader.View) (err error) { _, seen, err = forced(v, key, f); return err }); err != nil {
		return nil, rpcError(err)
	}
	if err := s.fenceEverywhere(ctx, key, seen.Session); err != nil {
		return nil, rpcError(err)
	}
	res := &argosyv1.VolumeStatus{}
	err = s.change(ctx, change{rpc: "ReleaseVolume", tenant: tenant, key: r.Msg.IdempotencyKey, request: r.Msg, response: res,
		decide: func(_ time.Time, v *leader.View) (leader.Proposal, error) {
			vol, d, err := forced(v, key, f)
			if err != nil {
				return leader.Proposal{}, err
			}
			next := leader.Freed(vol)
			st := v.VolumeStatus(next)
			st.Message = "released; " + d.Reason
			st.Observation, st.Age = nil, nil // of before
			proto.Reset(res)
			proto.Merge(res, st)
			ops, err := puts(record{store.VolumeKey(vol.GetReplica(), vol.GetName()), next})
			return leader.Proposal{Ops: ops, Transitions: []*argosyv1.Transition{{Kind: argosyv1.TransitionKind_TRANSITION_KIND_SECURITY,
				Tenant: tenant, App: k.App, Replica: k.Proto(), Machine: string(d.To), From: "volume " + vol.GetName() + " held", To: "volume " + vol.GetName() + " released by force",
				Cause: d.Audit, Actor: f.By}}}, err
		}})
	return respond(res, err)
}

// forced finds a volume and decides about a wish to take it from its holder, which is refused unless that was silent for long enough.
func forced(v *leader.View, k state.VolumeKey, f claims.Force) (*argosyv1.Volume, claims.Decision, error) {
	vol := v.Volume(k)
	if vol == nil {
		return nil, claims.Decision{}, notFound("there is no volume %s; see 'argosy volumes'", k)
	}
	d := v.Force(vol, f)
	if d.Action != claims.Fence {
		return vol, d, refused("volume %s is not released: %s", k, d.Reason)
	}
	return vol, d, nil
}

// fenceEverywhere has each server's witness let go of a session. One that heard of it lately refuses, and then nothing is released; one
// that does not answer decides for itself when it is back.
func (s *Server) fenceEverywhere(ctx context.Context, k state.VolumeKey, session claims.Session) error {
	why, err := s.fence(ctx, session)
	if err != nil {
		return connect.NewError(connect.CodeUnavailable, err)
	}
	for _, srv := range s.servers() {
		if srv.GetId() == s.id || len(srv.GetAddresses()) == 0 || len(srv.GetWitnessKey()) == 0 {
			continue
		}
		said, err := s.fenceAt(ctx, srv, k, session)
		if err != nil {
			s.log.Warn("a server's witness was not told that a claim is released by force", "server", srv.GetName(), "volume", k.String(), "error", err)
		}
		why = cmp.Or(why, said)
	}
	if why != "" {
		return refused("volume %s is not released: %s", k, why)
	}
	return nil
}

func (s *Server) fenceAt(ctx context.Context, srv *storev1.Server, k state.VolumeKey, session claims.Session) (refused string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	res, err := s.askServer(srv.GetAddresses()[0]).FenceSession(ctx, connect.NewRequest(&argosyv1.FenceSessionRequest{Claim: k.String(), Session: string(session)}))
	if err != nil {
		return "", err
	}
	return res.Msg.GetRefused(), nil
}

// mayShare refuses volumes on shared storage while nothing keeps two machines from writing them at once, and says what is missing; and
// volumes that would become shared, or local again, under the same name: data does not move by itself.
func (s *Server) mayShare(tenant string, spec *argosyv1.AppSpec) error {
	any := false
	for _, st := range spec.Stacks {
		for _, v := range st.Volumes {
			any = any || state.SharedSpec(v)
			if err := s.mayFence(st.Name, v); err != nil {
				return err
			}
		}
	}
	return s.read(func(_ time.Time, v *leader.View) error {
		if any {
			if missing := unguarded(v); missing != "" {
				return refused("shared volumes cannot be served now: %s. Nothing would keep two machines from writing one at once; use local volumes (leave out driver) until then", missing)
			}
		}
		for _, st := range spec.Stacks {
			for _, have := range v.StackVolumes(state.StackKey{Tenant: tenant, App: spec.Name, Stack: st.Name}) {
				for _, want := range st.Volumes {
					if want.Name != have.GetName() || state.SharedSpec(want) == state.Shared(have) {
						continue
					}
					is, shall := "local", "on shared storage"
					if state.Shared(have) {
						is, shall = shall, is
					}
					return refused("volume %s of %s is %s, and would be %s: its data does not move by itself. Give the new volume another name, and bring the data along",
						want.Name, state.KeyOf(have.GetReplica()), is, shall)
				}
			}
		}
		return nil
	})
}

// mayFence refuses a fence that this server, which leads, cannot run.
func (s *Server) mayFence(stack string, v *argosyv1.VolumeSpec) error {
	if v.GetFence() == "" {
		return nil
	}
	if err := s.fences.Check(v.GetFence()); err != nil {
		return refused("volume %s of stack %s cannot be fenced: %w, on server %s, which leads. An administrator puts the program there, on every server; or leave out fence:", v.GetName(), stack, err, s.cfg.Name)
	}
	return nil
}

// unguarded says what is missing before shared volumes can be served, empty when nothing is.
func unguarded(v *leader.View) string {
	if v.Leases() == nil {
		return "no server has a witness that keeps leases (start argosy-witness beside each server)"
	}
	for _, srv := range v.Servers() {
		if len(srv.GetWitnessKey()) == 0 {
			return fmt.Sprintf("server %s has no witness that keeps leases, or is of an earlier release (start argosy-witness beside it)", srv.GetName())
		}
	}
	if v.Guarded() == 0 {
		return "no machine has a guard that gives up its leases in time (argosy machines -o json shows what each says of its own)"
	}
	return ""
}
