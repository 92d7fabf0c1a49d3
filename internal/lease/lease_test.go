package lease

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
)

func TestFrames(t *testing.T) {
	var b bytes.Buffer
	for _, round := range []uint64{1, 2} {
		if err := Write(&b, &leasev1.Renewal{Session: "s", Round: round}); err != nil {
			t.Fatal(err)
		}
	}
	whole := b.Bytes()
	for _, round := range []uint64{1, 2} {
		m := &leasev1.Renewal{}
		if err := Read(&b, m); err != nil || m.Round != round {
			t.Fatalf("round %d: %v, %v", round, m, err)
		}
	}
	if err := Read(&b, &leasev1.Renewal{}); !errors.Is(err, io.EOF) {
		t.Errorf("the end between two messages is %v", err)
	}
	if err := Read(bytes.NewReader(whole[:6]), &leasev1.Renewal{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the end within a message is %v", err)
	}
	if err := Read(strings.NewReader("\xff\xff\xff\xff"), &leasev1.Renewal{}); err == nil || !strings.Contains(err.Error(), "4294967295 bytes is announced") {
		t.Errorf("a message of 4 GiB is %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x02\x0a\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &leasev1.Renewal{}
		if Read(bytes.NewReader(b), m) != nil {
			return
		}
		if r, err := RenewalFrom("m", m); err == nil {
			_ = r.Validate()
		}
	})
}

// TestRoundTrip: what package claims says arrives as it was said.
func TestRoundTrip(t *testing.T) {
	name := rapid.StringMatching("[a-z0-9/.]{1,12}")
	stamp := rapid.Custom(func(t *rapid.T) claims.Stamp {
		return claims.Stamp{Generation: rapid.Uint64().Draw(t, "generation"), Revision: rapid.Uint64().Draw(t, "revision")}
	})
	intent := rapid.SampledFrom([]claims.Intent{claims.Acquire, claims.Continue, claims.Release})
	rapid.Check(t, func(t *rapid.T) {
		r := claims.Renewal{Machine: "m", Session: claims.Session(name.Draw(t, "session")), Epoch: stamp.Draw(t, "epoch"), Round: rapid.Uint64().Draw(t, "round")}
		a := claims.Ack{Witness: "w", Session: r.Session, Epoch: r.Epoch, Round: r.Round, Refused: rapid.String().Draw(t, "refused")}
		for range rapid.IntRange(0, 4).Draw(t, "items") {
			it := claims.Item{Claim: claims.ID(name.Draw(t, "claim")), Session: r.Session, Token: stamp.Draw(t, "token"), Intent: intent.Draw(t, "intent")}
			if rapid.Bool().Draw(t, "another session") {
				it.Session = claims.Session(name.Draw(t, "its session"))
			}
			r.Items = append(r.Items, it)
			a.Verdicts = append(a.Verdicts, claims.Verdict{Claim: claims.Claimed{ID: it.Claim, Session: it.Session, Token: it.Token}, Intent: it.Intent,
				OK: rapid.Bool().Draw(t, "ok"), Unknown: rapid.Bool().Draw(t, "unknown"), Floor: stamp.Draw(t, "floor"), Why: name.Draw(t, "why"),
				Left: time.Duration(rapid.Int64().Draw(t, "left"))})
		}
		if rapid.Bool().Draw(t, "with config") {
			a.Config = &claims.Config{Epoch: stamp.Draw(t, "its epoch"), Members: []claims.Witness{"a", "b"}}
		}
		gotR, err := RenewalFrom("m", RenewalTo(r))
		if diff := cmp.Diff(r, gotR); err != nil || diff != "" {
			t.Fatalf("%v\n%s", err, diff)
		}
		gotA, err := AckFrom("w", AckTo(a))
		if diff := cmp.Diff(a, gotA); err != nil || diff != "" {
			t.Fatalf("%v\n%s", err, diff)
		}
	})
}

// TestUnknownIntent: what a later release may want is refused, and not taken for something else.
func TestUnknownIntent(t *testing.T) {
	for _, i := range []leasev1.Intent{0, 4, 257, -1} {
		if r, err := RenewalFrom("m", &leasev1.Renewal{Items: []*leasev1.Item{{Intent: i}}}); err == nil {
			t.Errorf("intent %d became %v", i, r.Items[0].Intent)
		}
	}
}

func TestIdentityIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	a, err := LoadIdentity(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := LoadIdentity(path)
	if err != nil || a.Pin != b.Pin {
		t.Errorf("%v, then %v: %v", a.Pin, b.Pin, err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the key is readable for others: %v, %v", st, err)
	}
	if err := os.WriteFile(path, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadIdentity(path); err == nil || !strings.Contains(err.Error(), "restore it, or remove it") {
		t.Errorf("a damaged key is %v", err)
	}
}

// TestKeys: each side speaks only to the key that it knows, whatever a certificate says.
func TestKeys(t *testing.T) {
	server, client, stranger := identity(t), identity(t), identity(t)
	known := func(p Pin) bool { return p == client.Pin }
	for _, c := range []struct {
		name string
		as   *Identity
		to   Pin
		ok   bool
	}{
		{"both known", client, server.Pin, true},
		{"another server", client, stranger.Pin, false},
		{"a stranger", stranger, server.Pin, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := loopback(t)
			up, down := tls.Server(a, server.Serve(known)), tls.Client(b, c.as.Dial(c.to))
			ended := make(chan error, 1)
			go func() {
				defer a.Close()
				m := &leasev1.Renewal{}
				err := Read(up, m)
				if err == nil {
					err = Write(up, &leasev1.Ack{Round: m.Round})
				}
				ended <- err
			}()
			err := down.HandshakeContext(context.Background())
			if err == nil {
				err = Write(down, &leasev1.Renewal{Round: 7})
			}
			ack := &leasev1.Ack{}
			if err == nil {
				err = Read(down, ack)
			}
			b.Close()
			if served := <-ended; (err == nil && served == nil && ack.Round == 7) != c.ok {
				t.Errorf("client: %v, server: %v, answer %v", err, served, ack)
			}
		})
	}
}

// loopback is the two ends of a connection. A pipe would not do: both sides of TLS may write at once.
func loopback(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if b, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if a, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return a, b
}

func identity(t *testing.T) *Identity {
	t.Helper()
	i, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// TestClocks: suspended, slewed, or set back by a broken kernel, a guard's time is the longer one and a witness's the shorter,
// for each interval and not only from the beginning.
func TestClocks(t *testing.T) {
	var now Reading
	read := func() (Reading, error) { return now, nil }
	guard, err := newClock(read, longer)
	if err != nil {
		t.Fatal(err)
	}
	witness, err := newClock(read, shorter)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []struct{ boot, raw, guard, witness time.Duration }{
		{1, 1, 1, 1},
		{11, 2, 11, 2},  // nine suspended
		{12, 4, 13, 3},  // raw is ahead, in this interval
		{12, 3, 13, 3},  // set back
		{13, 13, 23, 4}, // and forward
		{23, 14, 33, 5},
	} {
		now = Reading{s.boot * time.Second, s.raw * time.Second}
		if g, w := guard.Now(), witness.Now(); g != s.guard*time.Second || w != s.witness*time.Second {
			t.Errorf("at %v: guard %v, witness %v, want %ds, %ds", now, g, w, s.guard, s.witness)
		}
	}
}

func TestRealClocks(t *testing.T) {
	for _, make := range []func() (*Clock, error){NewGuardClock, NewWitnessClock} {
		c, err := make()
		if err != nil {
			t.Fatal(err)
		}
		if a, b := c.Now(), c.Now(); b < a {
			t.Errorf("%v, then %v", a, b)
		}
	}
}

// BenchmarkRenewal is what a message of ten claims costs to write and to read.
func BenchmarkRenewal(b *testing.B) {
	r := claims.Renewal{Session: "0123456789abcdef0123456789abcdef", Epoch: claims.Epoch{Generation: 1, Revision: 2}, Round: 3}
	for range 10 {
		r.Items = append(r.Items, claims.Item{Claim: "default/shop/db.1/data", Session: r.Session, Token: claims.Token{Generation: 1, Revision: 4}, Intent: claims.Continue})
	}
	b.ReportAllocs()
	for b.Loop() {
		text, err := proto.Marshal(RenewalTo(r))
		if err != nil {
			b.Fatal(err)
		}
		m := &leasev1.Renewal{}
		if err := proto.Unmarshal(text, m); err != nil {
			b.Fatal(err)
		}
		if _, err := RenewalFrom("m", m); err != nil {
			b.Fatal(err)
		}
	}
}
