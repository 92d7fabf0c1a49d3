// Package etcdserver runs an etcd for tests as somebody else would run it: with certificates, with authentication, on a port.
//
//	e, err := etcdserver.Start(etcdserver.Options{Dir: t.TempDir()})
//	defer e.Stop()
//	external.Config{Endpoints: []string{e.Endpoint}, CAFile: e.CAFile, CertFile: e.CertFile, KeyFile: e.KeyFile, User: etcdserver.User, PasswordFile: e.PasswordFile}
package etcdserver

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/argosy-cluster/argosy/internal/freeport"
)

// User may read and write what begins with the prefix, and nothing else.
const User = "argosy"

const (
	password     = "open sesame 42"
	rootPassword = "root of all"
)

// Options say how it is run. Dir must be set.
type Options struct {
	Dir string
	// Host is the address that it listens at, 127.0.0.1 when empty.
	Host string
	// Prefix is what User may read and write, /argosy/ when empty.
	Prefix string
	// Port is kept by one that is started again; 0 takes one that is free.
	Port int
	// Members is how many there are, 1 when 0. Each of several has a port that is free.
	Members int
	// Defaults leaves etcd's own limits of transactions and requests.
	Defaults bool
	// Change is called before each member starts. May be nil.
	Change func(*embed.Config)
}

// Etcd is one that runs.
type Etcd struct {
	Endpoint                                             string   // of the first member
	Endpoints                                            []string // of all
	CAFile, CertFile, KeyFile, PasswordFile, OtherCAFile string

	opts    Options
	peers   []url.URL // where members reach each other; of a single one, nowhere
	members []*embed.Etcd
}

// Start runs one and waits until it answers. A directory that holds one goes on with it.
func Start(o Options) (*Etcd, error) {
	if o.Host == "" {
		o.Host = "127.0.0.1"
	}
	if o.Prefix == "" {
		o.Prefix = "/argosy/"
	}
	if o.Members == 0 {
		o.Members = 1
	}
	ports, err := freePorts(2 * o.Members)
	if err != nil {
		return nil, err
	}
	if o.Port != 0 {
		ports[0] = o.Port
	}
	path := func(name string) string { return filepath.Join(o.Dir, name) }
	e := &Etcd{opts: o, members: make([]*embed.Etcd, o.Members), CAFile: path("ca.pem"), CertFile: path("client.pem"),
		KeyFile: path("client.key"), PasswordFile: path("password"), OtherCAFile: path("other-ca.pem")}
	for n := range o.Members {
		e.Endpoints = append(e.Endpoints, "https://"+net.JoinHostPort(o.Host, fmt.Sprint(ports[n])))
		e.peers = append(e.peers, url.URL{Scheme: "http", Host: net.JoinHostPort(o.Host, fmt.Sprint(ports[o.Members+n]))})
	}
	if e.Endpoint = e.Endpoints[0]; o.Members == 1 {
		e.peers[0].Host = "etcd.invalid:1" // nobody dials it
	}
	if _, err := os.Stat(e.CAFile); errors.Is(err, os.ErrNotExist) {
		if err := e.Certify(); err != nil {
			return nil, err
		}
	}
	if err := e.Again(); err != nil {
		return nil, err
	}
	if err := e.protect(); err != nil {
		e.Stop()
		return nil, err
	}
	return e, nil
}

// run starts a member. It is ready when a majority is.
func (e *Etcd) run(n int) error {
	cfg := embed.NewConfig()
	cfg.Dir, cfg.Name = filepath.Join(e.opts.Dir, "data"), memberName(n)
	if n > 0 {
		cfg.Dir += fmt.Sprint(n + 1)
	}
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	u, err := url.Parse(e.Endpoints[n])
	if err != nil {
		return err
	}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{*u}, []url.URL{*u}
	if cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{e.peers[n]}, []url.URL{e.peers[n]}; len(e.peers) == 1 {
		cfg.ListenPeerUrls = nil
	}
	var all []string
	for n, peer := range e.peers {
		all = append(all, memberName(n)+"="+peer.String())
	}
	cfg.InitialCluster = strings.Join(all, ",")
	cfg.ClientTLSInfo = transport.TLSInfo{CertFile: filepath.Join(e.opts.Dir, "server.pem"), KeyFile: filepath.Join(e.opts.Dir, "server.key"),
		TrustedCAFile: e.CAFile, ClientCertAuth: true, Logger: zap.NewNop()}
	cfg.EnableGRPCGateway = false
	if !e.opts.Defaults {
		cfg.MaxTxnOps, cfg.MaxRequestBytes = 8192, 10<<20
	}
	if len(e.peers) == 1 {
		cfg.TickMs, cfg.ElectionMs = 40, 200 // it has nobody to wait for
	}
	cfg.BcryptCost = 4 // as quick as it can be
	cfg.UnsafeNoFsync = true
	if e.opts.Change != nil {
		e.opts.Change(cfg)
	}
	e.members[n], err = embed.StartEtcd(cfg)
	return err
}

