package state

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// DefaultTenant owns what nobody else does.
const DefaultTenant = "default"

// AppKey names an app.
type AppKey struct{ Tenant, App string }

func (k AppKey) String() string { return prefixed(k.Tenant, k.App) }

// Stack is the key of one of the app's stacks.
func (k AppKey) Stack(name string) StackKey { return StackKey{k.Tenant, k.App, name} }

// StackKey names a stack of an app.
type StackKey struct{ Tenant, App, Stack string }

func (k StackKey) String() string { return prefixed(k.Tenant, k.App+"/"+k.Stack) }

// AppKey is the key of the app that the stack belongs to.
func (k StackKey) AppKey() AppKey { return AppKey{k.Tenant, k.App} }

// Replica is the key of one of the stack's replicas.
func (k StackKey) Replica(number uint32) Key { return Key{k.Tenant, k.App, k.Stack, number} }

// Key names a replica: the comparable form of argosyv1.ReplicaKey.
type Key struct {
	Tenant, App, Stack string
	Number             uint32
}

// KeyOf is the comparable form of a key.
func KeyOf(k *argosyv1.ReplicaKey) Key {
	return Key{k.GetTenant(), k.GetApp(), k.GetStack(), k.GetNumber()}
}

// Proto is the message form of a key.
func (k Key) Proto() *argosyv1.ReplicaKey {
	return &argosyv1.ReplicaKey{Tenant: k.Tenant, App: k.App, Stack: k.Stack, Number: k.Number}
}

// AppKey is the key of the app that the replica belongs to.
func (k Key) AppKey() AppKey { return AppKey{k.Tenant, k.App} }

// StackKey is the key of the stack that the replica is a copy of.
func (k Key) StackKey() StackKey { return StackKey{k.Tenant, k.App, k.Stack} }

// String is the form people use: `shop/lamp.3`, or `acme:shop/lamp.3` when the tenant is not the default one.
func (k Key) String() string {
	return prefixed(k.Tenant, k.App+"/"+k.Stack+"."+strconv.FormatUint(uint64(k.Number), 10))
}

// Compare orders keys by tenant, app, stack and number.
func (k Key) Compare(o Key) int {
	return cmp.Or(strings.Compare(k.Tenant, o.Tenant), strings.Compare(k.App, o.App),
		strings.Compare(k.Stack, o.Stack), cmp.Compare(k.Number, o.Number))
}

// Compare orders keys by tenant, app and stack.
func (k StackKey) Compare(o StackKey) int {
	return cmp.Or(strings.Compare(k.Tenant, o.Tenant), strings.Compare(k.App, o.App),
		strings.Compare(k.Stack, o.Stack))
}

// Compare orders keys by tenant and name.
func (k AppKey) Compare(o AppKey) int {
	return cmp.Or(strings.Compare(k.Tenant, o.Tenant), strings.Compare(k.App, o.App))
}

// VolumeKey names a volume of a replica.
type VolumeKey struct {
	Replica Key
	Name    string
}

func (k VolumeKey) String() string { return k.Replica.String() + "/" + k.Name }

// SecretKey names a tenant's secret or, for credentials, a registry.
type SecretKey struct{ Tenant, Name string }

func prefixed(tenant, rest string) string {
	if tenant == "" || tenant == DefaultTenant {
		return rest
	}
	return tenant + ":" + rest
}

// split cuts what follows a prefix into exactly n parts.
func split(rest string, n int) ([]string, error) {
	parts := strings.Split(rest, "/")
	if len(parts) != n {
		return nil, fmt.Errorf("the key has %d parts where %d are expected", len(parts), n)
	}
	return parts, nil
}

func parseHex(s string, bits int) (uint64, error) {
	n, err := strconv.ParseUint(s, 16, bits)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number: %w", s, err)
	}
	return n, nil
}
