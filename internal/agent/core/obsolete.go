package core

import argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"

// Obsolete says whether a step in flight, of a kind that can be broken off without harm, is wanted no more.
func Obsolete(s Step, wanted []*argosyv1.Assignment) bool {
	if s.Kind != Pull {
		return false
	}
	for _, a := range wanted {
		if IDOf(a) != s.ID || a.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE {
			continue
		}
		for _, spec := range a.GetContainers() {
			if spec.GetName() == s.Member && imageKey(spec) == imageKey(s.Spec) {
				return false
			}
		}
	}
	return true
}
