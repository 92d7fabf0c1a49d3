package external

import (
	"context"
	"net"

	"google.golang.org/grpc/credentials"
)

// fresh reads the authorities and the certificate from their files for each connection, so that etcd's authority can be changed while
// servers run. What cannot be read makes no connection; those that there are stay.
type fresh struct {
	credentials.TransportCredentials
	cfg Config
}

// ClientHandshake implements credentials.TransportCredentials.
func (f fresh) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	t, err := f.cfg.tls()
	if err != nil {
		return nil, nil, err
	}
	return credentials.NewTLS(t).ClientHandshake(ctx, authority, raw)
}

// Clone implements credentials.TransportCredentials.
func (f fresh) Clone() credentials.TransportCredentials {
	return fresh{f.TransportCredentials.Clone(), f.cfg}
}
