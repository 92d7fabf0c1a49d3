package auth

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
)

// Authenticator stands before a server's handlers. It finds out who calls, whether the caller may, and for which tenant.
type Authenticator struct {
	verifier  *Verifier
	directory Lookup
	seen      func(Identity, *x509.Certificate) // nil when nobody wants to know
	announce  func() string                     // nil when users are not told
}

// NewAuthenticator puts one together. The directory is a [*Directory].
func NewAuthenticator(v *Verifier, d Lookup) *Authenticator {
	return &Authenticator{verifier: v, directory: d}
}

// Seen has f called with every certificate of somebody that belongs to the cluster, for each request. It must be quick.
func (a *Authenticator) Seen(f func(Identity, *x509.Certificate)) { a.seen = f }

// Announce tells users with each answer which authorities the cluster goes by, so that they can follow.
func (a *Authenticator) Announce(c *Cluster) { a.announce = c.announcement }

// caller is what the connection tells about the other end. It is looked into further when it is known what is asked.
type caller struct {
	identity Identity
	cert     *x509.Certificate // nil without one
	err      error             // why the caller is not who the certificate says
	// by is the server that passed the request on, empty when it came from the caller itself.
	by string
}

type callerKey struct{}

func callerFrom(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// peerCertificate is the certificate that the caller showed, or nil.
func peerCertificate(ctx context.Context) *x509.Certificate { return callerFrom(ctx).cert }

// Middleware notes who is at the other end of each request's connection. It goes around everything that a server
// serves, on the TLS port and on the Unix socket; it refuses nothing itself.
func (a *Authenticator) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := a.identify(r)
		if text := r.Header.Get(callerHeader); text != "" {
			c = a.vouched(r.Context(), c, text)
		} else if a.announce != nil && c.identity.Kind == User {
			w.Header().Set(authoritiesHeader, a.announce())
		}
		r.Header.Del(callerHeader)
		ctx := context.WithValue(r.Context(), callerKey{}, c)
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

func (a *Authenticator) identify(r *http.Request) caller {
	if local, isLocal := localFrom(r.Context()); isLocal {
		if local.err != nil {
			return caller{err: local.err}
		}
		return caller{identity: LocalIdentity()}
	}
	id, err := a.verifier.FromTLS(r.TLS)
	if err != nil {
		return caller{err: err}
	}
	c := caller{identity: id}
	if id.Kind != Nobody {
		c.cert = r.TLS.PeerCertificates[0]
	}
	return c
}

// authorise returns the caller of an RPC if it may call it. The error is a [*connect.Error] with a sentence.
func (a *Authenticator) authorise(ctx context.Context, procedure string) (Identity, rule, error) {
	method := procedure[strings.LastIndexByte(procedure, '/')+1:]
	r, known := rules[procedure]
	if !known {
		return Identity{}, rule{}, connect.NewError(connect.CodePermissionDenied,
			fmt.Errorf("nobody may call %s: it has no entry in the table of permissions", method))
	}
	id, err := a.allow(ctx, r.access, method)
	return id, r, err
}

func (a *Authenticator) allow(ctx context.Context, need access, what string) (Identity, error) {
	c := callerFrom(ctx)
	if need == anyone {
		// A newcomer may hold an old certificate: it counts for nothing here.
		return Identity{}, nil
	}
	if c.err != nil {
		return Identity{}, connect.NewError(connect.CodeUnauthenticated, c.err)
	}
	if c.identity.Kind == Nobody {
		return Identity{}, connect.NewError(connect.CodeUnauthenticated,
			fmt.Errorf("%s needs a certificate: run `argosy login` with a token from an administrator, or use the Unix socket on a server", what))
	}
	if c.identity.Expired && need != renewers {
		return Identity{}, connect.NewError(connect.CodeUnauthenticated,
			fmt.Errorf("the certificate of %s ended on %s: renew it, which still works, and try again", c.identity, c.cert.NotAfter.UTC().Format("2006-01-02")))
	}
	id, err := a.complete(ctx, c)
	if err != nil {
		return Identity{}, err
	}
	if ok, needs := need.allows(id); !ok {
		return Identity{}, connect.NewError(connect.CodePermissionDenied, fmt.Errorf("%s needs %s, and %s has %s", what, needs, id, holds(id)))
	}
	return id, nil
}

func (a *Authenticator) complete(ctx context.Context, c caller) (Identity, error) {
	if c.cert == nil {
		return c.identity, nil
	}
	digest, err := KeyDigest(c.cert.PublicKey)
	if err != nil {
		return Identity{}, connect.NewError(connect.CodeUnauthenticated, err)
	}
	id, err := a.directory.Complete(ctx, c.identity, digest)
	var unknown *UnknownError
	switch {
	case errors.As(err, &unknown):
		return Identity{}, connect.NewError(connect.CodeUnauthenticated, err)
	case err != nil:
		return Identity{}, connect.NewError(connect.CodeUnavailable, err)
	}
	if a.seen != nil {
		a.seen(id, c.cert)
	}
	return id, nil
}

func holds(id Identity) string {
	switch {
	case id.Kind == User && id.Role != "":
		return "the role " + string(id.Role)
	case id.Kind == User:
		return "no role"
	}
	return "a " + id.Kind.String() + "'s certificate"
}

// Interceptor checks every RPC of a handler against the table of permissions. Handlers made without it are open to
// everybody: it belongs on each.
func (a *Authenticator) Interceptor() connect.Interceptor { return interceptor{a} }

type interceptor struct{ a *Authenticator }

func (i interceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if req.Spec().IsClient {
			return next(ctx, req)
		}
		id, r, err := i.a.authorise(ctx, req.Spec().Procedure)
		if err != nil {
			return nil, err
		}
		if err := limitMessage(id, r, req.Any()); err != nil {
			return nil, err
		}
		return next(WithIdentity(ctx, id), req)
	}
}

