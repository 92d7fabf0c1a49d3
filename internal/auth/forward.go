package auth

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
)

// callerHeader says on whose behalf a server asks another: callerNobody, callerLocal, or the caller's certificate, DER in
// base 64. The certificate is checked again where it arrives; what the server vouches for is that the caller holds its key.
const (
	callerHeader = "Argosy-Caller"
	callerNobody = "nobody"
	callerLocal  = "local"
)

// Pass writes into the head of a request to another server on whose behalf it is made. It fails for a caller that was not
// who it said, and for a request that was passed on before: no request goes further than one server.
func Pass(ctx context.Context, head http.Header) error {
	c := callerFrom(ctx)
	switch {
	case c.err != nil:
		return c.err
	case c.by != "":
		return errors.New("the request has been passed on already")
	case c.cert != nil:
		head.Set(callerHeader, base64.StdEncoding.EncodeToString(c.cert.Raw))
	case c.identity.Kind == Local:
		head.Set(callerHeader, callerLocal)
	default:
		head.Set(callerHeader, callerNobody)
	}
	return nil
}

// PassedBy is the id of the server that passed a request on, empty when it came from the caller itself.
func PassedBy(ctx context.Context) string { return callerFrom(ctx).by }

// vouched is the caller that another server speaks for. Nobody but a server that is in the cluster may.
func (a *Authenticator) vouched(ctx context.Context, from caller, text string) caller {
	refused := caller{err: errors.New("only servers ask on behalf of others")}
	if from.err != nil || from.identity.Kind != Server || from.identity.Expired {
		return refused
	}
	if _, err := a.complete(ctx, from); err != nil {
		return caller{err: fmt.Errorf("asking on behalf of others: %w", err)}
	}
	c := caller{by: from.identity.ID}
	switch text {
	case callerNobody:
		return c
	case callerLocal:
		c.identity = LocalIdentity()
		return c
	}
	der, err := base64.StdEncoding.DecodeString(text)
	if err == nil {
		c.cert, err = x509.ParseCertificate(der)
	}
	if err != nil {
		return refused
	}
	if c.identity, err = a.verifier.Identify(c.cert); err != nil {
		return caller{err: err}
	}
	return c
}
