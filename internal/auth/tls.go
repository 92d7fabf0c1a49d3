package auth

import (
	"crypto/tls"
	"errors"
	"sync/atomic"
	"time"
)

// Source gives out the credential that holds now, so that a renewed one is used without a restart.
type Source struct {
	current atomic.Pointer[Credential]
}

// NewSource starts with a credential.
func NewSource(c *Credential) *Source {
	s := &Source{}
	s.Set(c)
	return s
}

// Current is the credential that holds now, never nil.
func (s *Source) Current() *Credential { return s.current.Load() }

// Set replaces the credential. Connections that exist keep the one they were made with.
func (s *Source) Set(c *Credential) { s.current.Store(c) }

func (s *Source) certificate() (*tls.Certificate, error) {
	c := s.Current()
	if c == nil {
		return nil, errors.New("there is no certificate yet")
	}
	return c.tlsCertificate(), nil
}

// ServerTLS is for the servers' one port. A caller may come without a certificate, to join; one that shows a certificate
// which this cluster did not sign is refused. Expired ones pass: the [Authenticator] lets them renew and nothing else.
func ServerTLS(own *Source, v *Verifier) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own.certificate() },
		ClientAuth:     tls.RequestClientCert,
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := v.FromTLS(&state)
			return err
		},
		// A resumed session would go on showing the certificate it began with, after that was renewed.
		SessionTicketsDisabled: true,
	}
}

// ClientTLS is for machines, users and servers that dial a server. The server is known by its certificate of this
// cluster; by which address it was reached does not matter.
func ClientTLS(own *Source, v *Verifier) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2", "http/1.1"},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return own.certificate()
		},
		InsecureSkipVerify: true, // VerifyConnection does it, with identities in place of host names
		VerifyConnection:   v.checkServer,
	}
}

// PinnedTLS is for a newcomer, who has a token and no certificate: it speaks only to a server whose CA is the one that
// the token names. The error otherwise wraps a [*WrongServerError].
func PinnedTLS(t Token) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{"h2", "http/1.1"},
		InsecureSkipVerify: true, // VerifyConnection does it, by the digest in the token
		VerifyConnection: func(state tls.ConnectionState) error {
			return checkPinned(t.Cluster, t.CADigest, time.Now, state)
		},
	}
}
