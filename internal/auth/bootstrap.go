package auth

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/store"
)

// Cluster is what a server holds of its cluster's identity: the authorities and the key that secrets are kept under. Only
// [Cluster.Follow] changes it.
type Cluster struct {
	state    atomic.Pointer[authorities]
	verifier *Verifier
	secrets  *Keyring
	master   Secret // what the key file holds
}

// NewID makes a random id of 128 bits, in hexadecimal.
func NewID() (string, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("making an id: %w", err)
	}
	return hex.EncodeToString(b), nil
}

// Bootstrap loads the cluster from the store, decrypting its keys with the servers' key file. In an empty store it makes
// the cluster first: its id, keys and CA, the generation, and the key file where there is none. Settings hold for a new
// cluster only, whose id it chooses; born is what else such a store has from the beginning. Of several servers that start at once, one makes the cluster and all get the same.
func Bootstrap(ctx context.Context, s store.Store, keyFile string, settings *argosyv1.ClusterSettings, now time.Time, born ...store.Op) (*Cluster, error) {
	for {
		snap, err := s.Get(ctx, store.ClusterKey)
		if err != nil {
			return nil, fmt.Errorf("reading the cluster: %w", err)
		}
		if len(snap.KVs) == 1 {
			return LoadCluster(snap.KVs[0].Value, keyFile)
		}
		err = createCluster(ctx, s, keyFile, settings, now, born)
		var conflict *store.ConflictError
		if err != nil && !errors.As(err, &conflict) {
			return nil, err
		}
		// Made now, by this server or another: it is read back, so that what is used is what is kept.
	}
}

func createCluster(ctx context.Context, s store.Store, keyFile string, settings *argosyv1.ClusterSettings, now time.Time, born []store.Op) error {
	id, err := NewID()
	if err != nil {
		return err
	}
	ca, err := newCA(id, now)
	if err != nil {
		return err
	}
	secretsKey, err := newKey()
	if err != nil {
		return err
	}
	master, err := createKeyFile(keyFile)
	if err != nil {
		return err
	}
	keys, err := newKeyring(master)
	if err != nil {
		return err
	}
	caKey, err := encryptCAKey(keys, ca, id, 1)
	if err != nil {
		return err
	}
	own := &argosyv1.ClusterSettings{}
	if settings != nil {
		own = proto.CloneOf(settings)
	}
	own.ClusterId = id
	cluster, err := store.Put(store.ClusterKey, &storev1.Cluster{
		Settings:      own,
		CaCertificate: ca.cert.Raw,
		CaKey:         caKey,
		SecretsKey:    keys.Encrypt(NewSecret(secretsKey), SecretContext(kindSecretsKey, "", id, 1)),
		CreatedAt:     timestamppb.New(now),
	})
	if err != nil {
		return err
	}
	generation, err := store.Put(store.GenerationKey, &storev1.Generation{Number: 1, Cause: "the cluster was made"})
	if err != nil {
		return err
	}
	_, err = s.Commit(ctx, store.Txn{
		If:  []store.Compare{{Key: store.ClusterKey}, {Key: store.GenerationKey}},
		Ops: append([]store.Op{cluster, generation}, born...),
	})
	if err != nil {
		return fmt.Errorf("writing the cluster: %w", err)
	}
	return nil
}

// LoadCluster opens a cluster's record with the servers' key file.
func LoadCluster(raw []byte, keyFile string) (*Cluster, error) {
	record, err := decodeCluster(raw)
	if err != nil {
		return nil, err
	}
	id := record.GetSettings().GetClusterId()
	master, err := readKeyFile(keyFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cluster %s exists and its key file %s does not: copy it from another server or a backup; without it the cluster's secrets cannot be read",
			id, keyFile)
	}
	if err != nil {
		return nil, err
	}
	keys, err := newKeyring(master)
	if err != nil {
		return nil, err
	}
	wrong := func(err error) error {
		return fmt.Errorf("the key file %s does not open cluster %s (%w): copy the right one from another server or a backup", keyFile, id, err)
	}
	secretsKey, err := keys.Decrypt(record.GetSecretsKey(), SecretContext(kindSecretsKey, "", id, 1))
	if err != nil {
		return nil, wrong(err)
	}
	state, err := readAuthorities(record, raw, keys)
	if err != nil {
		return nil, wrong(err)
	}
	secrets, err := newKeyring(secretsKey.Reveal())
	if err != nil {
		return nil, err
	}
	c := &Cluster{verifier: NewVerifier(id, state.issuing.ca.cert, nil), secrets: secrets, master: NewSecret(master)}
	c.verifier.Trust(state.trusted()...)
	c.state.Store(state)
	return c, nil
}

