package server

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/pattern"
	"github.com/argosy-cluster/argosy/internal/store"
)

// maxSecret is the largest value of a secret, in bytes.
const maxSecret = 512 << 10

// A registry is a host with an optional port.
var registryName = pattern.New(`^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,251}[a-zA-Z0-9])?(:[0-9]{1,5})?$`)

// secretService answers argosy.v1.SecretService.
type secretService struct{ *Server }

func (s secretService) SetSecret(ctx context.Context, r *connect.Request[argosyv1.SetSecretRequest]) (*connect.Response[argosyv1.SecretInfo], error) {
	tenant, err := s.tenant(ctx, r.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	switch {
	case !dnsLabel.MatchString(r.Msg.Name):
		return nil, invalid("%q cannot name a secret: it is a DNS label that starts with a letter, such as db-root", clip(r.Msg.Name))
	case len(r.Msg.Value) == 0:
		return nil, invalid("the value of secret %s is empty", r.Msg.Name)
	case len(r.Msg.Value) > maxSecret:
		return nil, invalid("the value of secret %s is larger than %d KiB", r.Msg.Name, maxSecret>>10)
	}
	res := &argosyv1.SecretInfo{}
	err = s.change(ctx, change{
		rpc: "SetSecret", tenant: tenant, key: r.Msg.IdempotencyKey, response: res,
		request: &argosyv1.SetSecretRequest{Tenant: tenant, Name: r.Msg.Name, Value: s.mark(r.Msg.Value)},
		decide: func(now time.Time, v *leader.View) (leader.Proposal, error) {
			next := &storev1.Secret{Tenant: tenant, Name: r.Msg.Name, Version: v.Above(v.Secret(tenant, r.Msg.Name).GetVersion()), ChangedAt: timestamppb.New(now)}
			s.encrypt(auth.KindSecret, next, r.Msg.Value)
			proto.Merge(res, secretInfo(next))
			ops, err := puts(record{store.SecretKey(tenant, next.Name), next})
			return leader.Proposal{Ops: ops, Transitions: []*argosyv1.Transition{{Kind: argosyv1.TransitionKind_TRANSITION_KIND_SECURITY,
				Tenant: tenant, To: fmt.Sprintf("secret %s set to version %d", next.Name, next.Version), Actor: actorOf(ctx)}}}, err
		},
	})
	return respond(res, err)
}

// mark stands for a secret value where it has to be told from others and not kept: an outcome remembers the digest of its
// request, from which a short value could be guessed.
func (s *Server) mark(value []byte) []byte {
	return s.cluster.Keyring().Fingerprint(auth.NewSecret(value))
}

func secretInfo(s *storev1.Secret) *argosyv1.SecretInfo {
	return &argosyv1.SecretInfo{Tenant: s.Tenant, Name: s.Name, Version: s.Version, ChangedAt: s.ChangedAt}
}

func (s secretService) ListSecrets(ctx context.Context, r *connect.Request[argosyv1.ListSecretsRequest]) (*connect.Response[argosyv1.ListSecretsResponse], error) {
	tenant, err := s.tenant(ctx, r.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	res := &argosyv1.ListSecretsResponse{}
	err = s.read(func(_ time.Time, v *leader.View) error {
		for _, sec := range v.Secrets(tenant) {
			res.Secrets = append(res.Secrets, secretInfo(sec))
		}
		return nil
	})
	return respond(res, err)
}

func (s secretService) DeleteSecret(ctx context.Context, r *connect.Request[argosyv1.DeleteSecretRequest]) (*connect.Response[argosyv1.DeleteSecretResponse], error) {
	tenant, err := s.tenant(ctx, r.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	res := &argosyv1.DeleteSecretResponse{}
	err = s.change(ctx, change{
		rpc: "DeleteSecret", tenant: tenant, key: r.Msg.IdempotencyKey, request: r.Msg, response: res,
		decide: func(_ time.Time, v *leader.View) (leader.Proposal, error) {
			if v.Secret(tenant, r.Msg.Name) == nil {
				return leader.Proposal{}, notFound("there is no secret %s; see 'argosy secret list'", clip(r.Msg.Name))
			}
			if user := secretUser(v, tenant, r.Msg.Name); user != "" {
				return leader.Proposal{}, refused("secret %s is used by %s: change that app first", r.Msg.Name, user)
			}
			return leader.Proposal{Ops: []store.Op{store.Delete(store.SecretKey(tenant, r.Msg.Name))},
				Transitions: []*argosyv1.Transition{{Kind: argosyv1.TransitionKind_TRANSITION_KIND_SECURITY,
					Tenant: tenant, To: "secret " + r.Msg.Name + " deleted", Actor: actorOf(ctx)}}}, nil
		},
	})
	return respond(res, err)
}

// secretUser names a container of a current revision that uses a secret, or is empty.
func secretUser(v *leader.View, tenant, name string) string {
	for _, app := range v.Apps(tenant) {
		for _, c := range v.AppRevision(tenant, app.Name, app.Revision).GetSpec().GetContainers() {
			for _, ref := range c.Secrets {
				if ref.Source == name {
					return fmt.Sprintf("container %s of app %s", c.Name, app.Name)
				}
			}
		}
	}
	return ""
}

func (s secretService) SetRegistryCredential(ctx context.Context, r *connect.Request[argosyv1.SetRegistryCredentialRequest]) (*connect.Response[argosyv1.RegistryCredentialInfo], error) {
	tenant, err := s.tenant(ctx, r.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	registry := strings.ToLower(r.Msg.Registry)
	switch {
	case !registryName.MatchString(registry):
		return nil, invalid("%q is not a registry: write its host and, where it has one, its port, such as registry.example.com:5000", clip(r.Msg.Registry))
	case r.Msg.Username == "" || len(r.Msg.Username) > 256:
		return nil, invalid("the user name is empty or longer than 256 bytes")
	case r.Msg.Password == "" || len(r.Msg.Password) > 64<<10:
		return nil, invalid("the password is empty or longer than 64 KiB")
	}
	res := &argosyv1.RegistryCredentialInfo{}
	err = s.change(ctx, change{
		rpc: "SetRegistryCredential", tenant: tenant, key: r.Msg.IdempotencyKey, response: res,
		request: &argosyv1.SetRegistryCredentialRequest{Tenant: tenant, Registry: registry, Username: r.Msg.Username,
			Password: hex.EncodeToString(s.mark([]byte(r.Msg.Password)))},
		decide: func(now time.Time, v *leader.View) (leader.Proposal, error) {
			next := &storev1.Secret{Tenant: tenant, Name: registry, Username: r.Msg.Username,
				Version: v.Above(v.Credential(tenant, registry).GetVersion()), ChangedAt: timestamppb.New(now)}
			s.encrypt(auth.KindRegistry, next, []byte(r.Msg.Password))
			proto.Merge(res, &argosyv1.RegistryCredentialInfo{Tenant: tenant, Registry: registry, Username: next.Username})
			ops, err := puts(record{store.RegistryKey(tenant, registry), next})
			return leader.Proposal{Ops: ops, Transitions: []*argosyv1.Transition{{Kind: argosyv1.TransitionKind_TRANSITION_KIND_SECURITY,
				Tenant: tenant, To: "credential for " + registry + " set", Actor: actorOf(ctx)}}}, err
		},
	})
	return respond(res, err)
}

func (s secretService) ListRegistryCredentials(ctx context.Context, r *connect.Request[argosyv1.ListRegistryCredentialsRequest]) (*connect.Response[argosyv1.ListRegistryCredentialsResponse], error) {
	tenant, err := s.tenant(ctx, r.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	res := &argosyv1.ListRegistryCredentialsResponse{}
	err = s.read(func(_ time.Time, v *leader.View) error {
		for _, c := range v.Credentials(tenant) {
			res.Credentials = append(res.Credentials, &argosyv1.RegistryCredentialInfo{Tenant: tenant, Registry: c.Name, Username: c.Username})
		}
		return nil
	})
	return respond(res, err)
}

func (s secretService) DeleteRegistryCredential(ctx context.Context, r *connect.Request[argosyv1.DeleteRegistryCredentialRequest]) (*connect.Response[argosyv1.DeleteRegistryCredentialResponse], error) {
	tenant, err := s.tenant(ctx, r.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	registry := strings.ToLower(r.Msg.Registry)
	res := &argosyv1.DeleteRegistryCredentialResponse{}
	err = s.change(ctx, change{
		rpc: "DeleteRegistryCredential", tenant: tenant, key: r.Msg.IdempotencyKey, request: r.Msg, response: res,
		decide: func(_ time.Time, v *leader.View) (leader.Proposal, error) {
			if v.Credential(tenant, registry) == nil {
				return leader.Proposal{}, notFound("there is no credential for %s; see 'argosy registry list'", clip(registry))
			}
			return leader.Proposal{Ops: []store.Op{store.Delete(store.RegistryKey(tenant, registry))},
				Transitions: []*argosyv1.Transition{{Kind: argosyv1.TransitionKind_TRANSITION_KIND_SECURITY,
					Tenant: tenant, To: "credential for " + registry + " deleted", Actor: actorOf(ctx)}}}, nil
		},
	})
	return respond(res, err)
}
