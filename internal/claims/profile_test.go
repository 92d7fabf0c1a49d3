package claims

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestProfiles(t *testing.T) {
	for _, name := range []string{"", "default", "fast", "safe"} {
		p, err := Named(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Validate(); err != nil {
			t.Error(err)
		}
		p.Wait = p.LeastWait() - 1
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), "two machines") {
			t.Errorf("%s with a wait that is too short by a nanosecond: %v", name, err)
		}
	}
	if _, err := Named("brave"); err == nil {
		t.Error("a profile that does not exist was found")
	}
}

// Whatever passes: when a witness has seen W pass since it heard a guard, the guard has seen T pass since it sent.
func TestWaitCoversLease(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Profile{
			Lease: time.Duration(rapid.Int64Range(-1, int64(30*time.Hour)).Draw(t, "lease")),
			Wait:  time.Duration(rapid.Int64Range(-1, int64(50*time.Hour)).Draw(t, "wait")),
			Kill:  time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "kill")),
			Renew: time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "renew")),
			Drift: rapid.Float64Range(-0.1, 0.6).Draw(t, "drift"),
			Slack: time.Duration(rapid.Int64Range(-1, int64(time.Second)).Draw(t, "slack")),
		}
		if p.Validate() != nil {
			return
		}
		slowGuard, fastWitness := 1-p.Drift, 1+p.Drift
		real := float64(p.Wait) / fastWitness
		if guard := real * slowGuard; guard < float64(p.Lease)*(1-1e-12) {
			t.Fatalf("%+v: after %v at the witness the guard has seen only %v", p, p.Wait, time.Duration(guard))
		}
		if p.Lease-2*p.Kill < p.Renew || p.Watchdog() > p.Kill {
			t.Fatalf("%+v leaves no time to act", p)
		}
	})
}

func TestStamps(t *testing.T) {
	a, b, c := Stamp{1, 900}, Stamp{2, 3}, Stamp{2, 4}
	if !a.Less(b) || !b.Less(c) || c.Less(b) || b.Less(b) || !(Stamp{}).Less(a) {
		t.Error("a restored store's tokens have to come after all that were before")
	}
	for _, s := range []string{"1-4711", "0-0", "18446744073709551615-1"} {
		got, err := ParseStamp(s)
		if err != nil || got.String() != s {
			t.Errorf("%s is read as %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "1", "-", "1-", "-1", "01-1", "+1-1", "1-1 ", "1-1-1", "1-18446744073709551616", "1-0x1"} {
		if got, err := ParseStamp(s); err == nil {
			t.Errorf("%q is read as %v", s, got)
		}
	}
	for _, tok := range []Token{{}, {1, 0}, {0, 1}, {1 << 40, 1}, {1, 1<<63 - 1}, {1, 1<<64 - 1}} {
		if CheckToken(tok) == nil {
			t.Errorf("token %v is taken for one that a store granted", tok)
		}
	}
}

func TestFrame(t *testing.T) {
	file := Frame("leases", []byte("{}"))
	if text, err := Unframe("leases", append(file, 0, 0, 0)); err != nil || string(text) != "{}" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := Unframe("guard", file); err == nil {
		t.Error("a lease table is read as a guard's state")
	}
	for i := range file {
		for bit := range 8 {
			damaged := append([]byte{}, file...)
			damaged[i] ^= 1 << bit
			if text, err := Unframe("leases", damaged); err == nil {
				t.Errorf("bit %d of byte %d changed, and it is read as %q", bit, i, text)
			}
		}
		if _, err := Unframe("leases", file[:i]); err == nil {
			t.Errorf("cut off after %d bytes, and it is read", i)
		}
	}
}
