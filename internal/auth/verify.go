package auth

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// Verifier tells certificates of one cluster from all others.
type Verifier struct {
	cluster string
	trust   atomic.Pointer[trust]
	now     func() time.Time
}

type trust struct {
	roots *x509.CertPool
	cas   []*x509.Certificate
}

// NewVerifier trusts one CA for one cluster, until Trust says otherwise. A nil clock is time.Now.
func NewVerifier(cluster string, ca *x509.Certificate, now func() time.Time) *Verifier {
	if now == nil {
		now = time.Now
	}
	v := &Verifier{cluster: cluster, now: now}
	v.Trust(ca)
	return v
}

// Trust replaces the CAs that are trusted. Connections that exist are looked at again with each request that servers get.
func (v *Verifier) Trust(cas ...*x509.Certificate) {
	roots := x509.NewCertPool()
	for _, ca := range cas {
		roots.AddCert(ca)
	}
	v.trust.Store(&trust{roots, cas})
}

// FromTLS says who is at the other end of a connection. Without a certificate that is [Nobody]. An expired certificate is
// no error: the identity says that it is. Role and Tenant stay empty: see [Directory].
func (v *Verifier) FromTLS(state *tls.ConnectionState) (Identity, error) {
	if state == nil || len(state.PeerCertificates) == 0 {
		return Identity{}, nil
	}
	return v.Identify(state.PeerCertificates[0])
}

// Identify reads a certificate after checking that this cluster's CA signed it.
func (v *Verifier) Identify(cert *x509.Certificate) (Identity, error) {
	now := v.now()
	if now.Before(cert.NotBefore) {
		return Identity{}, &ClockError{cert.NotBefore, cert.NotAfter, now}
	}
	// Whether the signature is right does not depend on the hour: what has expired is checked as of its last one.
	at, expired := now, false
	if now.After(cert.NotAfter) {
		at, expired = cert.NotAfter, true
	}
	if _, err := cert.Verify(x509.VerifyOptions{
		Roots:       v.trust.Load().roots,
		CurrentTime: at,
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return Identity{}, fmt.Errorf("the certificate was not signed by this cluster (%s): %w", v.cluster, err)
	}
	if len(cert.URIs) != 1 {
		return Identity{}, fmt.Errorf("the certificate names %d identities instead of one", len(cert.URIs))
	}
	cluster, kind, id, err := parseIdentityURI(cert.URIs[0])
	if err != nil {
		return Identity{}, fmt.Errorf("reading the certificate: %w", err)
	}
	if cluster != v.cluster {
		return Identity{}, fmt.Errorf("the certificate is for cluster %s, and this is cluster %s", cluster, v.cluster)
	}
	return Identity{Kind: kind, ID: id, Expired: expired}, nil
}

// ClockError says that a certificate is not good at the hour that the clock of this host shows.
type ClockError struct {
	Begins, Ends, Now time.Time
}

func (e *ClockError) Error() string {
	if e.Now.Before(e.Begins) {
		return fmt.Sprintf("the certificate is good only from %s on, and here it is %s: set the clocks right", utc(e.Begins), utc(e.Now))
	}
	return fmt.Sprintf("the certificate ended on %s, and here it is %s", utc(e.Ends), utc(e.Now))
}

func utc(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// WrongServerError says that whoever answered is not a server of the cluster that was meant.
type WrongServerError struct {
	Cluster string
	Cause   error
}

func (e *WrongServerError) Error() string {
	return fmt.Sprintf("the server that answered does not belong to cluster %s (%v): check the address; nothing was sent to it", e.Cluster, e.Cause)
}

func (e *WrongServerError) Unwrap() error { return e.Cause }

// successor says whether a certificate calls itself an authority of the cluster, and is not one that is trusted.
func (v *Verifier) successor(cert *x509.Certificate) bool {
	return authorityOf(cert, v.cluster) && !slices.ContainsFunc(v.trust.Load().cas, cert.Equal)
}

// errRotated is the harmless explanation. Whether it is the right one cannot be told from here: the authority that this host
// trusts may be the one that was given up because others had its key.
var errRotated = errors.New("if the cluster's authority was rotated while this host was away, join it, or log in, again with a new token")

// checkServer refuses everyone but a server of this cluster with a certificate that is good now.
func (v *Verifier) checkServer(state tls.ConnectionState) error {
	id, err := v.FromTLS(&state)
	var clock *ClockError
	switch {
	case errors.As(err, &clock): // nothing says that it is of another cluster
		return err
	case err != nil && len(state.PeerCertificates) > 1 && v.successor(state.PeerCertificates[1]):
		return &WrongServerError{v.cluster, fmt.Errorf("it has a certificate of another authority, which calls itself this cluster's: %w", errRotated)}
	case err != nil:
		return &WrongServerError{v.cluster, err}
	case id.Kind != Server:
		return &WrongServerError{v.cluster, fmt.Errorf("it is a %s", id.Kind)}
	case id.Expired:
		cert := state.PeerCertificates[0]
		return fmt.Errorf("server %s: %w: restart that server so that it makes a new one, or set the clocks right",
			id.ID, &ClockError{cert.NotBefore, cert.NotAfter, v.now()})
	}
	return nil
}

// checkPinned trusts the CA that a server sends along if its digest is the one that a token carried.
func checkPinned(cluster string, digest [sha256.Size]byte, now func() time.Time, state tls.ConnectionState) error {
	for i, cert := range state.PeerCertificates {
		if i > 0 && sha256.Sum256(cert.Raw) == digest && cert.IsCA {
			return NewVerifier(cluster, cert, now).checkServer(state)
		}
	}
	for i, cert := range state.PeerCertificates {
		if i > 0 && authorityOf(cert, cluster) {
			return &WrongServerError{cluster, errors.New("its certificate authority is not the one in the token; if the cluster's authority was rotated since, ask for a new token")}
		}
	}
	return &WrongServerError{cluster, errors.New("its certificate authority is not the one in the token")}
}
