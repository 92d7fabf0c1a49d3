package remote

import (
	"fmt"
	"log/slog"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"

	"github.com/argosy-cluster/argosy/internal/image"
)

// Credentials are what a registry wants to see. The zero value is nobody. They show themselves in no log and no message.
type Credentials struct {
	Username, Password string
	IdentityToken      string // given by a registry at login, instead of a password
	RegistryToken      string // a bearer token, sent as it is
}

func (c Credentials) String() string {
	if c == (Credentials{}) {
		return "no credentials"
	}
	return fmt.Sprintf("credentials of %q", c.Username)
}

// GoString keeps %#v from showing secrets.
func (c Credentials) GoString() string { return c.String() }

// LogValue keeps slog from showing secrets.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

func (c Credentials) authenticator() authn.Authenticator {
	if c == (Credentials{}) {
		return authn.Anonymous
	}
	return authn.FromConfig(authn.AuthConfig{
		Username: c.Username, Password: c.Password, IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken,
	})
}

// RegistryAuth returns the credentials in the form that Docker Engine's ImagePullOptions.RegistryAuth wants, for pulling
// ref. It is empty for the zero Credentials.
func (c Credentials) RegistryAuth(ref image.Ref) (string, error) {
	if c == (Credentials{}) {
		return "", nil
	}
	address := ref.Host()
	if address == "docker.io" {
		address = "https://index.docker.io/v1/" // what Docker calls it for historical reasons
	}
	return authconfig.Encode(registry.AuthConfig{
		Username: c.Username, Password: c.Password, IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken,
		ServerAddress: address,
	})
}
