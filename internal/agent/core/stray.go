package core

import (
	"cmp"
	"slices"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// Volume is a volume of the cluster on this machine.
type Volume struct {
	Key
	Name string
	// EngineName is what the engine calls it.
	EngineName string
}

// MostStrays bounds how many volumes are reported that belong to no assigned replica.
const MostStrays = 1000

// Strays says which volumes belong to no replica that is assigned to this machine, in order, and not more than MostStrays. wanted
// must have been read before the volumes were listed, or a replica that goes meanwhile seems to leave its volume behind.
func Strays(wanted []*argosyv1.Assignment, volumes []Volume) *argosyv1.StrayReport {
	assigned := map[Key]bool{}
	for _, a := range wanted {
		assigned[KeyOf(a.GetKey())] = true
	}
	list := slices.DeleteFunc(slices.Clone(volumes), func(v Volume) bool { return assigned[v.Key] })
	slices.SortFunc(list, func(a, b Volume) int { return cmp.Or(a.Key.Compare(b.Key), cmp.Compare(a.Name, b.Name)) })
	out := &argosyv1.StrayReport{}
	for _, v := range list[:min(len(list), MostStrays)] {
		out.Volumes = append(out.Volumes, &argosyv1.StrayVolume{Replica: v.Key.Proto(), Name: v.Name, EngineName: v.EngineName})
	}
	return out
}
