package state

import (
	"cmp"
	"strings"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// Replica finds a replica, nil when there is none.
func (s *State) Replica(k Key) *argosyv1.Replica {
	if st := s.findStack(k.StackKey()); st != nil {
		return st.replicas[k.Number]
	}
	return nil
}

func (s *State) findStack(k StackKey) *stack {
	if a := s.apps[k.AppKey()]; a != nil {
		return a.stacks[k.Stack]
	}
	return nil
}

// StackReplicas lists a stack's replicas, by number.
func (s *State) StackReplicas(k StackKey) []*argosyv1.Replica {
	st := s.findStack(k)
	if st == nil {
		return nil
	}
	return sorted(st.replicas, cmp.Compare[uint32])
}

// AppReplicas lists an app's replicas, by stack and number.
func (s *State) AppReplicas(k AppKey) []*argosyv1.Replica {
	var out []*argosyv1.Replica
	for _, st := range s.StackKeys(k) {
		out = append(out, s.StackReplicas(st)...)
	}
	return out
}

// Replicas lists the replicas of a tenant, or of all tenants when it is empty, by key.
func (s *State) Replicas(tenant string) []*argosyv1.Replica {
	var out []*argosyv1.Replica
	for _, k := range s.AppKeys(tenant) {
		out = append(out, s.AppReplicas(k)...)
	}
	return out
}

// MachineReplicas lists the replicas assigned to a machine, those being removed included, by key.
func (s *State) MachineReplicas(machine string) []*argosyv1.Replica {
	return sorted(s.onMachine[machine], Key.Compare)
}

// MachineReplicaCount is the number of replicas assigned to a machine.
func (s *State) MachineReplicaCount(machine string) int { return len(s.onMachine[machine]) }

// MachinePast lists the replicas of which a machine may still run an earlier incarnation, by key.
func (s *State) MachinePast(machine string) []*argosyv1.Replica {
	return sorted(s.pastOn[machine], Key.Compare)
}

// Volumes lists a replica's volumes, by name. They may outlive the replica.
func (s *State) Volumes(k Key) []*argosyv1.Volume {
	st := s.findStack(k.StackKey())
	if st == nil {
		return nil
	}
	return sorted(st.volumes[k.Number], strings.Compare)
}

// StackVolumes lists all volumes of a stack, by number and name.
func (s *State) StackVolumes(k StackKey) []*argosyv1.Volume {
	st := s.findStack(k)
	if st == nil {
		return nil
	}
	var out []*argosyv1.Volume
	for _, of := range sorted(st.volumes, cmp.Compare[uint32]) {
		out = append(out, sorted(of, strings.Compare)...)
	}
	return out
}

// MachineVolumes lists the volumes that lie on a machine, by key.
func (s *State) MachineVolumes(machine string) []*argosyv1.Volume {
	return sorted(s.volumesOn[machine], func(a, b VolumeKey) int {
		return cmp.Or(a.Replica.Compare(b.Replica), strings.Compare(a.Name, b.Name))
	})
}

// Shared says whether several machines reach a volume. It has no machine of its own then.
func Shared(v *argosyv1.Volume) bool {
	return v != nil && v.GetClass() != argosyv1.VolumeClass_VOLUME_CLASS_UNSPECIFIED && v.GetClass() != argosyv1.VolumeClass_VOLUME_CLASS_LOCAL
}

// SharedSpec says whether a volume is declared to be on storage that several machines reach.
func SharedSpec(v *argosyv1.VolumeSpec) bool {
	return v.GetDevice().GetDevice() != "" || v.GetMount().GetSource() != ""
}

// Volume finds a volume, nil when there is none.
func (s *State) Volume(k VolumeKey) *argosyv1.Volume {
	if st := s.findStack(k.Replica.StackKey()); st != nil {
		return st.volumes[k.Replica.Number][k.Name]
	}
	return nil
}

// SharedVolumes lists all volumes that several machines reach, by key.
func (s *State) SharedVolumes() []*argosyv1.Volume {
	return sorted(s.shared, func(a, b VolumeKey) int {
		return cmp.Or(a.Replica.Compare(b.Replica), strings.Compare(a.Name, b.Name))
	})
}

// FencedVolumes lists the volumes whose storage refuses a machine or is being told to, by key.
func (s *State) FencedVolumes() []*argosyv1.Volume {
	if len(s.fenced) == 0 {
		return nil
	}
	return sorted(s.fenced, func(a, b VolumeKey) int {
		return cmp.Or(a.Replica.Compare(b.Replica), strings.Compare(a.Name, b.Name))
	})
}

// HasShared says whether a replica has a volume that several machines reach.
func (s *State) HasShared(k Key) bool {
	if len(s.shared) == 0 {
		return false // as in most clusters, and this is asked of every replica
	}
	for _, v := range s.Volumes(k) {
		if Shared(v) {
			return true
		}
	}
	return false
}

// HomeOf is the machine that a replica cannot leave because a local volume of it lies there, and that volume's name;
// both are empty when it may go anywhere.
func (s *State) HomeOf(k Key) (machine, volume string) {
	for _, v := range s.Volumes(k) {
		if !Shared(v) {
			return v.GetMachine(), v.GetName()
		}
	}
	return "", ""
}

// PastOn is the latest incarnation of a replica that a machine may still run, nil when there is none.
func PastOn(r *argosyv1.Replica, machine string) *argosyv1.PastIncarnation {
	var last *argosyv1.PastIncarnation
	for _, p := range r.GetPast() {
		if p.GetMachine() == machine && p.GetIncarnation() >= last.GetIncarnation() {
			last = p
		}
	}
	return last
}
