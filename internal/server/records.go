package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/store"
)

// record is a message and where it is kept.
type record struct {
	key string
	m   proto.Message
}

func puts(records ...record) ([]store.Op, error) {
	ops := make([]store.Op, 0, len(records))
	for _, r := range records {
		op, err := store.Put(r.key, r.m)
		if err != nil {
			return nil, err
		}
		ops = append(ops, op)
	}
	return ops, nil
}

// newID is 128 random bits in hex.
func (s *Server) newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // documented never to fail
	return hex.EncodeToString(b[:])
}

func respond[T any](m *T, err error) (*connect.Response[T], error) {
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(m), nil
}

// tenant is the one that a request is about: the one it names, or the caller's own. The interceptor has checked it
// already; it is checked again here because whoever reads a handler should see it.
func (s *Server) tenant(ctx context.Context, asked string) (string, error) {
	id := auth.IdentityFrom(ctx)
	own := id.Tenant
	if own == "" {
		own = auth.DefaultTenant
	}
	switch {
	case asked == "" || asked == own:
		return own, nil
	case id.Role == auth.Admin:
		if err := auth.CheckName("tenant", asked); err != nil {
			return "", connect.NewError(connect.CodeInvalidArgument, err)
		}
		return asked, nil
	}
	return "", connect.NewError(connect.CodePermissionDenied, errors.New("you may act for tenant "+own+" only"))
}

// mayAllTenants refuses callers that may not see what is not their own tenant's.
func mayAllTenants(ctx context.Context) error {
	if auth.IdentityFrom(ctx).Role == auth.Admin {
		return nil
	}
	return connect.NewError(connect.CodePermissionDenied, errors.New("only administrators see all tenants"))
}

func actorOf(ctx context.Context) string { return auth.IdentityFrom(ctx).Actor() }