func (interceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (i interceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		id, r, err := i.a.authorise(ctx, conn.Spec().Procedure)
		if err != nil {
			return err
		}
		return next(WithIdentity(ctx, id), &limitedConn{StreamingHandlerConn: conn, id: id, rule: r})
	}
}

// limitedConn looks at the tenant in every message that arrives.
type limitedConn struct {
	connect.StreamingHandlerConn
	id   Identity
	rule rule
}

func (c *limitedConn) Receive(m any) error {
	if err := c.StreamingHandlerConn.Receive(m); err != nil {
		return err
	}
	return limitMessage(c.id, c.rule, m)
}

func limitMessage(id Identity, r rule, m any) error {
	if len(r.tenants) == 0 && r.everyTenant == "" {
		return nil
	}
	msg, ok := m.(proto.Message)
	if !ok {
		return connect.NewError(connect.CodeInternal, fmt.Errorf("a request of type %T names no tenant", m))
	}
	if err := limitTenants(id, r, msg); err != nil {
		return connect.NewError(connect.CodePermissionDenied, err)
	}
	return nil
}

// Allow is who may use a plain HTTP handler, one that is no RPC.
type Allow int

// Who may.
const (
	AllowMachines           = Allow(machines)
	AllowMachinesAndViewers = Allow(readers)
	AllowViewers            = Allow(viewers)
	AllowOperators          = Allow(operators)
	AllowAdmins             = Allow(admins)
	AllowMonitors           = Allow(monitors)
)

// RequireHTTP lets only some callers through to a plain HTTP handler, which finds out with [IdentityFrom] who it is. What
// names the handler in messages.
func (a *Authenticator) RequireHTTP(who Allow, what string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := a.allow(r.Context(), access(who), what)
		if err == nil {
			next.ServeHTTP(w, r.WithContext(WithIdentity(r.Context(), id)))
			return
		}
		status := http.StatusServiceUnavailable
		switch connect.CodeOf(err) {
		case connect.CodeUnauthenticated:
			status = http.StatusUnauthorized
		case connect.CodePermissionDenied:
			status = http.StatusForbidden
		}
		var ce *connect.Error
		if errors.As(err, &ce) {
			http.Error(w, ce.Message(), status)
			return
		}
		http.Error(w, err.Error(), status)
	})
}
