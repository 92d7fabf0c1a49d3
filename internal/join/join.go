package join

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/protocol"
	"github.com/argosy-cluster/argosy/internal/version"
)

// Membership is what a machine or a user knows about its cluster, beside its certificate.
type Membership struct {
	Cluster string   `json:"cluster"`
	Servers []string `json:"servers"` // host:port
	// For machines.
	MachineID    string `json:"machine_id,omitempty"`
	Name         string `json:"name,omitempty"`
	Address      string `json:"address,omitempty"`
	Subnet       string `json:"subnet,omitempty"`
	NetworkRange string `json:"network_range,omitempty"`
	Domain       string `json:"domain,omitempty"`
	// Capacity as declared at join; amounts of 0 are detected at each start.
	CPUMilli     int64 `json:"cpu_milli,omitempty"`
	MemoryBytes  int64 `json:"memory,omitempty"`
	ReserveCPU   int64 `json:"reserve_cpu_milli,omitempty"`
	ReserveBytes int64 `json:"reserve_memory,omitempty"`
	// For users.
	User string `json:"user,omitempty"`
	Role string `json:"role,omitempty"`
}

// Facts is what a machine says of itself.
type Facts struct {
	Name    string
	Address string
	Labels  map[string]string
	// Declared holds amounts of capacity that were given by hand; those of 0 are detected.
	Declared Membership
	BootID   string
	// Routes that the machine has, in CIDR form, without those that Argosy made.
	Routes []string
}

// ErrMember says that a directory belongs to a member already.
var ErrMember = errors.New("this machine is a member of a cluster already")

const (
	membershipFile = "membership.json"
	sealingFile    = "sealing.key"
	pendingKeyFile = "joining.key"
	// dialTime bounds the way to one server, so that one that is gone does not keep the next from being tried.
	dialTime = 10 * time.Second
)

// Machine makes this host a machine of the token's cluster and keeps what it needs for that in dir.
func Machine(ctx context.Context, token auth.Token, f Facts, dir string) (*Membership, error) {
	if m, err := Load(dir); err == nil {
		return nil, fmt.Errorf("%w (%s, as %s): to move it, remove it there with 'argosy machines remove %s' and delete %s", ErrMember, m.Cluster, m.Name, m.Name, dir)
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making %s: %w", dir, err)
	}
	_, public, err := SealingKey(dir)
	if err != nil {
		return nil, err
	}
	capacity, err := f.Declared.Capacity()
	if err != nil {
		return nil, err
	}
	res, cred, err := spend(ctx, token, dir, func(csr []byte, text string) *argosyv1.JoinRequest {
		return &argosyv1.JoinRequest{Token: text, Csr: csr, Name: f.Name, Address: f.Address, Labels: f.Labels, Capacity: capacity,
			BootId: f.BootID, SealingKey: public, Routes: f.Routes}
	})
	if err != nil {
		return nil, err
	}
	m := f.Declared
	m.Cluster, m.Servers = token.Cluster, orElse(res.Servers, token.Servers)
	m.MachineID, m.Name, m.Address, m.Subnet = res.MachineId, f.Name, f.Address, res.Subnet
	m.NetworkRange, m.Domain = res.GetSettings().GetNetworkRange(), res.GetSettings().GetDomain()
	return &m, keep(dir, cred, &m)
}

// User logs a person in and keeps what they need for that in dir, over any earlier login there.
func User(ctx context.Context, token auth.Token, dir string) (*Membership, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making %s: %w", dir, err)
	}
	res, cred, err := spend(ctx, token, dir, func(csr []byte, text string) *argosyv1.JoinRequest {
		return &argosyv1.JoinRequest{Token: text, Csr: csr}
	})
	if err != nil {
		return nil, err
	}
	m := &Membership{Cluster: token.Cluster, Servers: orElse(res.Servers, token.Servers), User: res.User, Role: res.Role, Domain: res.GetSettings().GetDomain()}
	return m, keep(dir, cred, m)
}

func orElse(a, b []string) []string {
	if len(a) > 0 {
		return a
	}
	return b
}

