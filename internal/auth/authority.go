package auth

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/store"
)

// A cluster changes from one authority to the next in two steps, each a new record of the cluster, so that nobody ever meets
// a certificate which it cannot judge:
//
//	StartRotation   there is a next one. Servers trust it; nothing is signed by it yet
//	…               every server trusts it, and so does its store
//	SwitchAuthority it issues. Machines and users renew and trust both. Servers show them the certificate of the earlier one,
//	                which all of them trust, and each other that of the new one
//	…               all have renewed
//	DropAuthority   the earlier one is gone, with its key

// authority is a CA with its place among those that the cluster has had.
type authority struct {
	number uint32
	ca     *CA
}

// authorities are what a cluster's record says of them. They do not change.
type authorities struct {
	settings *argosyv1.ClusterSettings
	raw      []byte // the record as it is in the store
	issuing  authority
	other    *authority // nil while no rotation is under way
}

// readAuthorities opens a record with the key that servers keep in their file.
func readAuthorities(record *storev1.Cluster, raw []byte, keys *Keyring) (*authorities, error) {
	id := record.GetSettings().GetClusterId()
	open := func(number uint32, cert, key []byte) (authority, error) {
		plain, err := keys.Decrypt(key, SecretContext(kindCAKey, "", id, uint64(number)))
		if err != nil {
			return authority{}, err
		}
		ca, err := loadCA(cert, plain.Reveal())
		return authority{number, ca}, err
	}
	a := &authorities{settings: record.GetSettings(), raw: raw}
	var err error
	if a.issuing, err = open(max(1, record.GetCaNumber()), record.GetCaCertificate(), record.GetCaKey()); err != nil {
		return nil, err
	}
	if o := record.GetOther(); o != nil {
		other, err := open(o.Number, o.Certificate, o.Key)
		if err != nil {
			return nil, err
		}
		a.other = &other
	}
	return a, nil
}

// earlier is the authority that issued until now; nil unless a rotation has come that far.
func (a *authorities) earlier() *authority {
	if a.other != nil && a.other.number < a.issuing.number {
		return a.other
	}
	return nil
}

// shown is the authority whose certificates servers show to machines and users: one that all of them trust.
func (a *authorities) shown() authority {
	if e := a.earlier(); e != nil {
		return *e
	}
	return a.issuing
}

// trusted are all that servers trust, the one that issues first.
func (a *authorities) trusted() []*x509.Certificate {
	out := []*x509.Certificate{a.issuing.ca.cert}
	if a.other != nil {
		out = append(out, a.other.ca.cert)
	}
	return out
}

// Follow takes in the cluster's record after it changed. Verifiers that were given out go by it from then on.
func (c *Cluster) Follow(raw []byte) error {
	record, err := decodeCluster(raw)
	if err != nil {
		return err
	}
	if id := record.GetSettings().GetClusterId(); id != c.ID() {
		return fmt.Errorf("the record is cluster %s's, and this is cluster %s", id, c.ID())
	}
	keys, err := newKeyring(c.master.Reveal())
	if err != nil {
		return err
	}
	next, err := readAuthorities(record, raw, keys)
	if err != nil {
		return fmt.Errorf("the cluster's record: %w", err)
	}
	c.state.Store(next)
	c.verifier.Trust(next.trusted()...)
	return nil
}

func decodeCluster(raw []byte) (*storev1.Cluster, error) {
	record := &storev1.Cluster{}
	return record, store.Decode(store.KV{Key: store.ClusterKey, Value: raw}, record)
}

// Trusts are the numbers of the authorities that this server trusts, the one that issues first.
func (c *Cluster) Trusts() []uint32 {
	a := c.state.Load()
	out := []uint32{a.issuing.number}
	if a.other != nil {
		out = append(out, a.other.number)
	}
	return out
}

// TrustedCAs are their certificates in the same order, DER.
func (c *Cluster) TrustedCAs() (out [][]byte) {
	for _, ca := range c.state.Load().trusted() {
		out = append(out, ca.Raw)
	}
	return out
}

// AlsoTrusted are the certificates, DER, of authorities that machines and users are to trust beside [Cluster.CA].
func (c *Cluster) AlsoTrusted() [][]byte {
	if e := c.state.Load().earlier(); e != nil {
		return [][]byte{e.ca.cert.Raw}
	}
	return nil
}