func memberName(n int) string { return fmt.Sprintf("e%d", n+1) }

// ready waits until a member answers.
func (e *Etcd) ready(n int) error {
	select {
	case <-e.members[n].Server.ReadyNotify():
		return nil
	case <-time.After(time.Minute):
		e.Stop()
		return errors.New("the etcd for tests is not ready after a minute")
	}
}

// freePorts are ports that nobody listens at.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		var err error
		if ports[i], err = freeport.Take(); err != nil {
			return nil, err
		}
	}
	return ports, nil
}

// protect enables authentication.
func (e *Etcd) protect() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := e.client("", "")
	if err != nil {
		return err
	}
	defer c.Close()
	if st, err := c.AuthStatus(ctx); err != nil || st.Enabled {
		if err != nil && err.Error() == rpctypes.ErrUserEmpty.Error() {
			return nil // it is enabled
		}
		return err
	}
	end := clientv3.GetPrefixRangeEnd(e.opts.Prefix)
	for _, do := range []func() error{
		func() error { _, err := c.UserAdd(ctx, "root", rootPassword); return err },
		func() error { _, err := c.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := c.RoleAdd(ctx, "servers"); return err },
		func() error {
			_, err := c.RoleGrantPermission(ctx, "servers", e.opts.Prefix, end, clientv3.PermissionType(clientv3.PermReadWrite))
			return err
		},
		func() error { _, err := c.UserAdd(ctx, User, password); return err },
		func() error { _, err := c.UserGrantRole(ctx, User, "servers"); return err },
		func() error { _, err := c.AuthEnable(ctx); return err },
	} {
		if err := do(); err != nil {
			return fmt.Errorf("enabling authentication: %w", err)
		}
	}
	return nil
}

// Root is the client of who may do everything.
func (e *Etcd) Root() (*clientv3.Client, error) { return e.client("root", rootPassword) }

func (e *Etcd) client(user, pass string) (*clientv3.Client, error) {
	t, err := transport.TLSInfo{CertFile: e.CertFile, KeyFile: e.KeyFile, TrustedCAFile: e.CAFile, Logger: zap.NewNop()}.ClientConfig()
	if err != nil {
		return nil, err
	}
	return clientv3.New(clientv3.Config{Endpoints: e.Endpoints, TLS: t, Username: user, Password: pass, Logger: zap.NewNop(), DialTimeout: 5 * time.Second})
}

// Stop ends all members; what they hold stays.
func (e *Etcd) Stop() {
	for n := range e.members {
		e.StopMember(n)
	}
}

// StopMember ends one.
func (e *Etcd) StopMember(n int) {
	if e.members[n] != nil {
		e.members[n].Close()
		e.members[n] = nil
	}
}

// Again runs those that were stopped.
func (e *Etcd) Again() error {
	var again []int
	for n, m := range e.members {
		if m != nil {
			continue
		}
		if err := e.run(n); err != nil {
			return err
		}
		again = append(again, n)
	}
	for _, n := range again {
		if err := e.ready(n); err != nil {
			return err
		}
	}
	return nil
}

// Leader is the member that leads, -1 when none does.
func (e *Etcd) Leader() int {
	return slices.IndexFunc(e.members, func(m *embed.Etcd) bool { return m != nil && m.Server.Leader() == m.Server.MemberID() })
}

// Certify makes an authority, certificates of it for both sides, another authority, and the password's file. One that runs was certified,
// and is certified anew; members show that once they are started again.
func (e *Etcd) Certify() error {
	ca, caKey, err := authority()
	if err != nil {
		return err
	}
	other, _, err := authority()
	if err != nil {
		return err
	}
	files := map[string][]byte{e.CAFile: pemOf("CERTIFICATE", ca.Raw), e.OtherCAFile: pemOf("CERTIFICATE", other.Raw), e.PasswordFile: []byte(password + "\n")}
	for name, usage := range map[string]x509.ExtKeyUsage{"server": x509.ExtKeyUsageServerAuth, "client": x509.ExtKeyUsageClientAuth} {
		cert := template(name)
		cert.ExtKeyUsage = []x509.ExtKeyUsage{usage}
		cert.IPAddresses = []net.IP{net.ParseIP(e.opts.Host)}
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		der, err := x509.CreateCertificate(rand.Reader, cert, ca, &key.PublicKey, caKey)
		if err != nil {
			return err
		}
		keyDER, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return err
		}
		files[filepath.Join(e.opts.Dir, name+".pem")], files[filepath.Join(e.opts.Dir, name+".key")] = pemOf("CERTIFICATE", der), pemOf("PRIVATE KEY", keyDER)
	}
	for path, data := range files {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func template(name string) *x509.Certificate {
	return &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "etcd's " + name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true}
}

func authority() (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	t := template("authority")
	t.IsCA, t.KeyUsage = true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
