package auth

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"unicode"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// The text of a token is a prefix that says what it is for and, in base 32 (case does not matter, nor do spaces and line
// breaks that a terminal put in), these bytes:
//
//	version  1
//	length   2, of all bytes
//	check    1, of the three before it: a wrong length is told from a missing end
//	cluster  16
//	CA       32, SHA-256
//	secret   16
//	servers  1 for their number; for each 1 for its length, and host:port
//	check    4, of everything before it and the prefix
const (
	joinPrefix   = "argosy-join-"
	loginPrefix  = "argosy-login-"
	serverPrefix = "argosy-server-"

	tokenVersion = 1
	headSize     = 4
	sumSize      = 4
	clusterSize  = 16
	minToken     = headSize + clusterSize + sha256.Size + secretSize + 1 + sumSize
	maxServers   = 16
	maxAddress   = 255
	maxToken     = minToken + maxServers*(1+maxAddress)
	maxTokenText = 12 << 10 // characters, spaces included
)

var tokenEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

func tokenPrefix(p argosyv1.TokenPurpose) string {
	switch p {
	case argosyv1.TokenPurpose_TOKEN_PURPOSE_USER:
		return loginPrefix
	case argosyv1.TokenPurpose_TOKEN_PURPOSE_SERVER:
		return serverPrefix
	}
	return joinPrefix
}

// Encode returns the token's text. Whoever has it can use the token.
func (t Token) Encode() (string, error) {
	cluster, err := hex.DecodeString(t.Cluster)
	if err != nil || len(cluster) != clusterSize {
		return "", fmt.Errorf("%q is not a cluster's id", clip(t.Cluster))
	}
	if len(t.Servers) == 0 || len(t.Servers) > maxServers {
		return "", fmt.Errorf("a token carries 1 to %d addresses of servers, not %d", maxServers, len(t.Servers))
	}
	if len(t.Secret.Reveal()) != secretSize {
		return "", errors.New("the token has no secret")
	}
	b := make([]byte, headSize, minToken)
	b = append(b, cluster...)
	b = append(b, t.CADigest[:]...)
	b = append(b, t.Secret.Reveal()...)
	b = append(b, byte(len(t.Servers)))
	for _, s := range t.Servers {
		if err := checkAddress(s); err != nil {
			return "", err
		}
		b = append(b, byte(len(s)))
		b = append(b, s...)
	}
	n := len(b) + sumSize
	b[0], b[1], b[2] = tokenVersion, byte(n>>8), byte(n)
	b[3] = headCheck(b)
	prefix := tokenPrefix(t.Purpose)
	sum := tokenSum(prefix, b)
	return prefix + tokenEncoding.EncodeToString(append(b, sum[:]...)), nil
}

func headCheck(b []byte) byte {
	sum := sha256.Sum256(b[:headSize-1])
	return sum[0]
}

func tokenSum(prefix string, b []byte) [sumSize]byte {
	sum := sha256.Sum256(append([]byte(prefix), b...))
	return [sumSize]byte(sum[:sumSize])
}

func checkAddress(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if n, errPort := strconv.ParseUint(port, 10, 16); err != nil || host == "" || errPort != nil || n == 0 || len(addr) > maxAddress ||
		strings.ContainsFunc(addr, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%q is not the address of a server: write host:port", clip(addr))
	}
	return nil
}

// ParseToken reads a token's text, wanted for a purpose, unspecified for any. Every error is a [*TokenError].
func ParseToken(text string, want argosyv1.TokenPurpose) (Token, error) {
	if len(text) > maxTokenText {
		return Token{}, refuse(TokenTooLong, "this is too long for a token: copy the one line that `argosy token create` printed, and nothing after it")
	}
	text = strings.ToLower(strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, text))
	purpose, body, err := cutPrefix(text)
	if err != nil {
		return Token{}, err
	}
	b, err := decodeBody(tokenPrefix(purpose), body)
	if err != nil {
		return Token{}, err
	}
	t, err := readBody(b)
	if err != nil {
		return Token{}, err
	}
	t.Purpose = purpose
	if want != argosyv1.TokenPurpose_TOKEN_PURPOSE_UNSPECIFIED && purpose != want {
		is, needs := tokenUse(purpose), tokenUse(want)
		return Token{}, refuse(TokenWrongPurpose, "this token lets a %s, with `%s`; for a %s make one with `%s`", is.lets, is.with, needs.who, needs.made)
	}
	return t, nil
}

type use struct{ who, lets, with, made string }