// NumberOf says which of the authorities signed a certificate that a verifier has accepted; 0 for none of them.
func (c *Cluster) NumberOf(cert *x509.Certificate) uint32 {
	a := c.state.Load()
	for _, x := range []*authority{&a.issuing, a.other} {
		if x != nil && bytes.Equal(cert.AuthorityKeyId, x.ca.cert.SubjectKeyId) {
			return x.number
		}
	}
	return 0
}

// AuthorityDigests is the SHA-256 of each authority that machines and users are to trust, the one that issues first.
func (c *Cluster) AuthorityDigests() [][]byte {
	out := [][]byte{digest(c.CA())}
	for _, ca := range c.AlsoTrusted() {
		out = append(out, digest(ca))
	}
	return out
}

// authoritiesHeader is in answers to users: the digests of the authorities that are to be trusted, in hexadecimal, the one that
// issues first.
const authoritiesHeader = "Argosy-Authorities"

func (c *Cluster) announcement() string {
	var out []string
	for _, d := range c.AuthorityDigests() {
		out = append(out, hex.EncodeToString(d))
	}
	return strings.Join(out, ",")
}

// Followed says whether a credential goes by the authorities that a server's answer names; an answer that names none is no
// reason to doubt it.
func Followed(c *Credential, answer http.Header) bool {
	text := answer.Get(authoritiesHeader)
	if text == "" || len(text) > (1+maxAlso)*(2*sha256.Size+1) {
		return true
	}
	var digests [][]byte
	for part := range strings.SplitSeq(text, ",") {
		d, err := hex.DecodeString(part)
		if err != nil {
			return true
		}
		digests = append(digests, d)
	}
	return c.Follows(digests)
}

func digest(der []byte) []byte {
	sum := sha256.Sum256(der)
	return sum[:]
}

// StartRotation is the cluster's record with a next authority in it, which is made now.
func (c *Cluster) StartRotation(record *storev1.Cluster, by string, deadline, now time.Time) (*storev1.Cluster, error) {
	if record.GetOther() != nil {
		return nil, errors.New("a rotation is under way already")
	}
	ca, err := newCA(c.ID(), now)
	if err != nil {
		return nil, err
	}
	number := max(1, record.GetCaNumber()) + 1
	keys, err := newKeyring(c.master.Reveal())
	if err != nil {
		return nil, err
	}
	key, err := encryptCAKey(keys, ca, c.ID(), number)
	if err != nil {
		return nil, err
	}
	next := proto.CloneOf(record)
	next.Other = &storev1.Authority{Number: number, Certificate: ca.cert.Raw, Key: key}
	next.Rotation = &storev1.Rotation{Since: timestamppb.New(now), By: by, Deadline: timestamppb.New(deadline)}
	return next, nil
}

func encryptCAKey(keys *Keyring, ca *CA, cluster string, number uint32) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(ca.key)
	if err != nil {
		return nil, fmt.Errorf("encoding the cluster's key: %w", err)
	}
	return keys.Encrypt(NewSecret(der), SecretContext(kindCAKey, "", cluster, uint64(number))), nil
}

// SwitchAuthority is the cluster's record once the next authority issues.
func SwitchAuthority(record *storev1.Cluster, now time.Time) *storev1.Cluster {
	next := proto.CloneOf(record)
	next.Other = &storev1.Authority{Number: max(1, record.CaNumber), Certificate: record.CaCertificate, Key: record.CaKey}
	next.CaNumber, next.CaCertificate, next.CaKey = record.Other.GetNumber(), record.Other.GetCertificate(), record.Other.GetKey()
	next.Rotation.IssuingSince = timestamppb.New(now)
	return next
}

// DropAuthority is the cluster's record when only the authority that issues is left.
func DropAuthority(record *storev1.Cluster) *storev1.Cluster {
	next := proto.CloneOf(record)
	next.Other, next.Rotation = nil, nil
	return next
}

// authorityOf says whether a certificate is an authority made for a cluster, as far as that can be told without trusting it.
func authorityOf(cert *x509.Certificate, cluster string) bool {
	return cert.IsCA && len(cert.URIs) == 1 && *cert.URIs[0] == url.URL{Scheme: scheme, Host: cluster}
}
