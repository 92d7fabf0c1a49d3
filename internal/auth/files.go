package auth

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// Credential is a key with its certificate, and the CA that signed it.
type Credential struct {
	Key         crypto.Signer
	Certificate *x509.Certificate
	CA          *x509.Certificate
	// Also are CAs that servers' certificates may be of, too, while the cluster changes from one to another.
	Also []*x509.Certificate
}

// maxAlso is more than a cluster ever has beside the CA that issues.
const maxAlso = 4

// NewCredential puts a credential together from a key and what a server answered, DER. It checks that they belong
// together.
func NewCredential(key crypto.Signer, certificate, ca []byte, also ...[]byte) (*Credential, error) {
	cert, err := x509.ParseCertificate(certificate)
	if err != nil {
		return nil, fmt.Errorf("the certificate cannot be read: %w", err)
	}
	authority, err := x509.ParseCertificate(ca)
	if err != nil {
		return nil, fmt.Errorf("the cluster's certificate cannot be read: %w", err)
	}
	if !sameKey(key.Public(), cert.PublicKey) {
		return nil, errors.New("the certificate is for another key")
	}
	if err := cert.CheckSignatureFrom(authority); err != nil {
		return nil, fmt.Errorf("the certificate is not signed by the CA that came with it: %w", err)
	}
	c := &Credential{Key: key, Certificate: cert, CA: authority}
	if len(also) > maxAlso {
		return nil, fmt.Errorf("%d other authorities are too many: at most %d are trusted", len(also), maxAlso)
	}
	cluster, _, err := c.Identity()
	if err != nil {
		return nil, err
	}
	for _, der := range also {
		other, err := x509.ParseCertificate(der)
		if err != nil || !authorityOf(other, cluster) {
			return nil, errors.New("what is to be trusted beside the cluster's authority is no authority of this cluster")
		}
		c.Also = append(c.Also, other)
	}
	return c, nil
}

// Trusted are the CAs that servers' certificates may be of, the one that signed the own certificate first.
func (c *Credential) Trusted() []*x509.Certificate {
	return append([]*x509.Certificate{c.CA}, c.Also...)
}

// Follows says whether the credential trusts just the authorities with these digests, and was signed by the first.
func (c *Credential) Follows(digests [][]byte) bool {
	return slices.EqualFunc(c.Trusted(), digests, func(ca *x509.Certificate, d []byte) bool { return bytes.Equal(digest(ca.Raw), d) })
}

// Identity is the cluster and the name in the certificate, as it stands there.
func (c *Credential) Identity() (cluster string, id Identity, err error) {
	if len(c.Certificate.URIs) != 1 {
		return "", Identity{}, errors.New("the certificate does not name one identity")
	}
	cluster, kind, name, err := parseIdentityURI(c.Certificate.URIs[0])
	return cluster, Identity{Kind: kind, ID: name}, err
}

// Verifier trusts the credential's cluster, and the CAs that it names.
func (c *Credential) Verifier() (*Verifier, error) {
	cluster, _, err := c.Identity()
	if err != nil {
		return nil, err
	}
	v := NewVerifier(cluster, c.CA, nil)
	v.Trust(c.Trusted()...)
	return v, nil
}

// tlsCertificate sends the CA along, so that a newcomer can compare it with its token.
func (c *Credential) tlsCertificate() *tls.Certificate {
	return &tls.Certificate{
		Certificate: [][]byte{c.Certificate.Raw, c.CA.Raw},
		PrivateKey:  c.Key,
		Leaf:        c.Certificate,
	}
}

// Files keeps a credential in a directory, readable by its owner only. The file with the key, the certificate and the CA
// is replaced as a whole or not at all.
type Files struct {
	Dir string
}

const maxCredential = 64 << 10 // bytes

// Path is the file with key, certificate, CA and what else is trusted, PEM.
func (f Files) Path() string { return filepath.Join(f.Dir, "credential.pem") }

// CAPath is a file with the certificates of the trusted CAs alone, PEM.
func (f Files) CAPath() string { return filepath.Join(f.Dir, "ca.pem") }

// Save writes the credential.
func (f Files) Save(c *Credential) error {
	key, err := x509.MarshalPKCS8PrivateKey(c.Key)
	if err != nil {
		return fmt.Errorf("encoding the key: %w", err)
	}
	var ca []byte
	for _, cert := range c.Trusted() {
		ca = append(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	all := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	all = append(all, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate.Raw})...)
	all = append(all, ca...)
	if err := errors.Join(writeFile(f.CAPath(), ca), writeFile(f.Path(), all)); err != nil {
		return fmt.Errorf("keeping the certificate: %w", err)
	}
	return nil
}

// Load reads the credential. Before the first Save the error wraps [os.ErrNotExist].
func (f Files) Load() (*Credential, error) {
	file, err := os.Open(f.Path())
	if err != nil {
		return nil, fmt.Errorf("reading the certificate: %w", err)
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading the certificate: %w", err)
	}
	if !st.Mode().IsRegular() || st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("the key in %s can be read by others (%v): run `chmod 600 %s`, and think about who may have", f.Path(), st.Mode(), f.Path())
	}
	data, err := io.ReadAll(io.LimitReader(file, maxCredential))
	if err != nil {
		return nil, fmt.Errorf("reading the certificate: %w", err)
	}
	c, err := parseCredential(data)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged (%w): restore it from a backup, or join again with a new token", f.Path(), err)
	}
	return c, nil
}

func parseCredential(data []byte) (*Credential, error) {
	var blocks [3]*pem.Block
	for i := range blocks {
		if blocks[i], data = pem.Decode(data); blocks[i] == nil {
			return nil, fmt.Errorf("it has %d parts instead of %d", i, len(blocks))
		}
	}
	if blocks[0].Type != "PRIVATE KEY" {
		return nil, errors.New("it does not begin with a key")
	}
	var also [][]byte
	for range maxAlso + 1 {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		also, data = append(also, block.Bytes), rest
	}
	parsed, err := x509.ParsePKCS8PrivateKey(blocks[0].Bytes)
	if err != nil {
		return nil, err
	}
	switch key := parsed.(type) {
	case *ecdsa.PrivateKey:
		return NewCredential(key, blocks[1].Bytes, blocks[2].Bytes, also...)
	case ed25519.PrivateKey:
		return NewCredential(key, blocks[1].Bytes, blocks[2].Bytes, also...)
	default:
		return nil, fmt.Errorf("its key is of a kind that is not used (%T)", parsed)
	}
}
