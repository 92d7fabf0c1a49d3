package auth

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/memory"
)

func encoded(t testing.TB, m proto.Message) []byte {
	t.Helper()
	op, err := store.Put(store.ClusterKey, m)
	if err != nil {
		t.Fatal(err)
	}
	return op.Value
}

// At each step of a rotation, whom do a server, one who has followed and one who has not trust?
func TestRotationSteps(t *testing.T) {
	c := newCluster(t, memory.New())
	now := time.Now()
	before := issue(t, c, Machine, "m1", now)
	first, err := decodeCluster(c.Record())
	if err != nil {
		t.Fatal(err)
	}
	started, err := c.StartRotation(first, "ana", now.Add(time.Hour), now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.StartRotation(started, "ana", now, now); err == nil {
		t.Error("two rotations at once")
	}
	switched := SwitchAuthority(started, now)
	shown := func() *Credential {
		key, csr, err := NewKey()
		if err != nil {
			t.Fatal(err)
		}
		der, err := c.IssueShown(csr, "s1", nil, now)
		if err != nil {
			t.Fatal(err)
		}
		cred, err := NewCredential(key, der, c.ShownCA())
		return must(t, cred, err)
	}
	trusts := func(holder, server *Credential) bool {
		v, err := holder.Verifier()
		_, err2 := must(t, v, err).Identify(server.Certificate)
		return err2 == nil
	}
	old := before
	for _, step := range []struct {
		name                       string
		record                     *storev1.Cluster
		issuedBy                   uint32 // what is issued now
		serverTrustsOld, oldTrusts bool   // a certificate of the first authority; whether its holder trusts what servers show
		digests                    int
	}{
		{"before", first, 1, true, true, 1},
		{"started", started, 1, true, true, 1},
		{"switched", switched, 2, true, true, 2},
		{"dropped", DropAuthority(switched), 2, false, false, 1},
	} {
		if err := c.Follow(encoded(t, step.record)); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		fresh := issue(t, c, Machine, "m2", now)
		for _, der := range c.AlsoTrusted() {
			also, err := NewCredential(fresh.Key, fresh.Certificate.Raw, fresh.CA.Raw, der)
			fresh = must(t, also, err)
		}
		if got := c.NumberOf(fresh.Certificate); got != step.issuedBy {
			t.Errorf("%s: authority %d issues", step.name, got)
		}
		if _, err := c.Verifier().Identify(fresh.Certificate); err != nil {
			t.Errorf("%s: servers refuse what is issued: %v", step.name, err)
		}
		if _, err := c.Verifier().Identify(old.Certificate); (err == nil) != step.serverTrustsOld {
			t.Errorf("%s: of one who has not followed servers say %v", step.name, err)
		}
		if server := shown(); trusts(old, server) != step.oldTrusts || !trusts(fresh, server) {
			t.Errorf("%s: one who has not followed trusts a server: %v; one who has: %v", step.name, trusts(old, server), trusts(fresh, server))
		}
		if d := c.AuthorityDigests(); len(d) != step.digests || !fresh.Follows(d) || old.Follows(d) != (step.issuedBy == 1) {
			t.Errorf("%s: %d digests", step.name, len(d))
		}
		head := http.Header{authoritiesHeader: {c.announcement()}}
		if !Followed(fresh, head) || Followed(old, head) != (step.issuedBy == 1) {
			t.Errorf("%s: announced %q", step.name, c.announcement())
		}
	}
	if err := c.Follow(encoded(t, &storev1.Cluster{})); err == nil {
		t.Error("another cluster's record was taken in")
	}
}

func TestCredentialsTrustOwnAuthoritiesOnly(t *testing.T) {
	c, other := newCluster(t, memory.New()), newCluster(t, memory.New())
	cred := issue(t, c, Machine, "m1", time.Now())
	for name, also := range map[string][][]byte{
		"another cluster's": {other.CA()},
		"no authority":      {cred.Certificate.Raw},
		"nonsense":          {[]byte("x")},
		"too many":          {c.CA(), c.CA(), c.CA(), c.CA(), c.CA()},
	} {
		if _, err := NewCredential(cred.Key, cred.Certificate.Raw, cred.CA.Raw, also...); err == nil {
			t.Errorf("%s is trusted", name)
		}
	}
}

// An answer may say anything: at worst it has somebody renew.
func FuzzFollowed(f *testing.F) {
	c := newCluster(f, memory.New())
	cred := issue(f, c, User, "ana", time.Now())
	f.Add(c.announcement())
	f.Add("")
	f.Add("zz,zz")
	f.Add(strings.Repeat("00,", 1000))
	f.Fuzz(func(t *testing.T, text string) {
		followed := Followed(cred, http.Header{authoritiesHeader: {text}})
		if text == c.announcement() && !followed {
			t.Error("the own authority is doubted")
		}
	})
}
