package external

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"unicode"
)

// Config says where etcd is and how this server shows itself to it. Endpoints, Name and Log must be set.
type Config struct {
	// Endpoints are URLs: https://host:port, or http://host:port for an etcd that asks for no password.
	Endpoints []string
	// CAFile has the authorities that etcd's certificates are of, in PEM form; empty means the host's own.
	CAFile string
	// CertFile and KeyFile are shown to an etcd that asks for certificates. They and CAFile are read again for each connection, so
	// that others need no restart.
	CertFile, KeyFile string
	// User and PasswordFile are for an etcd with authentication; the file's last line break is not part of the password.
	User, PasswordFile string
	// Prefix is what all keys of the cluster begin with; empty where no other cluster uses the same etcd.
	Prefix string
	// Name is the server's id.
	Name string
	Log  *slog.Logger
}

// Given reports whether an external etcd is to be used at all.
func (c Config) Given() bool { return len(c.Endpoints) > 0 }

// maxPrefix and maxPassword bound what is taken for a prefix and a password, in bytes.
const (
	maxPrefix   = 256
	maxPassword = 1 << 10
)

// Check says what is wrong with a configuration in itself.
func (c Config) Check() error {
	scheme := ""
	for _, e := range c.Endpoints {
		u, err := url.Parse(e)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.Port() == "" || strings.Trim(u.Path, "/") != "" || u.User != nil || u.RawQuery != "" {
			// What is wrong with it may be a password: it is not shown.
			return errors.New("--store-endpoints: an endpoint of etcd is https://HOST:PORT, such as https://10.0.0.1:2379")
		}
		if scheme != "" && scheme != u.Scheme {
			return errors.New("--store-endpoints: either all are https or none is")
		}
		scheme = u.Scheme
	}
	switch {
	case !c.Given():
		if c.CAFile+c.CertFile+c.KeyFile+c.User+c.PasswordFile+c.Prefix != "" {
			return errors.New("--store-ca, --store-cert, --store-key, --store-user, --store-password-file and --store-prefix are for an external etcd: say where it is with --store-endpoints")
		}
	case (c.CertFile == "") != (c.KeyFile == ""):
		return errors.New("--store-cert and --store-key go together")
	case (c.User == "") != (c.PasswordFile == ""):
		return errors.New("--store-user and --store-password-file go together")
	case scheme == "http" && (c.User != "" || c.CertFile != "" || c.CAFile != ""):
		return errors.New("--store-endpoints: over http anybody could read the password and everything else; use https")
	case len(c.Prefix) > maxPrefix || strings.ContainsFunc(c.Prefix, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }):
		return fmt.Errorf("--store-prefix takes up to %d printable bytes, such as /team-a", maxPrefix)
	}
	return nil
}

// password reads the password. No error shows what is in the file.
func (c Config) password() (string, error) {
	if c.PasswordFile == "" {
		return "", nil
	}
	b, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("reading etcd's password: %w", err)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if text == "" || len(text) > maxPassword || strings.ContainsAny(text, "\n\x00") {
		return "", fmt.Errorf("%s holds no password: one line of up to %d bytes", c.PasswordFile, maxPassword)
	}
	return text, nil
}

// tls is how etcd is spoken to, as the files are now; nil over http.
func (c Config) tls() (*tls.Config, error) {
	if strings.HasPrefix(c.Endpoints[0], "http://") {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading the authorities of etcd's certificates: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate in PEM form", c.CAFile)
		}
	}
	if c.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("reading the certificate for etcd: %w", err)
		}
		// It is shown whatever authorities etcd names: etcd says better than this side why it does not take it.
		t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	}
	return t, nil
}

// hosts are the endpoints as they are dialled.
func (c Config) hosts() []string {
	var out []string
	for _, e := range c.Endpoints {
		u, err := url.Parse(e)
		if err != nil {
			continue // Check has refused it
		}
		out = append(out, net.JoinHostPort(u.Hostname(), u.Port()))
	}
	return out
}
