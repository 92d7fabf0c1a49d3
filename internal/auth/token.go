package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// How long tokens are good for.
const (
	DefaultTokenLife = time.Hour
	MaxTokenLife     = 30 * 24 * time.Hour
)

const (
	secretSize  = 16 // bytes
	tokenIDSize = 12 // characters of the hash
)

// Token lets one machine or user in, once. Its text carries all that they need to know about the cluster.
type Token struct {
	Purpose argosyv1.TokenPurpose
	Cluster string
	// CADigest is the SHA-256 of the cluster's CA certificate: the newcomer speaks to nobody else's server.
	CADigest [sha256.Size]byte
	// Servers to dial, host:port, at least one.
	Servers []string
	Secret  Secret
}

// TokenRequest is what a new token should be.
type TokenRequest struct {
	Purpose argosyv1.TokenPurpose
	Life    time.Duration // zero is DefaultTokenLife
	Servers []string      // host:port
	// For users.
	User, Role, Tenant string
}

// NewToken makes a token for a cluster, and the record that the servers keep of it, which does not hold the secret.
func (c *Cluster) NewToken(r TokenRequest, now time.Time) (Token, *storev1.Token, error) {
	if r.Life == 0 {
		r.Life = DefaultTokenLife
	}
	if r.Life < 0 || r.Life > MaxTokenLife {
		return Token{}, nil, fmt.Errorf("a token cannot be good for %v: choose at most %v", r.Life, MaxTokenLife)
	}
	info := &argosyv1.TokenInfo{Purpose: r.Purpose, ExpiresAt: timestamppb.New(now.Add(r.Life))}
	switch r.Purpose {
	case argosyv1.TokenPurpose_TOKEN_PURPOSE_MACHINE, argosyv1.TokenPurpose_TOKEN_PURPOSE_SERVER:
		if r.User != "" || r.Role != "" || r.Tenant != "" {
			return Token{}, nil, fmt.Errorf("a %s's token names no user, role or tenant", tokenUse(r.Purpose).who)
		}
	case argosyv1.TokenPurpose_TOKEN_PURPOSE_USER:
		if r.Tenant == "" {
			r.Tenant = DefaultTenant
		}
		if err := errors.Join(CheckName("user", r.User), CheckRole(r.Role), CheckName("tenant", r.Tenant)); err != nil {
			return Token{}, nil, err
		}
		info.User, info.Role, info.Tenant = r.User, r.Role, r.Tenant
	default:
		return Token{}, nil, errors.New("a token is for a machine, a server or a user: say which")
	}
	secret := make([]byte, secretSize)
	if _, err := rand.Read(secret); err != nil {
		return Token{}, nil, fmt.Errorf("making a token: %w", err)
	}
	t := Token{Purpose: r.Purpose, Cluster: c.ID(), CADigest: sha256.Sum256(c.ShownCA()), Servers: r.Servers, Secret: NewSecret(secret)}
	if _, err := t.Encode(); err != nil {
		return Token{}, nil, err
	}
	info.Id = t.ID()
	return t, &storev1.Token{Info: info, Hash: t.hash()}, nil
}

func (t Token) hash() []byte {
	sum := sha256.Sum256(t.Secret.Reveal())
	return sum[:]
}

// ID names the token without giving it away; its record is kept under it.
func (t Token) ID() string { return hex.EncodeToString(t.hash())[:tokenIDSize] }

// String hides the token; its text is what [Token.Encode] returns.
func (t Token) String() string { return "token " + t.ID() }

// TokenProblem is why a token was refused.
type TokenProblem int

// The problems, from the token's text to what the cluster knows about it.
const (
	TokenForeign      TokenProblem = iota + 1 // not a token at all
	TokenTruncated                            // its end is missing
	TokenMistyped                             // some character is wrong
	TokenTooLong                              // something follows its end
	TokenWrongPurpose                         // for a user where a machine's is needed, or the other way round
	TokenCluster                              // another cluster's
	TokenUnknown                              // revoked, or never made
	TokenExpired
	TokenUsed
)

// TokenError says what is wrong with a token and what to do next.
type TokenError struct {
	Problem TokenProblem
	text    string
}

func (e *TokenError) Error() string { return e.text }

func refuse(p TokenProblem, format string, args ...any) error {
	return &TokenError{Problem: p, text: fmt.Sprintf(format, args...)}
}

// VerifyToken says whether a token lets its bearer in now. The record is the one kept under the token's id, nil when there
// is none.
func (c *Cluster) VerifyToken(record *storev1.Token, t Token, now time.Time) error {
	if t.Cluster == c.ID() && !c.trustsDigest(t.CADigest) {
		return refuse(TokenCluster, "token %s names an authority that this cluster has replaced: make a new one with `argosy token create`", t.ID())
	}
	if t.Cluster != c.ID() {
		return refuse(TokenCluster, "this token is for cluster %s, and this is cluster %s: use the address in the token, or make a token here with `argosy token create`",
			t.Cluster, c.ID())
	}
	again := "make a new one with `argosy token create`"
	if record == nil || subtle.ConstantTimeCompare(record.GetHash(), t.hash()) != 1 {
		return refuse(TokenUnknown, "this cluster knows no token %s: it was revoked, or has long expired; %s", t.ID(), again)
	}
	info := record.GetInfo()
	if info.GetPurpose() != t.Purpose {
		return refuse(TokenWrongPurpose, "token %s was made for another purpose than its text says; %s", t.ID(), again)
	}
	if info.GetUsedAt() != nil {
		return refuse(TokenUsed, "token %s was used by %s on %s, and each works once; %s",
			t.ID(), info.GetUsedBy(), info.GetUsedAt().AsTime().Format(time.RFC3339), again)
	}
	if end := info.GetExpiresAt().AsTime(); !now.Before(end) {
		return refuse(TokenExpired, "token %s expired on %s; %s", t.ID(), end.Format(time.RFC3339), again)
	}
	return nil
}

func (c *Cluster) trustsDigest(d [sha256.Size]byte) bool {
	return slices.ContainsFunc(c.TrustedCAs(), func(ca []byte) bool { return sha256.Sum256(ca) == d })
}

// SpendToken marks a record as used. It is written in the transaction that lets the bearer in, which compares the
// record's revision: so of two bearers one is refused.
func SpendToken(record *storev1.Token, by string, now time.Time) *storev1.Token {
	return &storev1.Token{
		Hash: record.GetHash(),
		Info: &argosyv1.TokenInfo{
			Id: record.GetInfo().GetId(), Purpose: record.GetInfo().GetPurpose(), ExpiresAt: record.GetInfo().GetExpiresAt(),
			User: record.GetInfo().GetUser(), Role: record.GetInfo().GetRole(), Tenant: record.GetInfo().GetTenant(),
			UsedAt: timestamppb.New(now), UsedBy: by,
		},
	}
}
