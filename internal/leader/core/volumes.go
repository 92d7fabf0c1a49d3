package core

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/volumesource"
)

// VolumeStatus says who may write a volume, and what is awaited.
func (v *View) VolumeStatus(vol *argosyv1.Volume) *argosyv1.VolumeStatus {
	k := state.KeyOf(vol.GetReplica())
	out := &argosyv1.VolumeStatus{Replica: vol.GetReplica(), Name: vol.GetName(), Class: vol.GetClass(), Size: vol.GetSize(), Uuid: vol.GetUuid()}
	if !state.Shared(vol) {
		out.Class, out.State = argosyv1.VolumeClass_VOLUME_CLASS_LOCAL, argosyv1.VolumeState_VOLUME_STATE_LOCAL
		out.Machine = v.MachineName(vol.GetMachine())
		return out
	}
	c, r, g := v.core, v.Replica(k), vol.GetGrant()
	if c.class(vol) == claims.ClassFenced {
		out.Class = argosyv1.VolumeClass_VOLUME_CLASS_FENCED
	}
	out.Fenced = v.fenced(k, vol)
	out.Source = v.sourceOf(k, vol.GetName())
	w := c.wish(v.now, vol)
	d := c.decide(v.now, w, r, vol)
	out.Message = d.Reason
	if g != nil {
		out.Machine, out.Token = v.MachineName(g.GetMachine()), g.GetToken()
		if o, at := c.claimSeen(vol); o != nil {
			out.Observation, out.Age = o, durationpb.New(max(0, v.now.Sub(at)))
		}
	}
	if s := w.Seen; s != nil {
		out.Holder, out.HolderToken, out.Over = v.MachineName(string(s.Machine)), tokenTo(s.Token), s.Gone
		if s.Gone == "" {
			out.Heard = durationpb.New(s.Age)
		}
	}
	out.State = c.volumeState(v.now, w, d)
	if o := out.Observation; out.State == argosyv1.VolumeState_VOLUME_STATE_HELD && unleased(o) {
		// A witness that recorded the machine is not yet a majority.
		out.State = argosyv1.VolumeState_VOLUME_STATE_WAITING
		out.Message = out.Machine + " asks for the lease"
		if text := o.GetMessage(); text != "" {
			out.Message += ": " + v.core.named(text)
		}
	}
	return out
}

// unleased tells whether a machine has not got the lease yet, by its own word.
func unleased(o *argosyv1.ClaimObservation) bool {
	p := o.GetPhase()
	return p == argosyv1.ClaimPhase_CLAIM_PHASE_ATTACHING || p == argosyv1.ClaimPhase_CLAIM_PHASE_ASKING
}

func (c *Core) volumeState(now time.Time, w claims.Wish, d claims.Decision) argosyv1.VolumeState {
	held := w.Seen != nil && w.Seen.Gone == ""
	has := held && w.Granted != nil && w.Seen.Token == w.Granted.Token
	switch {
	case c.mute(now) != "":
		return argosyv1.VolumeState_VOLUME_STATE_UNKNOWN
	case held && w.Seen.Age >= c.profile().Lease/2:
		return argosyv1.VolumeState_VOLUME_STATE_SILENT
	case w.Wanted == "" && (has || d.Action == claims.Withdraw):
		return argosyv1.VolumeState_VOLUME_STATE_LEAVING
	case w.Wanted == "":
		return argosyv1.VolumeState_VOLUME_STATE_FREE
	case d.Action == claims.Withdraw:
		return argosyv1.VolumeState_VOLUME_STATE_LEAVING
	case has && w.Granted.Machine == w.Wanted && d.Action == claims.Keep:
		return argosyv1.VolumeState_VOLUME_STATE_HELD
	}
	return argosyv1.VolumeState_VOLUME_STATE_WAITING
}

// sourceOf is where the manifest says that a shared volume is.
func (v *View) sourceOf(k state.Key, name string) string {
	return volumesource.For(sourceOf(v.core.volumeSpec(k, name)), k.Number)
}

func sourceOf(s *argosyv1.VolumeSpec) string {
	if m := s.GetMount(); m.GetSource() != "" {
		return m.GetSource()
	}
	return s.GetDevice().GetDevice()
}

// ReplicaVolumes says how each volume of a replica stands.
func (v *View) ReplicaVolumes(k state.Key) []*argosyv1.VolumeStatus {
	var out []*argosyv1.VolumeStatus
	for _, vol := range v.Volumes(k) {
		out = append(out, v.VolumeStatus(vol))
	}
	return out
}

// claimsMessage says what a replica waits for until it may write its shared volumes, empty when it may.
func (v *View) claimsMessage(k state.Key) string {
	if !v.HasShared(k) || !v.wantsSome(k) {
		return ""
	}
	out := ""
	for _, vol := range v.Volumes(k) {
		if !state.Shared(vol) {
			continue
		}
		switch st := v.VolumeStatus(vol); st.GetState() {
		case argosyv1.VolumeState_VOLUME_STATE_HELD, argosyv1.VolumeState_VOLUME_STATE_FREE:
		default:
			out = join(out, fmt.Sprintf("volume %s: %s", vol.GetName(), st.GetMessage()))
		}
	}
	return out
}

func (v *View) wantsSome(k state.Key) bool {
	r := v.Replica(k)
	return r.GetMachine() != "" && r.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_RUN
}

// Force decides about somebody's wish to take a shared volume from its holder.
func (v *View) Force(vol *argosyv1.Volume, f claims.Force) claims.Decision {
	w := v.core.wish(v.now, vol)
	w.Force = &f
	return v.core.decide(v.now, w, v.Replica(state.KeyOf(vol.GetReplica())), vol)
}

// Freed is a shared volume's record once it was taken from its holder.
func Freed(vol *argosyv1.Volume) *argosyv1.Volume {
	next := proto.CloneOf(vol)
	if next.Grant != nil {
		next.Grant.Ended = true
	}
	return next
}

// Guarded counts the machines whose guard can keep leases.
func (v *View) Guarded() (n int) {
	for _, m := range v.Machines() {
		if g := v.core.disp.Storage(m.GetId()).GetGuard(); guardTrouble(g) == "" {
			n++
		}
	}
	return n
}

// guardTrouble says why a machine's guard cannot keep leases, empty when it can.
func guardTrouble(g *argosyv1.Guard) string {
	switch {
	case len(g.GetKey()) == 0 && g.GetTrouble() != "":
		return g.GetTrouble()
	case len(g.GetKey()) == 0:
		return "no guard answers there"
	case g.GetLeaving():
		return "the machine is about to be shut down"
	}
	return ""
}
