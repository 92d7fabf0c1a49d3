package auth

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/argosy-cluster/argosy/internal/pattern"
)

// Kind of a caller.
type Kind int

// The kinds. The zero Kind is a caller that showed no certificate.
const (
	Nobody  Kind = iota
	Local        // the server's Unix socket
	User         // somebody who logged in
	Machine      // an agent
	Server       // another server
)

var kindNames = [...]string{Nobody: "nobody", Local: "local", User: "user", Machine: "machine", Server: "server"}

func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("kind %d", int(k))
	}
	return kindNames[k]
}

// Role of a user; each but monitor, which stands beside them, includes the ones after it.
type Role string

// The roles.
const (
	Admin    Role = "admin"    // the whole cluster, every tenant
	Operator Role = "operator" // apps and secrets of the own tenant
	Viewer   Role = "viewer"   // reads what is the own tenant's, never a secret's value
	Monitor  Role = "monitor"  // reads the servers' metrics, which are of all tenants, and how the cluster is; nothing else
)

// DefaultTenant owns what nobody said a tenant for.
const DefaultTenant = "default"

// Identity is who calls.
type Identity struct {
	Kind Kind
	// ID is a machine's or server's id, a user's name, or `local`.
	ID string
	// Tenant and Role are set for users, and for Local, which is an admin.
	Tenant string
	Role   Role
	// Expired certificates are good for renewal only.
	Expired bool
}

// LocalIdentity is whoever may open the server's Unix socket.
func LocalIdentity() Identity {
	return Identity{Kind: Local, ID: "local", Tenant: DefaultTenant, Role: Admin}
}

// String names the caller as messages and the history do: `user ann`, `machine 4f…`, `local`.
func (i Identity) String() string {
	switch i.Kind {
	case Nobody, Local:
		return i.Kind.String()
	}
	return i.Kind.String() + " " + i.ID
}

// Actor is the name that history and revisions record: a user's name, `local`, or kind and id.
func (i Identity) Actor() string {
	if i.Kind == User {
		return i.ID
	}
	return i.String()
}

// nameForm is what ids and names of users look like: safe in a URI, a key of the store, a file name and a log.
var nameForm = pattern.New(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// CheckName says what is wrong with a name for a user or a tenant.
func CheckName(what, name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("%q cannot be the name of a %s: names are 1 to 63 small letters, digits, dots, dashes and underscores, and begin with a letter or digit",
			clip(name), what)
	}
	return nil
}

// CheckRole says whether a role exists.
func CheckRole(role string) error {
	switch Role(role) {
	case Admin, Operator, Viewer, Monitor:
		return nil
	}
	return fmt.Errorf("there is no role %q: choose admin, operator, viewer or monitor", clip(role))
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

const scheme = "argosy"

// identityURI is the name in a certificate: `argosy://<cluster id>/machine/<id>`.
func identityURI(cluster string, kind Kind, id string) (*url.URL, error) {
	switch kind {
	case User, Machine, Server:
	default:
		return nil, fmt.Errorf("certificates are for users, machines and servers, not for %s", kind)
	}
	if !nameForm.MatchString(cluster) || !nameForm.MatchString(id) {
		return nil, fmt.Errorf("%q of cluster %q cannot be the name in a certificate", clip(id), clip(cluster))
	}
	return &url.URL{Scheme: scheme, Host: cluster, Path: "/" + kind.String() + "/" + id}, nil
}

// parseIdentityURI reads back what identityURI made, and nothing else.
func parseIdentityURI(u *url.URL) (cluster string, kind Kind, id string, err error) {
	parts := strings.Split(u.Path, "/")
	if u.Scheme == scheme && len(parts) == 3 && parts[0] == "" {
		for _, k := range []Kind{User, Machine, Server} {
			if parts[1] != k.String() {
				continue
			}
			// Escapes, ports, queries and the like make another URI than the one that the name makes.
			made, err := identityURI(u.Host, k, parts[2])
			if err == nil && made.String() == u.String() {
				return u.Host, k, parts[2], nil
			}
		}
	}
	return "", Nobody, "", fmt.Errorf("%q does not name a user, machine or server of a cluster", clip(u.String()))
}

type identityKey struct{}

// WithIdentity returns a context whose caller is known.
func WithIdentity(ctx context.Context, id Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, id)
}

// IdentityFrom says who calls. Without an [Authenticator] before it, that is [Nobody].
func IdentityFrom(ctx context.Context) Identity {
	id, _ := ctx.Value(identityKey{}).(Identity)
	return id
}
