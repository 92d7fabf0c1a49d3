package core

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"math"
	"slices"
	"sort"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// definitionVersion is part of every hash. It changes only when the meaning of a spec changes, because a new value
// recreates every container of every cluster.
const definitionVersion = "argosy container 1\n"

// Definition hashes everything about a container that cannot change while it lives, in 32 hexadecimal digits. What the
// agent itself acts on (restart policy, order, grace, reservations, pull policy) is left out, so that changing it touches
// nothing; secrets are refreshed in place and left out too. Contents of configs count: a changed file is a changed
// container.
func Definition(spec *argosyv1.ContainerSpec, configs map[string][]byte) string {
	s := proto.CloneOf(spec)
	if s.GetImageDigest() != "" {
		s.Image, s.ImageOrigin = "", argosyv1.ImageOrigin_IMAGE_ORIGIN_UNSPECIFIED
	}
	s.PullPolicy = argosyv1.PullPolicy_PULL_POLICY_UNSPECIFIED
	s.DependsOn, s.Expose, s.Restart, s.StopGracePeriod = nil, nil, nil, nil
	if r := s.GetResources(); r != nil {
		r.ReserveCpuMilli, r.ReserveMemory, r.DefaultCpu, r.DefaultMemory = 0, 0, false, false
	}
	h := sha256.New()
	h.Write([]byte(definitionVersion))
	hashMessage(h, s.ProtoReflect())
	for _, c := range s.GetConfigs() {
		content, ok := configs[c.GetSource()]
		hashBool(h, ok)
		hashBytes(h, content)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// hashMessage writes a message in an encoding of its own: protobuf's may differ between versions of its library, and an
// upgrade of the agent must not look like a change of every container. Fields that are absent, zero or empty write
// nothing, so fields added to the API later do not disturb old hashes.
func hashMessage(h hash.Hash, m protoreflect.Message) {
	type field struct {
		d protoreflect.FieldDescriptor
		v protoreflect.Value
	}
	var fields []field
	m.Range(func(d protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		fields = append(fields, field{d, v})
		return true
	})
	slices.SortFunc(fields, func(a, b field) int { return int(a.d.Number()) - int(b.d.Number()) })
	hashInt(h, uint64(len(fields)))
	for _, f := range fields {
		hashInt(h, uint64(f.d.Number()))
		switch {
		case f.d.IsMap():
			hashMap(h, f.d, f.v.Map())
		case f.d.IsList():
			l := f.v.List()
			hashInt(h, uint64(l.Len()))
			for i := range l.Len() {
				hashValue(h, f.d, l.Get(i))
			}
		default:
			hashValue(h, f.d, f.v)
		}
	}
}

func hashMap(h hash.Hash, d protoreflect.FieldDescriptor, m protoreflect.Map) {
	keys := make([]protoreflect.MapKey, 0, m.Len())
	m.Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
		keys = append(keys, k)
		return true
	})
	sort.Slice(keys, func(i, j int) bool { return keys[i].String() < keys[j].String() })
	hashInt(h, uint64(len(keys)))
	for _, k := range keys {
		hashBytes(h, []byte(k.String()))
		hashValue(h, d.MapValue(), m.Get(k))
	}
}

func hashValue(h hash.Hash, d protoreflect.FieldDescriptor, v protoreflect.Value) {
	switch d.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		hashMessage(h, v.Message())
	case protoreflect.StringKind:
		hashBytes(h, []byte(v.String()))
	case protoreflect.BytesKind:
		hashBytes(h, v.Bytes())
	case protoreflect.BoolKind:
		hashBool(h, v.Bool())
	case protoreflect.EnumKind:
		hashInt(h, uint64(v.Enum()))
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		hashInt(h, math.Float64bits(v.Float()))
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind, protoreflect.Fixed32Kind, protoreflect.Fixed64Kind:
		hashInt(h, v.Uint())
	default:
		hashInt(h, uint64(v.Int()))
	}
}

func hashInt(h hash.Hash, n uint64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	h.Write(b[:])
}

func hashBytes(h hash.Hash, b []byte) {
	hashInt(h, uint64(len(b)))
	h.Write(b)
}

func hashBool(h hash.Hash, b bool) {
	if b {
		hashInt(h, 1)
		return
	}
	hashInt(h, 0)
}

// preparation names what Prepare makes for a member: it differs when a secret has a new version, a config another content
// or the member other files or volumes.
func preparation(a *argosyv1.Assignment, spec *argosyv1.ContainerSpec) string {
	h := sha256.New()
	version := make(map[string]uint64, len(a.GetSecrets()))
	for _, s := range a.GetSecrets() {
		version[s.GetName()] = s.GetVersion()
	}
	for _, f := range spec.GetSecrets() {
		hashMessage(h, f.ProtoReflect())
		hashInt(h, version[f.GetSource()])
	}
	hashInt(h, 0)
	for _, f := range spec.GetConfigs() {
		hashMessage(h, f.ProtoReflect())
		hashBytes(h, a.GetConfigs()[f.GetSource()])
	}
	hashInt(h, 0)
	for _, m := range spec.GetMounts() {
		hashMessage(h, m.ProtoReflect())
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// imageKey names what Pull makes present for a member.
func imageKey(spec *argosyv1.ContainerSpec) string {
	return spec.GetImage() + "@" + spec.GetImageDigest() + "/" + spec.GetPlatform()
}
