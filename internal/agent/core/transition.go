package core

import (
	"strings"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Transitions says what happened between two observations of the same incarnation: one entry for each member and for the
// replica whose state differs. before or after may be nil: not seen before, or gone.
func Transitions(now time.Time, before, after *argosyv1.ReplicaObservation) []*argosyv1.Transition {
	of := after
	if of == nil {
		of = before
	}
	if of == nil {
		return nil
	}
	// What an unreachable engine does not show did not happen.
	if after != nil && after.GetState() == argosyv1.ReplicaState_REPLICA_STATE_UNSPECIFIED {
		return nil
	}
	var list []*argosyv1.Transition
	add := func(kind argosyv1.TransitionKind, member, from, to, cause string, code int32) {
		list = append(list, &argosyv1.Transition{
			At: timestamppb.New(now), Kind: kind, Replica: of.GetKey(), Incarnation: of.GetIncarnation(), Member: member,
			From: from, To: to, Cause: cause, ExitCode: code, Tenant: of.GetKey().GetTenant(), App: of.GetKey().GetApp(),
		})
	}
	old := map[string]*argosyv1.MemberObservation{}
	for _, m := range before.GetMembers() {
		old[m.GetName()] = m
	}
	for _, m := range after.GetMembers() {
		b := old[m.GetName()]
		delete(old, m.GetName())
		again := b.GetState() == m.GetState() && m.GetRestarts() > b.GetRestarts() && b.GetContainerId() == m.GetContainerId()
		if b.GetState() != m.GetState() || again {
			add(argosyv1.TransitionKind_TRANSITION_KIND_MEMBER, m.GetName(), memberWord(b.GetState()), memberWord(m.GetState()), m.GetMessage(), m.GetExitCode())
		}
	}
	for _, m := range before.GetMembers() {
		if old[m.GetName()] != nil {
			add(argosyv1.TransitionKind_TRANSITION_KIND_MEMBER, m.GetName(), memberWord(m.GetState()), memberWord(argosyv1.MemberState_MEMBER_STATE_GONE), "", m.GetExitCode())
		}
	}
	from, to := before.GetState(), after.GetState()
	if after == nil {
		to = argosyv1.ReplicaState_REPLICA_STATE_GONE
	}
	if from != to {
		add(argosyv1.TransitionKind_TRANSITION_KIND_REPLICA, "", replicaWord(from), replicaWord(to), after.GetMessage(), 0)
	}
	return list
}

func memberWord(s argosyv1.MemberState) string {
	if s == argosyv1.MemberState_MEMBER_STATE_UNSPECIFIED {
		return ""
	}
	return strings.ToLower(strings.TrimPrefix(s.String(), "MEMBER_STATE_"))
}

func replicaWord(s argosyv1.ReplicaState) string {
	if s == argosyv1.ReplicaState_REPLICA_STATE_UNSPECIFIED {
		return ""
	}
	return strings.ToLower(strings.TrimPrefix(s.String(), "REPLICA_STATE_"))
}
