package auth

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// limitTenants fills the caller's own tenant into a request where it names none, and refuses one that is not the
// caller's. Messages that are absent stay so.
func limitTenants(id Identity, r rule, m proto.Message) error {
	if r.everyTenant != "" {
		all := m.ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(r.everyTenant))
		if m.ProtoReflect().Get(all).Bool() {
			if id.Role != Admin {
				return fmt.Errorf("%s may see tenant %s only: leave out --all-tenants", id, id.Tenant)
			}
			return nil
		}
	}
	for _, path := range r.tenants {
		if err := limitTenant(id, m.ProtoReflect(), path); err != nil {
			return err
		}
	}
	return nil
}

func limitTenant(id Identity, m protoreflect.Message, path string) error {
	name, rest, nested := strings.Cut(path, ".")
	field := m.Descriptor().Fields().ByName(protoreflect.Name(name))
	if nested {
		if !m.Has(field) {
			return nil
		}
		return limitTenant(id, m.Mutable(field).Message(), rest)
	}
	tenant := m.Get(field).String()
	if tenant == "" {
		m.Set(field, protoreflect.ValueOfString(id.Tenant))
		return nil
	}
	if err := CheckName("tenant", tenant); err != nil {
		return err
	}
	if !mayNameTenant(id, tenant) {
		return fmt.Errorf("%s belongs to tenant %s and may not act on tenant %s", id, id.Tenant, tenant)
	}
	return nil
}