// spend asks the token's servers, one after another, until one answers.
func spend(ctx context.Context, token auth.Token, dir string, request func(csr []byte, text string) *argosyv1.JoinRequest) (*argosyv1.JoinResponse, *auth.Credential, error) {
	text, err := token.Encode()
	if err != nil {
		return nil, nil, err
	}
	key, err := pendingKey(filepath.Join(dir, pendingKeyFile))
	if err != nil {
		return nil, nil, err
	}
	csr, err := auth.NewCSR(key)
	if err != nil {
		return nil, nil, err
	}
	var failures []error
	for _, server := range token.Servers {
		hc := &http.Client{Transport: NewTransport(auth.PinnedTLS(token))}
		res, err := argosyv1connect.NewJoinServiceClient(hc, "https://"+server, protocol.Client(version.Version)).Join(ctx, connect.NewRequest(request(csr, text)))
		hc.CloseIdleConnections()
		if err == nil && token.Purpose == argosyv1.TokenPurpose_TOKEN_PURPOSE_SERVER {
			return res.Msg, nil, nil // servers make their certificates themselves
		}
		if err == nil {
			cred, err := auth.NewCredential(key, res.Msg.Certificate, res.Msg.Ca, res.Msg.AlsoTrusted...)
			return res.Msg, cred, err
		}
		// A server that was reached has decided; another would say the same.
		// One that dies meanwhile has not: connect calls a connection that was reset cancelled.
		died := connect.CodeOf(err) == connect.CodeCanceled && ctx.Err() == nil
		if code := connect.CodeOf(err); code != connect.CodeUnavailable && code != connect.CodeUnknown && !died {
			return nil, nil, plain(err)
		}
		failures = append(failures, fmt.Errorf("%s: %w", server, plain(err)))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, nil, fmt.Errorf("no server of the cluster could be reached: %w", errors.Join(failures...))
}

// plain takes the code off an error of the protocol: a person reads the sentence.
func plain(err error) error {
	var wrong *auth.WrongServerError
	if errors.As(err, &wrong) {
		return wrong
	}
	var ce *connect.Error
	if errors.As(err, &ce) {
		return errors.New(ce.Message())
	}
	return err
}

// NewTransport speaks HTTP/2 over TLS to servers, finds dead connections by pinging them, and gives up dialling soon.
func NewTransport(config *tls.Config) *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	return &http.Transport{
		TLSClientConfig:     config,
		Protocols:           &protocols,
		DialContext:         (&net.Dialer{Timeout: dialTime, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout: dialTime,
		IdleConnTimeout:     90 * time.Second,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 5 * time.Second},
	}
}

// keep writes the certificate before the membership, whose presence says that the rest is complete.
func keep(dir string, cred *auth.Credential, m *Membership) error {
	if err := (auth.Files{Dir: dir}).Save(cred); err != nil {
		return err
	}
	if err := Save(dir, m); err != nil {
		return err
	}
	return remove(filepath.Join(dir, pendingKeyFile))
}

// Save writes a membership as a whole or not at all.
func Save(dir string, m *Membership) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the membership: %w", err)
	}
	return writeFile(filepath.Join(dir, membershipFile), append(b, '\n'))
}

// maxMembership bounds what is read of a membership, in bytes.
const maxMembership = 1 << 20

// Load reads a membership. The error wraps os.ErrNotExist when there is none.
func Load(dir string) (*Membership, error) {
	path := filepath.Join(dir, membershipFile)
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading the membership: %w", err)
	}
	if st.Size() > maxMembership {
		return nil, fmt.Errorf("%s is not a membership: it is too large", path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the membership: %w", err)
	}
	m := &Membership{}
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("%s is damaged (%w): restore it from a backup, or join again", path, err)
	}
	m.Servers = slices.DeleteFunc(m.Servers, func(s string) bool { return strings.TrimSpace(s) == "" })
	if m.Cluster == "" || len(m.Servers) == 0 {
		return nil, fmt.Errorf("%s is damaged: it names no cluster or no server; restore it from a backup, or join again", path)
	}
	return m, nil
}

// SealingKey is the machine's key that secrets are sealed to, made the first time.
func SealingKey(dir string) (private auth.Secret, public []byte, err error) {
	path := filepath.Join(dir, sealingFile)
	b, err := os.ReadFile(path)
	if err == nil {
		block, _ := pem.Decode(b)
		if block == nil || block.Type != sealingType {
			return auth.Secret{}, nil, fmt.Errorf("%s is damaged: remove the machine from the cluster and join it again", path)
		}
		private = auth.NewSecret(block.Bytes)
		public, err = auth.PublicSealingKey(private)
		return private, public, err
	}
	if !errors.Is(err, os.ErrNotExist) {
		return auth.Secret{}, nil, fmt.Errorf("reading the sealing key: %w", err)
	}
	if private, public, err = auth.NewSealingKey(); err != nil {
		return auth.Secret{}, nil, err
	}
	return private, public, writeFile(path, pem.EncodeToMemory(&pem.Block{Type: sealingType, Bytes: private.Reveal()}))
}

const (
	sealingType = "ARGOSY SEALING KEY"
	keyType     = "PRIVATE KEY"
)

// pendingKey is the key of a join that has not been answered yet.
func pendingKey(path string) (crypto.Signer, error) {
	if b, err := os.ReadFile(path); err == nil {
		if block, _ := pem.Decode(b); block != nil && block.Type == keyType {
			if k, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
				if signer, ok := k.(crypto.Signer); ok {
					return signer, nil
				}
			}
		}
		// A damaged one was never answered, or its certificate would be here: make another.
	}
	key, _, err := auth.NewKey()
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding the key: %w", err)
	}
	return key, writeFile(path, pem.EncodeToMemory(&pem.Block{Type: keyType, Bytes: der}))
}

// writeFile replaces a file as a whole, readable by its owner only.
func writeFile(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".argosy-*") // 0600
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Sync()
	}
	if err := errors.Join(err, tmp.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
