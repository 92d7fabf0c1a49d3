// Package definition tells whether a running container is still the one that is wanted:
//
//	if definition.Of(container, app.Configs) != observed.Definition { … recreate it … }
//
// The answer is a hash of everything whose change needs a new container, and of nothing else. Whoever asks about the same
// definition gets the same hash: servers, agents, this version and the next.
package definition

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"maps"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// Of is the hash of a container's definition, 32 hexadecimal digits. configs are the contents of the app's configs by
// name; those that the container does not use do not count.
//
// What is left out can change while the container lives: what is reserved for it, what it waits for (depends_on), which
// ports others may reach (expose), what ports are called, when it is restarted, how long it may take to stop, when its
// image is pulled, and, once the image is pinned, which tag the digest came from and where it is fetched. Secrets count
// by name and place; their contents do not, for they can be put in place of the old ones.
func Of(container *argosyv1.ContainerSpec, configs map[string][]byte) string {
	c := proto.CloneOf(container)
	if c == nil {
		c = &argosyv1.ContainerSpec{}
	}
	if c.ImageDigest != "" {
		c.Image = ""
	}
	c.ImageOrigin = argosyv1.ImageOrigin_IMAGE_ORIGIN_UNSPECIFIED
	c.PullPolicy = argosyv1.PullPolicy_PULL_POLICY_UNSPECIFIED
	c.DependsOn, c.Expose, c.Restart, c.StopGracePeriod = nil, nil, nil, nil
	for _, p := range c.Ports {
		p.Name = ""
	}
	if r := c.Resources; r != nil {
		r.ReserveCpuMilli, r.ReserveMemory, r.DefaultCpu, r.DefaultMemory = 0, 0, false, false
	}

	h := sha256.New()
	// Another text recreates every container of every cluster.
	h.Write([]byte("argosy container definition 1\n"))
	write(h, c.ProtoReflect())
	for _, ref := range c.Configs {
		content, ok := configs[ref.Source]
		text(h, fmt.Sprintf("%s %t", ref.Source, ok))
		text(h, string(content))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// OfUnit is the hash of a unit's definition: its file. Whether it is started can change while it lives.
func OfUnit(u *argosyv1.Unit) string {
	h := sha256.New()
	// Another text recreates every unit of every cluster.
	h.Write([]byte("argosy unit definition 1\n"))
	text(h, u.GetName())
	text(h, u.GetContent())
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Files is the hash of what must be made on a machine before the container is created: its secrets in their versions by
// name, its configs with their contents, and its mounts.
func Files(container *argosyv1.ContainerSpec, versions map[string]uint64, configs map[string][]byte) string {
	h := sha256.New()
	count(h, len(container.GetSecrets()))
	for _, ref := range container.GetSecrets() {
		write(h, ref.ProtoReflect())
		count(h, int(versions[ref.Source]))
	}
	count(h, len(container.GetConfigs()))
	for _, ref := range container.GetConfigs() {
		write(h, ref.ProtoReflect())
		text(h, string(configs[ref.Source]))
	}
	for _, m := range container.GetMounts() {
		write(h, m.ProtoReflect())
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// text writes s so that no two sequences of texts give the same bytes.
func text(h hash.Hash, s string) {
	h.Write(protowire.AppendVarint(nil, uint64(len(s))))
	h.Write([]byte(s))
}

// write hashes a message field by field, in the order of field numbers and with maps by key. The encoding is our own,
// because that of the protobuf library is not promised to stay the same between its versions. Fields that are not set
// leave no trace, so that a field added to the protocol changes no hash until it is used.
func write(h hash.Hash, m protoreflect.Message) {
	var fields []protoreflect.FieldDescriptor
	m.Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		fields = append(fields, f)
		return true
	})
	slices.SortFunc(fields, func(a, b protoreflect.FieldDescriptor) int { return int(a.Number()) - int(b.Number()) })
	count(h, len(fields))
	for _, f := range fields {
		count(h, int(f.Number()))
		v := m.Get(f)
		switch {
		case f.IsMap():
			entries := map[string]protoreflect.Value{}
			v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				entries[k.String()] = v
				return true
			})
			count(h, len(entries))
			for _, k := range slices.Sorted(maps.Keys(entries)) {
				text(h, k)
				single(h, f.MapValue(), entries[k])
			}
		case f.IsList():
			count(h, v.List().Len())
			for i := range v.List().Len() {
				single(h, f, v.List().Get(i))
			}
		default:
			single(h, f, v)
		}
	}
}

func count(h hash.Hash, n int) { h.Write(protowire.AppendVarint(nil, uint64(n))) }

func single(h hash.Hash, f protoreflect.FieldDescriptor, v protoreflect.Value) {
	switch {
	case f.Message() != nil:
		write(h, v.Message())
	case f.Kind() == protoreflect.BytesKind:
		text(h, string(v.Bytes()))
	case f.Kind() == protoreflect.EnumKind:
		count(h, int(v.Enum()))
	default:
		text(h, v.String())
	}
}