// RecordPath is where a server keeps the cluster's record beside its store.
func RecordPath(dir string) string { return filepath.Join(dir, "cluster") }

// WriteFile replaces a file as a whole or not at all, readable by its owner only.
func WriteFile(path string, data []byte) error { return writeFile(path, data) }

// Record is the cluster's record as it is in the store: of no use without the key file.
func (c *Cluster) Record() []byte { return c.state.Load().raw }

// SealMaster seals what the servers' key file holds to a new server's sealing key. With it and [Cluster.Record] that
// server is as much the cluster as this one.
func (c *Cluster) SealMaster(public []byte, server string) ([]byte, error) {
	return SealTo(public, c.master, SecretContext(kindMasterKey, "", server, 1))
}

// KeepMaster opens what [Cluster.SealMaster] sealed and writes the key file.
func KeepMaster(private Secret, sealed []byte, server, keyFile string) error {
	master, err := OpenSealed(private, sealed, SecretContext(kindMasterKey, "", server, 1))
	if err != nil {
		return err
	}
	if _, err := newKeyring(master.Reveal()); err != nil {
		return err
	}
	if err := writeFile(keyFile, []byte(hex.EncodeToString(master.Reveal())+"\n")); err != nil {
		return fmt.Errorf("writing the servers' key: %w", err)
	}
	return nil
}

// ID is the cluster's id.
func (c *Cluster) ID() string { return c.state.Load().settings.GetClusterId() }

// Settings are the cluster's settings, a copy.
func (c *Cluster) Settings() *argosyv1.ClusterSettings { return proto.CloneOf(c.state.Load().settings) }

// CA is the certificate of the authority that issues, DER.
func (c *Cluster) CA() []byte { return c.state.Load().issuing.ca.cert.Raw }

// ShownCA is the certificate, DER, of the authority that servers show certificates of: while the cluster changes to another,
// the one from before. Tokens name it.
func (c *Cluster) ShownCA() []byte { return c.state.Load().shown().ca.cert.Raw }

// Keyring is what secrets are kept under.
func (c *Cluster) Keyring() *Keyring { return c.secrets }

// Verifier tells this cluster's certificates from others, and follows the cluster when its authorities change.
func (c *Cluster) Verifier() *Verifier { return c.verifier }

// IssueServer makes a server's certificate, DER, from its certificate request. Hosts are its names and addresses.
func (c *Cluster) IssueServer(csr []byte, id string, hosts []string, now time.Time) ([]byte, error) {
	return c.issueFor(csr, Server, id, hosts, now)
}

// IssueShown makes the certificate that a server shows to machines and users, who have perhaps not followed a rotation yet:
// it is signed by [Cluster.ShownCA].
func (c *Cluster) IssueShown(csr []byte, id string, hosts []string, now time.Time) ([]byte, error) {
	return c.issueBy(c.state.Load().shown(), csr, Server, id, hosts, now)
}

// IssueMachine makes a machine's certificate, DER, from its certificate request.
func (c *Cluster) IssueMachine(csr []byte, id string, now time.Time) ([]byte, error) {
	return c.issueFor(csr, Machine, id, nil, now)
}

// IssueUser makes a user's certificate, DER, from its certificate request.
func (c *Cluster) IssueUser(csr []byte, name string, now time.Time) ([]byte, error) {
	return c.issueFor(csr, User, name, nil, now)
}

func (c *Cluster) issueFor(csr []byte, kind Kind, id string, hosts []string, now time.Time) ([]byte, error) {
	return c.issueBy(c.state.Load().issuing, csr, kind, id, hosts, now)
}

func (c *Cluster) issueBy(by authority, csr []byte, kind Kind, id string, hosts []string, now time.Time) ([]byte, error) {
	pub, err := parseCSR(csr)
	if err != nil {
		return nil, err
	}
	return by.ca.issue(c.ID(), kind, id, pub, hosts, now)
}

// Renew makes a new certificate, DER, with the name and key of the caller's present one, which may have expired. The key
// stays the same, so an answer that gets lost does no harm: the record of the caller names that key.
func (c *Cluster) Renew(ctx context.Context, csr []byte, now time.Time) ([]byte, error) {
	id, present := IdentityFrom(ctx), peerCertificate(ctx)
	if present == nil || (id.Kind != Machine && id.Kind != User) {
		return nil, errors.New("only a machine or a user that shows its certificate can renew it")
	}
	pub, err := parseCSR(csr)
	if err != nil {
		return nil, err
	}
	if !sameKey(pub, present.PublicKey) {
		return nil, errors.New("a certificate is renewed with the key it has: this request is for another key")
	}
	return c.state.Load().issuing.ca.issue(c.ID(), id.Kind, id.ID, pub, nil, now)
}
