package server

import (
	"context"

	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/manifest"
	"github.com/argosy-cluster/argosy/internal/pattern"
)

// dnsLabel is what apps, stacks, containers, machines and secrets are called: a DNS label that starts with a letter.
var dnsLabel = pattern.New(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)

// checked reads the tenant and the spec of a request. A spec from outside is as hostile as any input: it is checked here
// again, whoever parsed it. No administrator's policy grants anything to any tenant yet.
func (s *Server) checked(ctx context.Context, asked string, spec *argosyv1.AppSpec) (string, *argosyv1.AppSpec, error) {
	tenant, err := s.tenant(ctx, asked)
	if err != nil {
		return "", nil, err
	}
	if err := manifest.Verify(spec, manifest.Grants{}); err != nil {
		return "", nil, invalid("%w", err)
	}
	// Units run as root, and the machines are everybody's. Whoever has the machines may; no policy grants it to others yet.
	if len(spec.Units) > 0 && tenant != auth.DefaultTenant {
		return "", nil, refused("units run as root on the machines, which belong to tenant %s: no policy grants them to tenant %s", auth.DefaultTenant, tenant)
	}
	if err := s.mayShare(tenant, spec); err != nil {
		return "", nil, err
	}
	return tenant, proto.CloneOf(spec), nil // it is changed from here on, and the request is not
}

// named reads the tenant of a request that is about an app, and checks the app's name.
func (s *Server) named(ctx context.Context, asked, app string) (string, error) {
	tenant, err := s.tenant(ctx, asked)
	if err != nil {
		return "", err
	}
	return tenant, checkNames(app, "")
}

// checkNames refuses what can name no app and no stack. An empty stack means every stack.
func checkNames(app, stack string) error {
	switch {
	case app == "":
		return invalid("no app is named: say which one")
	case manifest.CheckAppName(app) != nil:
		return invalid("%q cannot name an app: it is a DNS label that starts with a letter, or the name of a unit", clip(app))
	case stack != "" && !dnsLabel.MatchString(stack):
		return invalid("%q cannot name a stack: it is a DNS label that starts with a letter", clip(stack))
	}
	return nil
}
