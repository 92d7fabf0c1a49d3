package auth

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"
)

// How long certificates are good for. A third before its end the holder of one renews it.
const (
	CertificateLife = 90 * 24 * time.Hour
	caLife          = 3653 * 24 * time.Hour
	// backdate allows for clocks that are behind.
	backdate = 10 * time.Minute
)

// ServerName is the common name in servers' certificates and in no others: members of the store accept each other by it.
const ServerName = "argosy-server"

// CA signs a cluster's certificates. Make it with newCA or loadCA.
type CA struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// newCA makes a certificate authority. Its keys are on P-256, which browsers accept too.
func newCA(cluster string, now time.Time) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the cluster's key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "argosy cluster " + cluster},
		URIs:                  []*url.URL{{Scheme: scheme, Host: cluster}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making the cluster's certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("making the cluster's certificate: %w", err)
	}
	return &CA{cert: cert, key: key}, nil
}

// loadCA puts together a CA from its certificate and its key in PKCS#8, both DER.
func loadCA(certDER, keyDER []byte) (*CA, error) {
	cert, err := x509.ParseCertificate(certDER)
	if err != nil {
		return nil, fmt.Errorf("the cluster's certificate cannot be read: %w", err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(keyDER)
	if err != nil {
		return nil, fmt.Errorf("the cluster's key cannot be read: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("the cluster's key is not that of its certificate")
	}
	return &CA{cert: cert, key: key}, nil
}

// issue makes a certificate for a public key that proved itself. Hosts are names and IP addresses of servers; nothing in
// Argosy relies on them, but members of the store and browsers do.
func (ca *CA) issue(cluster string, kind Kind, id string, pub crypto.PublicKey, hosts []string, now time.Time) ([]byte, error) {
	uri, err := identityURI(cluster, kind, id)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "argosy-" + kind.String(), SerialNumber: id},
		URIs:                  []*url.URL{uri},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(CertificateLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	if kind == Server {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		for _, h := range hosts {
			if ip := net.ParseIP(h); ip != nil {
				template.IPAddresses = append(template.IPAddresses, ip)
			} else {
				template.DNSNames = append(template.DNSNames, h)
			}
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, pub, ca.key)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate for %s %s: %w", kind, id, err)
	}
	return der, nil
}

func newSerial() (*big.Int, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return nil, fmt.Errorf("making a serial number: %w", err)
	}
	b[0] &= 0x7f // positive
	return new(big.Int).SetBytes(b), nil
}

// maxCSR is far above what a request with any key that is accepted needs.
const maxCSR = 8 << 10 // bytes

// parseCSR takes a public key out of a certificate request whose sender proved to have the private one. Whatever else the
// request asks for is ignored: names are the server's to give.
func parseCSR(der []byte) (crypto.PublicKey, error) {
	if len(der) > maxCSR {
		return nil, fmt.Errorf("a certificate request of %d bytes is too big: at most %d are read", len(der), maxCSR)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, errors.New("the certificate request cannot be read: it must be PKCS #10, in DER")
	}
	switch key := csr.PublicKey.(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() {
			return nil, errors.New("the certificate request has a key on a curve that is not accepted: use P-256, P-384 or Ed25519")
		}
	default:
		return nil, fmt.Errorf("the certificate request has a key of a kind that is not accepted (%T): use P-256, P-384 or Ed25519", csr.PublicKey)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("the certificate request is not signed with its own key: %w", err)
	}
	return csr.PublicKey, nil
}

// CSRKeyDigest reads a certificate request and returns the [KeyDigest] of its key.
func CSRKeyDigest(csr []byte) ([]byte, error) {
	pub, err := parseCSR(csr)
	if err != nil {
		return nil, err
	}
	return KeyDigest(pub)
}

// KeyDigest is the SHA-256 of a public key in PKIX form, as records of machines and users keep it.
func KeyDigest(pub crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("encoding a public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return sum[:], nil
}

func sameKey(a, b crypto.PublicKey) bool {
	da, errA := KeyDigest(a)
	db, errB := KeyDigest(b)
	return errA == nil && errB == nil && bytes.Equal(da, db)
}

// NewKey makes the key that a machine, user or server is known by, and the request for its first certificate.
func NewKey() (crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("making a key: %w", err)
	}
	csr, err := NewCSR(key)
	return key, csr, err
}

// NewCSR makes a certificate request for a key. It says nothing but the key.
func NewCSR(key crypto.Signer) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("making a certificate request: %w", err)
	}
	return der, nil
}
