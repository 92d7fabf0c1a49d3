package auth

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/store/memory"
)

const (
	forMachine = argosyv1.TokenPurpose_TOKEN_PURPOSE_MACHINE
	forUser    = argosyv1.TokenPurpose_TOKEN_PURPOSE_USER
)

func problem(err error) TokenProblem {
	var te *TokenError
	if errors.As(err, &te) {
		return te.Problem
	}
	return 0
}

func aToken(t testing.TB, purpose argosyv1.TokenPurpose) string {
	t.Helper()
	tok := Token{
		Purpose: purpose, Cluster: "00112233445566778899aabbccddeeff", CADigest: sha256.Sum256([]byte("ca")),
		Servers: []string{"10.0.0.1:7443", "[fd00::1]:7443"}, Secret: NewSecret([]byte("0123456789abcdef")),
	}
	text, err := tok.Encode()
	return must(t, text, err)
}

func TestParseToken(t *testing.T) {
	machine, user := aToken(t, forMachine), aToken(t, forUser)
	cases := []struct {
		name, text string
		want       TokenProblem
		says       string
	}{
		{"good", machine, 0, ""},
		{"in capitals", strings.ToUpper(machine), 0, ""},
		{"broken over lines", "  " + machine[:50] + "\r\n   " + machine[50:] + "\n", 0, ""},
		{"nothing", "", TokenForeign, "begins with argosy-join-"},
		{"something else", "hello", TokenForeign, "begins with argosy-join-"},
		{"a URL", "https://discovery.example/abc", TokenForeign, "not an Argosy token"},
		{"half a prefix", "argosy-jo", TokenTruncated, "copy the whole"},
		{"prefix only", "argosy-join-", TokenTruncated, "end of the token is missing"},
		{"half", machine[:len(machine)/2], TokenTruncated, "end of the token is missing"},
		{"without its last character", machine[:len(machine)-1], TokenTruncated, "end of the token is missing"},
		{"twice", machine + machine[len(joinPrefix):], TokenTooLong, "something follows"},
		{"one more character", machine + "a", TokenTooLong, "something follows"},
		{"endless", machine + strings.Repeat("a", 1<<20), TokenTooLong, "too long"},
		{"a strange character", machine[:40] + "!" + machine[41:], TokenMistyped, "place 41"},
		{"not letters at all", joinPrefix + "\x00\xff\xfe", TokenMistyped, "place 13"},
		{"for a user", user, TokenWrongPurpose, "argosy login"},
		{"prefix of the other purpose", joinPrefix + user[len(loginPrefix):], TokenMistyped, "copy it again"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			tok, err := ParseToken(c.text, forMachine)
			if c.want == 0 {
				if err != nil || len(tok.Servers) != 2 || tok.Servers[1] != "[fd00::1]:7443" || tok.Cluster != "00112233445566778899aabbccddeeff" {
					t.Fatalf("%+v, %v", tok, err)
				}
				return
			}
			if problem(err) != c.want || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("problem %d, %v; want problem %d saying %q", problem(err), err, c.want, c.says)
			}
		})
	}
	if _, err := ParseToken(machine, forUser); problem(err) != TokenWrongPurpose || !strings.Contains(err.Error(), "argosy join") {
		t.Errorf("a machine's token for a user: %v", err)
	}
}

// Every proper beginning is called truncated, every wrong character mistyped; none is taken for good.
func TestTokenDamage(t *testing.T) {
	text := aToken(t, forMachine)
	for n := 1; n < len(text); n++ {
		if _, err := ParseToken(text[:n], forMachine); problem(err) != TokenTruncated {
			t.Errorf("the first %d of %d characters: %v", n, len(text), err)
		}
	}
	for i := len(joinPrefix); i < len(text); i++ {
		for _, r := range "a7q" {
			wrong := text[:i] + string(r) + text[i+1:]
			if wrong == text {
				continue
			}
			if _, err := ParseToken(wrong, forMachine); problem(err) != TokenMistyped {
				t.Errorf("%q at place %d: %v", r, i+1, err)
			}
		}
	}
	for i := len(joinPrefix); i+1 < len(text); i++ {
		if swapped := text[:i] + text[i+1:i+2] + text[i:i+1] + text[i+2:]; swapped != text {
			if _, err := ParseToken(swapped, forMachine); problem(err) != TokenMistyped {
				t.Errorf("places %d and %d exchanged: %v", i+1, i+2, err)
			}
		}
	}
}

func TestTokenRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bytes := func(n int, label string) []byte { return rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, label) }
		server := rapid.Custom(func(t *rapid.T) string {
			return fmt.Sprintf("%s:%d", rapid.StringMatching(`[a-z0-9.]{1,60}`).Draw(t, "host"), rapid.IntRange(1, 65535).Draw(t, "port"))
		})
		tok := Token{
			Purpose: rapid.SampledFrom([]argosyv1.TokenPurpose{forMachine, forUser}).Draw(t, "purpose"),
			Cluster: fmt.Sprintf("%x", bytes(clusterSize, "cluster")),
			Servers: rapid.SliceOfN(server, 1, maxServers).Draw(t, "servers"),
			Secret:  NewSecret(bytes(secretSize, "secret")),
		}
		copy(tok.CADigest[:], bytes(sha256.Size, "digest"))
		text, err := tok.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseToken(text, tok.Purpose)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(tok, got, cmp.AllowUnexported(Secret{})); d != "" {
			t.Fatal(d)
		}
	})
}

func TestEncodeRefuses(t *testing.T) {
	good := Token{Purpose: forMachine, Cluster: "00112233445566778899aabbccddeeff", Servers: []string{"a:1"}, Secret: NewSecret(make([]byte, secretSize))}
	for name, change := range map[string]func(*Token){
		"no cluster":       func(t *Token) { t.Cluster = "" },
		"a strange one":    func(t *Token) { t.Cluster = "zz" },
		"no server":        func(t *Token) { t.Servers = nil },
		"many servers":     func(t *Token) { t.Servers = make([]string, maxServers+1) },
		"no port":          func(t *Token) { t.Servers = []string{"a"} },
		"port zero":        func(t *Token) { t.Servers = []string{"a:0"} },
		"no host":          func(t *Token) { t.Servers = []string{":1"} },
		"a space":          func(t *Token) { t.Servers = []string{"a b:1"} },
		"a long address":   func(t *Token) { t.Servers = []string{strings.Repeat("a", 300) + ":1"} },
		"no secret":        func(t *Token) { t.Secret = Secret{} },
		"half of a secret": func(t *Token) { t.Secret = NewSecret(make([]byte, secretSize/2)) },
	} {
		tok := good
		change(&tok)
		if text, err := tok.Encode(); err == nil {
			t.Errorf("%s: %s", name, text)
		}
	}
}

