package core

import (
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/definition"
)

// Obsolete says whether a step in flight, of a kind that can be broken off without harm, is wanted no more: a pull, or waiting
// for systemd's word on the start of a unit, which may hang for as long as its file allows. What systemd began is seen, and
// stopped like anything else.
func Obsolete(s Step, wanted []*argosyv1.Assignment) bool {
	startsUnit := s.Kind == Start && s.Unit != nil
	if s.Kind != Pull && !startsUnit {
		return false
	}
	for _, a := range wanted {
		if IDOf(a) != s.ID || a.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE {
			continue
		}
		for _, spec := range a.GetContainers() {
			if s.Kind == Pull && spec.GetName() == s.Member && imageKey(spec) == imageKey(s.Spec) {
				return false
			}
		}
		for _, u := range a.GetUnits() {
			if startsUnit && !u.GetNotStarted() && definition.OfUnit(u) == s.Definition && a.GetRestart() == s.Assignment.GetRestart() {
				return false
			}
		}
	}
	return true
}
