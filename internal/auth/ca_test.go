package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/argosy-cluster/argosy/internal/store/memory"
)

func csrOf(t testing.TB, key crypto.Signer, template *x509.CertificateRequest) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	return must(t, der, err)
}

// Whatever a request asks for, the certificate says what the server decided and no more.
func TestCSRGivesOnlyItsKey(t *testing.T) {
	c := newCluster(t, memory.New())
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	greedy := csrOf(t, key, &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: ServerName},
		DNSNames: []string{"evil.example"},
		URIs:     []*url.URL{{Scheme: scheme, Host: c.ID(), Path: "/server/evil"}},
		ExtraExtensions: []pkix.Extension{
			{Id: []int{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 0x03, 0x01, 0x01, 0xff}}, // CA: true
		},
	})
	der, err := c.IssueMachine(greedy, "m1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if cert.IsCA || cert.Subject.CommonName != "argosy-machine" || len(cert.DNSNames) != 0 || len(cert.URIs) != 1 ||
		slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageServerAuth) || cert.KeyUsage&x509.KeyUsageCertSign != 0 {
		t.Fatalf("the request decided: %+v", cert.Subject)
	}
	id, err := c.Verifier().Identify(cert)
	if err != nil || id != (Identity{Kind: Machine, ID: "m1"}) {
		t.Fatalf("%+v, %v", id, err)
	}
	if life := cert.NotAfter.Sub(cert.NotBefore); life != CertificateLife+backdate {
		t.Errorf("the certificate is good for %v", life)
	}
}

func TestCSRKeys(t *testing.T) {
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p224, _ := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	empty := &x509.CertificateRequest{}
	good := csrOf(t, p256, empty)
	forged := slices.Clone(good)
	forged[len(forged)-3] ^= 1
	cases := []struct {
		name string
		der  []byte
		says string // empty: accepted
	}{
		{"P-256", good, ""},
		{"P-384", csrOf(t, p384, empty), ""},
		{"Ed25519", csrOf(t, ed, empty), ""},
		{"P-224", csrOf(t, p224, empty), "curve"},
		{"RSA", csrOf(t, rsaKey, empty), "kind"},
		{"nothing", nil, "cannot be read"},
		{"nonsense", []byte("certificate, please"), "cannot be read"},
		{"cut", good[:len(good)/2], "cannot be read"},
		{"trailing bytes", append(slices.Clone(good), 0), "cannot be read"},
		{"signed by another", forged, "not signed with its own key"},
		{"huge", csrOf(t, p256, &x509.CertificateRequest{DNSNames: []string{strings.Repeat("a", maxCSR)}}), "too big"},
	}
	for _, c := range cases {
		_, err := parseCSR(c.der)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
	}
}

func TestIssueRefusesNames(t *testing.T) {
	c := newCluster(t, memory.New())
	_, csr, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"", "a/b", "..", "A", "a b", "a%2fb", "ä", strings.Repeat("a", 64), "a?b", "a#b"} {
		if _, err := c.IssueUser(csr, id, time.Now()); err == nil {
			t.Errorf("%q got a certificate", id)
		}
	}
}

func TestIdentify(t *testing.T) {
	now := time.Now()
	c, other := newCluster(t, memory.New()), newCluster(t, memory.New())
	v := c.Verifier()
	signed := func(change func(*x509.Certificate)) *x509.Certificate {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		uri, err := identityURI(c.ID(), Machine, "m1")
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{
			SerialNumber: c.state.Load().issuing.ca.cert.SerialNumber, URIs: []*url.URL{uri}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		change(template)
		der, err := x509.CreateCertificate(rand.Reader, template, c.state.Load().issuing.ca.cert, key.Public(), c.state.Load().issuing.ca.key)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		return must(t, cert, err)
	}
	for _, k := range []struct {
		name string
		cert *x509.Certificate
		want Identity
		says string
	}{
		{"good", signed(func(*x509.Certificate) {}), Identity{Kind: Machine, ID: "m1"}, ""},
		{"expired", signed(func(x *x509.Certificate) { x.NotAfter = now.Add(-time.Minute) }), Identity{Kind: Machine, ID: "m1", Expired: true}, ""},
		{"of tomorrow", signed(func(x *x509.Certificate) { x.NotBefore = now.Add(time.Minute) }), Identity{}, "set the clocks right"},
		{"another CA's", issue(t, other, Machine, "m1", now).Certificate, Identity{}, "not signed by this cluster"},
		{"another CA's, expired", issue(t, other, Machine, "m1", now.Add(-2*CertificateLife)).Certificate, Identity{}, "not signed by this cluster"},
		{"another cluster's name", signed(func(x *x509.Certificate) { x.URIs[0].Host = other.ID() }), Identity{}, "is for cluster " + other.ID()},
		{"no name", signed(func(x *x509.Certificate) { x.URIs = nil }), Identity{}, "0 identities"},
		{"two names", signed(func(x *x509.Certificate) { x.URIs = append(x.URIs, x.URIs[0]) }), Identity{}, "2 identities"},
		{"a strange name", signed(func(x *x509.Certificate) { x.URIs[0].Path = "/local/root" }), Identity{}, "does not name"},
		{"not for clients", signed(func(x *x509.Certificate) { x.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} }), Identity{}, "not signed by this cluster"},
		{"the CA itself", c.state.Load().issuing.ca.cert, Identity{}, "does not name"},
	} {
		t.Run(k.name, func(t *testing.T) {
			id, err := v.Identify(k.cert)
			if id != k.want || (err == nil) != (k.says == "") || err != nil && !strings.Contains(err.Error(), k.says) {
				t.Fatalf("%+v, %v; want %+v, %q", id, err, k.want, k.says)
			}
		})
	}
}

func FuzzIdentityURI(f *testing.F) {
	for _, s := range []string{
		"argosy://c1/machine/m1", "argosy://c1/user/ann", "argosy://c1/server/s1", "argosy://c1/local/x", "argosy://c1/machine/m1/",
		"argosy://c1:80/machine/m1", "argosy://u@c1/machine/m1", "argosy://c1/machine/m%31", "argosy://c1/machine/m1?x", "argosy://c1/machine/m1#x",
		"https://c1/machine/m1", "argosy:machine/m1", "argosy://c1//machine/m1", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := url.Parse(s)
		if err != nil {
			return
		}
		cluster, kind, id, err := parseIdentityURI(u)
		if err != nil {
			return
		}
		made, err := identityURI(cluster, kind, id)
		// Parsing writes the scheme small, which names the same.
		if err != nil || made.String() != u.String() {
			t.Fatalf("%q reads as %s %s of %s, which is written %v (%v)", s, kind, id, cluster, made, err)
		}
	})
}

func FuzzCSR(f *testing.F) {
	_, good, err := NewKey()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{})
	f.Add(good[:40])
	f.Fuzz(func(t *testing.T, der []byte) {
		pub, err := parseCSR(der)
		if err != nil {
			return
		}
		if _, err := KeyDigest(pub); err != nil {
			t.Fatalf("an accepted key has no digest: %v", err)
		}
	})
}
