package lease

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// Pin is the SHA-256 of a public key as DER: by it guards and witnesses know each other.
type Pin [sha256.Size]byte

// String is the pin in hexadecimal.
func (p Pin) String() string { return hex.EncodeToString(p[:]) }

// PinOf makes a Pin of the bytes of one.
func PinOf(b []byte) (Pin, error) {
	if len(b) != sha256.Size {
		return Pin{}, fmt.Errorf("a key is known by %d bytes, and these are %d", sha256.Size, len(b))
	}
	return Pin(b), nil
}

// Identity is a key of one's own.
type Identity struct {
	Pin  Pin
	cert tls.Certificate
}

// alpn is the version of what is spoken. A later one has another name, so that neither side takes one for the other.
const alpn = "argosy-lease/1"

// NewIdentity makes one that is kept nowhere.
func NewIdentity() (*Identity, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	return identityOf(key)
}

// LoadIdentity reads the key in a file, or makes one there.
func LoadIdentity(path string) (*Identity, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeIdentity(path)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the key: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%s is no private key: restore it, or remove it to have a new one, which the cluster then has to be told", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading the key in %s: %w", path, err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("the key in %s is a %T, and an Ed25519 one is expected", path, parsed)
	}
	return identityOf(key)
}

func makeIdentity(path string) (*Identity, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	if err := ReplaceFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})); err != nil {
		return nil, fmt.Errorf("keeping the key: %w", err)
	}
	return identityOf(key)
}

// ReplaceFile writes a file as a whole or not at all, for its owner alone.
func ReplaceFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // nothing, once it has its name
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func identityOf(key ed25519.PrivateKey) (*Identity, error) {
	public := key.Public()
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("the key: %w", err)
	}
	// TLS carries a key in a certificate, of which nothing else is looked at.
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "argosy lease"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	if err != nil {
		return nil, fmt.Errorf("the key's certificate: %w", err)
	}
	return &Identity{Pin: sha256.Sum256(spki), cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}, nil
}

func (i *Identity) config(known func(Pin) error) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{i.cert}, MinVersion: tls.VersionTLS13, NextProtos: []string{alpn},
		ClientAuth: tls.RequireAnyClientCert,
		// The peer is known by its key, in VerifyConnection, and by nothing that a certificate says.
		InsecureSkipVerify:     true,
		SessionTicketsDisabled: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			if s.NegotiatedProtocol != alpn {
				return fmt.Errorf("the other side does not speak %s", alpn)
			}
			pin, err := peer(s)
			if err != nil {
				return err
			}
			return known(pin)
		},
	}
}

// Dial is for a client that wants to speak to the one that has a key, and nobody else.
func (i *Identity) Dial(to Pin) *tls.Config {
	return i.config(func(p Pin) error {
		if p != to {
			return fmt.Errorf("the other side has key %s, and %s is expected", p, to)
		}
		return nil
	})
}

// Serve is for a server that speaks to those whose keys it knows.
func (i *Identity) Serve(known func(Pin) bool) *tls.Config {
	return i.config(func(p Pin) error {
		if !known(p) {
			return fmt.Errorf("nobody with key %s is known here", p)
		}
		return nil
	})
}

// PeerOf is the key of the other side of a connection whose handshake is done.
func PeerOf(c *tls.Conn) (Pin, error) { return peer(c.ConnectionState()) }

func peer(s tls.ConnectionState) (Pin, error) {
	if len(s.PeerCertificates) == 0 {
		return Pin{}, errors.New("the other side shows no key")
	}
	return sha256.Sum256(s.PeerCertificates[0].RawSubjectPublicKeyInfo), nil
}
