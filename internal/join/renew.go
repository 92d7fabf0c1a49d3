package join

import (
	"context"
	"net/http"

	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/protocol"
	"github.com/argosy-cluster/argosy/internal/version"
)

// Renew asks one server after another for a new certificate.
func Renew(ctx context.Context, hc *http.Client, servers []string, csr []byte) (out auth.Issued, err error) {
	for _, server := range servers {
		var res *connect.Response[argosyv1.RenewResponse]
		res, err = argosyv1connect.NewJoinServiceClient(hc, "https://"+server, protocol.Client(version.Version)).Renew(ctx, connect.NewRequest(&argosyv1.RenewRequest{Csr: csr}))
		if err == nil {
			return auth.Issued{Certificate: res.Msg.Certificate, CA: res.Msg.Ca, Also: res.Msg.AlsoTrusted}, nil
		}
	}
	return out, err
}
