package auth

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// everyRPC lists the procedures of argosy.v1 as the protocol has them.
func everyRPC() map[string]protoreflect.MethodDescriptor {
	rpcs := map[string]protoreflect.MethodDescriptor{}
	pkg := argosyv1.File_argosy_v1_cluster_proto.Package()
	protoregistry.GlobalFiles.RangeFilesByPackage(pkg, func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				m := s.Methods().Get(j)
				rpcs["/"+string(s.FullName())+"/"+string(m.Name())] = m
			}
		}
		return true
	})
	return rpcs
}

func TestEveryRPCHasARule(t *testing.T) {
	rpcs := everyRPC()
	if len(rpcs) < 30 {
		t.Fatalf("the protocol seems to have %d RPCs only", len(rpcs))
	}
	for _, p := range slices.Sorted(maps.Keys(rpcs)) {
		if _, ok := rules[p]; !ok {
			t.Errorf("%s has no entry in the table of permissions, so nobody can call it. Decide who may, and add an entry to `rules` in internal/auth/rules.go", p)
		}
	}
	for p, r := range rules {
		if _, ok := rpcs[p]; !ok {
			t.Errorf("the table of permissions has an entry for %s, which the protocol does not have. Remove it from `rules` in internal/auth/rules.go", p)
		}
		if r.access < anyone || r.access > admins {
			t.Errorf("the entry of %s says nobody may call it. Set `access` in internal/auth/rules.go", p)
		}
	}
}

// A request that names a tenant somewhere the table does not know of could act on another's.
func TestEveryTenantIsKnown(t *testing.T) {
	for p, m := range everyRPC() {
		r := rules[p]
		if r.access == machines || r.access == anyone || r.access == renewers {
			continue // these speak of what the server has told them, or of nothing
		}
		found := tenantPaths(m.Input(), "", 0)
		for _, path := range found {
			if !slices.Contains(r.tenants, path) {
				t.Errorf("the request of %s names a tenant in %q, which nobody checks. Add it to `tenants` of its entry in internal/auth/rules.go", p, path)
			}
		}
		for _, path := range r.tenants {
			if !slices.Contains(found, path) {
				t.Errorf("the entry of %s in internal/auth/rules.go names the field %q, which the request does not have (it has %v)", p, path, found)
			}
		}
		all := m.Input().Fields().ByName("all_tenants")
		if (all != nil) != (r.everyTenant == "all_tenants") {
			t.Errorf("the entry of %s in internal/auth/rules.go is wrong about the field all_tenants: set or remove `everyTenant`", p)
		}
	}
}

func tenantPaths(m protoreflect.MessageDescriptor, prefix string, depth int) []string {
	var paths []string
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		name := string(f.Name())
		switch {
		case strings.Contains(name, "tenant") && f.Kind() == protoreflect.StringKind:
			paths = append(paths, prefix+name)
		case f.Kind() == protoreflect.MessageKind && depth < 6:
			inner := tenantPaths(f.Message(), prefix+name+".", depth+1)
			paths = append(paths, inner...)
		}
	}
	return paths
}

func TestLimitTenants(t *testing.T) {
	ann := Identity{Kind: User, ID: "ann", Tenant: "blue", Role: Operator}
	boss := Identity{Kind: User, ID: "boss", Tenant: "default", Role: Admin}
	tenant := rule{tenants: []string{"tenant"}}
	for _, c := range []struct {
		name   string
		id     Identity
		tenant string
		want   string
		ok     bool
	}{
		{"own by default", ann, "", "blue", true},
		{"own by name", ann, "blue", "blue", true},
		{"another's", ann, "red", "red", false},
		{"an admin's by default", boss, "", "default", true},
		{"an admin in another's", boss, "red", "red", true},
		{"not a tenant", boss, "red/apps", "red/apps", false},
		{"not a tenant", boss, "../red", "../red", false},
	} {
		req := &argosyv1.ApplyRequest{Tenant: c.tenant}
		if err := limitTenants(c.id, tenant, req); (err == nil) != c.ok || req.GetTenant() != c.want {
			t.Errorf("%s: %v, tenant %q", c.name, err, req.GetTenant())
		}
	}

	nested := rule{tenants: []string{"start.key.tenant"}}
	exec := &argosyv1.ExecRequest{Start: &argosyv1.ExecWork{Key: &argosyv1.ReplicaKey{App: "shop"}}}
	if err := limitTenants(ann, nested, exec); err != nil || exec.GetStart().GetKey().GetTenant() != "blue" {
		t.Errorf("nested: %v, %v", err, exec)
	}
	exec.GetStart().GetKey().Tenant = "red"
	if err := limitTenants(ann, nested, exec); err == nil {
		t.Error("nested: another's tenant passed")
	}
	bare := &argosyv1.ExecRequest{}
	if err := limitTenants(ann, nested, bare); err != nil || bare.GetStart() != nil {
		t.Errorf("absent: %v, %v", err, bare)
	}

	every := rule{tenants: []string{"tenant"}, everyTenant: "all_tenants"}
	for id, ok := range map[Identity]bool{ann: false, boss: true} {
		req := &argosyv1.ListReplicasRequest{AllTenants: true}
		if err := limitTenants(id, every, req); (err == nil) != ok || req.GetTenant() != "" {
			t.Errorf("%s asks for all tenants: %v, %v", id, err, req)
		}
	}
}
