package guard

import (
	"bytes"
	"testing"
	"time"

	"github.com/argosy-cluster/argosy/internal/claims"
)

// armed is a guard with one claim that is armed at second 101.
func armed(t testing.TB) State {
	t.Helper()
	token := claims.Token{Generation: 1, Revision: 7}
	s := New(claims.Default(), three())
	s, _ = Step(s, 100*time.Second, Want{"c", token, "session-a"})
	for _, w := range []claims.Witness{"s1", "s2"} {
		a := claims.Ack{Witness: w, Session: "session-a", Epoch: three().Epoch, Round: s.Round}
		a.Verdicts = []claims.Verdict{{Claim: claims.Claimed{ID: "c", Session: "session-a", Token: token}, Intent: claims.Acquire, OK: true, Floor: token}}
		s, _ = Step(s, 100*time.Second, Ack{a})
	}
	s, _ = Step(s, 101*time.Second, Mounted{"c", token, ""})
	if s.Claims[0].Phase != Armed {
		t.Fatalf("%+v", s.Claims)
	}
	return s
}

func TestFile(t *testing.T) {
	s := armed(t)
	file, err := Encode(s, "boot-1")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(append(file, 0, 0), "boot-1")
	if err != nil || !equal(got, s) || got.Next != s.Next || len(got.Flights) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, boot := range []string{"boot-2", ""} {
		if _, err := Decode(file, boot); err == nil {
			t.Errorf("deadlines of another boot are believed in boot %q", boot)
		}
	}
	s.Claims[0].Leased = false
	file, err = Encode(s, "boot-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decode(file, "boot-1"); err == nil {
		t.Error("a claim that is armed without a lease is believed")
	}
}

func FuzzDecode(f *testing.F) {
	whole, err := Encode(armed(f), "boot")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:40])
	if text, err := claims.Unframe(kind, whole); err == nil {
		f.Add(text)
		f.Add(bytes.Replace(text, []byte(`"Phase":2`), []byte(`"Phase":6`), 1))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		for _, file := range [][]byte{file, claims.Frame(kind, file)} { // damaged, and well kept nonsense
			s, err := Decode(file, "boot")
			if err != nil {
				continue
			}
			now := 105 * time.Second
			for _, e := range []Event{Restarted{}, Tick{}, Want{"d", claims.Token{Generation: 1, Revision: 9}, "fresh"}, Release{"c", claims.Token{Generation: 1, Revision: 7}}, Configure{three()}} {
				s, _ = Step(s, now, e)
				Wake(s)
				Show(s, now, "c")
				now += time.Second
			}
		}
	})
}