func TestVerifyToken(t *testing.T) {
	c, other := newCluster(t, memory.New()), newCluster(t, memory.New())
	now := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	tok, record, err := c.NewToken(TokenRequest{Purpose: forMachine, Servers: []string{"a:1"}}, now)
	if err != nil {
		t.Fatal(err)
	}
	foreign, foreignRecord, err := other.NewToken(TokenRequest{Purpose: forMachine, Servers: []string{"a:1"}}, now)
	if err != nil {
		t.Fatal(err)
	}
	asUser := tok
	asUser.Purpose = forUser
	guess := tok
	guess.Secret = NewSecret(make([]byte, secretSize))
	cases := []struct {
		name   string
		record *storev1.Token
		token  Token
		after  time.Duration
		want   TokenProblem
		says   string
	}{
		{"good", record, tok, 0, 0, ""},
		{"good until the end", record, tok, time.Hour - 1, 0, ""},
		{"expired", record, tok, time.Hour, TokenExpired, "expired on 2030-01-01T13:00:00Z"},
		{"used", SpendToken(record, "machine m1", now.Add(time.Minute)), tok, 2 * time.Minute, TokenUsed, "used by machine m1 on 2030-01-01T12:01:00Z"},
		{"used and expired", SpendToken(record, "machine m1", now), tok, 2 * time.Hour, TokenUsed, "used by"},
		{"revoked", nil, tok, 0, TokenUnknown, "revoked"},
		{"another secret", record, guess, 0, TokenUnknown, "knows no token"},
		{"another cluster's", foreignRecord, foreign, 0, TokenCluster, "this is cluster " + c.ID()},
		{"another purpose", record, asUser, 0, TokenWrongPurpose, "another purpose"},
	}
	for _, k := range cases {
		t.Run(k.name, func(t *testing.T) {
			err := c.VerifyToken(k.record, k.token, now.Add(k.after))
			if problem(err) != k.want || (err != nil) != (k.want != 0) {
				t.Fatalf("%v, want problem %d", err, k.want)
			}
			if k.want != 0 && !strings.Contains(err.Error(), k.says) {
				t.Fatalf("%q does not say %q", err, k.says)
			}
		})
	}
}

func TestNewToken(t *testing.T) {
	c := newCluster(t, memory.New())
	now := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	tok, record, err := c.NewToken(TokenRequest{Purpose: forUser, Life: time.Minute, Servers: []string{"a:1"}, User: "ann", Role: "operator"}, now)
	if err != nil {
		t.Fatal(err)
	}
	info := record.GetInfo()
	if info.GetId() != tok.ID() || info.GetTenant() != DefaultTenant || info.GetUser() != "ann" || info.GetRole() != "operator" ||
		!info.GetExpiresAt().AsTime().Equal(now.Add(time.Minute)) {
		t.Errorf("record %v", info)
	}
	if secret := string(tok.Secret.Reveal()); strings.Contains(string(record.GetHash()), secret) || strings.Contains(tok.String(), secret) {
		t.Error("the record or the name gives the secret away")
	}
	for name, r := range map[string]TokenRequest{
		"no purpose":          {Servers: []string{"a:1"}},
		"too long a life":     {Purpose: forMachine, Servers: []string{"a:1"}, Life: MaxTokenLife + 1},
		"a negative life":     {Purpose: forMachine, Servers: []string{"a:1"}, Life: -1},
		"a user's machine":    {Purpose: forMachine, Servers: []string{"a:1"}, User: "ann"},
		"no user":             {Purpose: forUser, Servers: []string{"a:1"}, Role: "admin"},
		"a user's odd name":   {Purpose: forUser, Servers: []string{"a:1"}, User: "../x", Role: "admin"},
		"an unknown role":     {Purpose: forUser, Servers: []string{"a:1"}, User: "ann", Role: "root"},
		"a tenant's odd name": {Purpose: forUser, Servers: []string{"a:1"}, User: "ann", Role: "admin", Tenant: "a/b"},
		"no server":           {Purpose: forMachine},
	} {
		if _, _, err := c.NewToken(r, now); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	good := aToken(f, forMachine)
	f.Add(good)
	f.Add(aToken(f, forUser))
	f.Add(good[:70])
	f.Add(joinPrefix)
	f.Add("")
	f.Add(joinPrefix + strings.Repeat("a", 300))
	f.Fuzz(func(t *testing.T, text string) {
		tok, err := ParseToken(text, forMachine)
		if err != nil {
			if problem(err) == 0 {
				t.Fatalf("%v is not a *TokenError", err)
			}
			if len(err.Error()) > 600 {
				t.Fatalf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		again, err := tok.Encode()
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if want := strings.ToLower(strings.Join(strings.Fields(text), "")); again != want {
			t.Fatalf("%q was read, %q written", want, again)
		}
	})
}