func tokenUse(p argosyv1.TokenPurpose) use {
	switch p {
	case argosyv1.TokenPurpose_TOKEN_PURPOSE_USER:
		return use{"user", "user log in", "argosy login", "argosy token create --user NAME"}
	case argosyv1.TokenPurpose_TOKEN_PURPOSE_SERVER:
		return use{"server", "server join", "argosy join --server", "argosy token create --for-server"}
	}
	return use{"machine", "machine join", "argosy join", "argosy token create"}
}

var purposes = []argosyv1.TokenPurpose{argosyv1.TokenPurpose_TOKEN_PURPOSE_MACHINE, argosyv1.TokenPurpose_TOKEN_PURPOSE_USER,
	argosyv1.TokenPurpose_TOKEN_PURPOSE_SERVER}

func cutPrefix(text string) (argosyv1.TokenPurpose, string, error) {
	for _, p := range purposes {
		prefix := tokenPrefix(p)
		if body, ok := strings.CutPrefix(text, prefix); ok {
			return p, body, nil
		}
		if text != "" && strings.HasPrefix(prefix, text) {
			return 0, "", refuse(TokenTruncated, "only the beginning of the token arrived: copy the whole of it")
		}
	}
	return 0, "", refuse(TokenForeign, "this is not an Argosy token: one begins with %s, %s or %s", joinPrefix, loginPrefix, serverPrefix)
}

// decodeBody returns the token's bytes if all are there, none is too many, and the check sums hold.
func decodeBody(prefix, body string) ([]byte, error) {
	if i := strings.IndexFunc(body, func(r rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz234567", r) }); i >= 0 {
		return nil, refuse(TokenMistyped, "the token has a character at place %d that no token has: copy it again", len(prefix)+i+1)
	}
	// A text whose end is missing may end within a byte, so what is there is decoded as far as it goes.
	whole := len(body) / 8 * 8
	rest := map[int]int{0: 0, 1: 0, 2: 2, 3: 2, 4: 4, 5: 5, 6: 5, 7: 7}[len(body)-whole]
	b, err := tokenEncoding.DecodeString(body[:whole+rest])
	if err != nil {
		return nil, refuse(TokenMistyped, "the token is mistyped: copy it again")
	}
	truncated := refuse(TokenTruncated, "the end of the token is missing: copy the whole of it")
	if len(b) < headSize {
		return nil, truncated
	}
	size := int(b[1])<<8 | int(b[2])
	switch {
	case b[3] != headCheck(b):
		return nil, refuse(TokenMistyped, "the token is mistyped near its beginning: copy it again")
	case b[0] != tokenVersion:
		return nil, refuse(TokenForeign, "the token is of version %d, which this release of argosy does not know: use the release that the cluster runs", b[0])
	case size < minToken || size > maxToken:
		return nil, refuse(TokenMistyped, "the token is mistyped near its beginning: copy it again")
	case len(body) < tokenEncoding.EncodedLen(size):
		return nil, truncated
	case len(body) > tokenEncoding.EncodedLen(size):
		return nil, refuse(TokenTooLong, "something follows the end of the token: it has %d characters, and here are %d", len(prefix)+tokenEncoding.EncodedLen(size), len(prefix)+len(body))
	}
	sum := tokenSum(prefix, b[:size-sumSize])
	// Encoding again finds a wrong last character, of which only some bits count.
	if !bytes.Equal(sum[:], b[size-sumSize:]) || tokenEncoding.EncodeToString(b) != body {
		return nil, refuse(TokenMistyped, "the token is mistyped: some character is wrong; copy it again")
	}
	return b[:size-sumSize], nil
}

// readBody reads bytes whose check sum held. What it refuses was never made by Encode.
func readBody(b []byte) (Token, error) {
	b = b[headSize:]
	t := Token{Cluster: hex.EncodeToString(b[:clusterSize])}
	b = b[clusterSize:]
	copy(t.CADigest[:], b)
	b = b[sha256.Size:]
	t.Secret = NewSecret(bytes.Clone(b[:secretSize]))
	n := int(b[secretSize])
	b = b[secretSize+1:]
	for range n {
		if len(b) == 0 || len(b) < 1+int(b[0]) {
			return Token{}, refuse(TokenForeign, "the token's list of servers cannot be read: make a new one with `argosy token create`")
		}
		addr := string(b[1 : 1+int(b[0])])
		if err := checkAddress(addr); err != nil {
			return Token{}, refuse(TokenForeign, "the token cannot be used: %v", err)
		}
		t.Servers = append(t.Servers, addr)
		b = b[1+int(b[0]):]
	}
	if len(b) != 0 || n == 0 || n > maxServers {
		return Token{}, refuse(TokenForeign, "the token's list of servers cannot be read: make a new one with `argosy token create`")
	}
	return t, nil
}
