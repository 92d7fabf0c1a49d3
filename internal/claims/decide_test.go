package claims

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func TestDecide(t *testing.T) {
	k1, k2 := Token{1, 5}, Token{1, 9}
	held := func(m Machine, tok Token, age float64) *Seen {
		return &Seen{Machine: m, Session: "σ-" + Session(m), Token: tok, Age: seconds(age)}
	}
	gone := func(m Machine, tok Token, how string) *Seen {
		return &Seen{Machine: m, Token: tok, Gone: how, Age: time.Second}
	}
	on := func(m Machine, tok Token) *Granted { return &Granted{Machine: m, Token: tok, Connected: true} }
	admin := &Force{By: "ada", Allowed: true, Reason: "m1 burned down"}
	for _, c := range []struct {
		name   string
		wish   Wish
		mute   string
		action Action
		to     Machine
		wait   float64
		reason string
	}{
		{"first", Wish{Class: ClassTimed, Wanted: "m1"}, "", Grant, "m1", 0, "granted to m1: nobody had it"},
		{"nobody wants it", Wish{Class: ClassTimed}, "", Keep, "", 0, "nobody wants it"},
		{"the witness is mute", Wish{Class: ClassTimed, Wanted: "m1"}, "this server's table is new", WaitFor, "", 0, "this server's table is new"},
		{"as it should be", Wish{Class: ClassTimed, Granted: on("m1", k1), Seen: held("m1", k1, 1.2), Wanted: "m1"}, "", Keep, "", 0, "m1 holds it; last heard 1.2 s ago"},
		{"late, but where it is wanted", Wish{Class: ClassTimed, Granted: on("m1", k1), Seen: held("m1", k1, 11), Wanted: "m1"}, "", Keep, "", 0, "m1 holds it; last heard 11.0 s ago"},
		{"not acquired yet", Wish{Class: ClassTimed, Granted: on("m1", k1), Wanted: "m1"}, "", WaitFor, "", 0, "token 1-5 is granted to m1, which has not acquired it yet"},
		{"a planned move", Wish{Class: ClassTimed, Granted: on("m1", k1), Seen: held("m1", k1, 1.2), Wanted: "m2"}, "", Withdraw, "m1", 0, "moves to m2: m1, last heard 1.2 s ago, stops and releases it"},
		{"silent for less than T/2", Wish{Class: ClassTimed, Granted: on("m1", k1), Seen: held("m1", k1, 5.999), Wanted: "m2"}, "", Withdraw, "m1", 0, "moves to m2: m1, last heard 6.0 s ago, stops and releases it"},
		{"silent for T/2", Wish{Class: ClassTimed, Granted: on("m1", k1), Seen: held("m1", k1, 6), Wanted: "m2"}, "", Grant, "m2", 7, "prepared on m2: waiting 7.0 s more for m1's lease; m1 last heard 6.0 s ago"},
		{"the successor waits", Wish{Class: ClassTimed, Granted: on("m1", k2), Seen: held("m2", k1, 5.8), Wanted: "m1"}, "", WaitFor, "", 7.2, "waiting 7.2 s more for m2's lease; m2 last heard 5.8 s ago"},
		{"its wait is over", Wish{Class: ClassTimed, Granted: on("m1", k2), Seen: held("m2", k1, 14), Wanted: "m1"}, "", WaitFor, "", 0, "m2's lease has run out; m2 last heard 14.0 s ago"},
		{"released", Wish{Class: ClassTimed, Granted: on("m1", k1), Seen: gone("m1", k1, "released"), Wanted: "m2"}, "", Grant, "m2", 0, "granted to m2: m1's token 1-5 was released"},
		{"released where it is wanted", Wish{Class: ClassTimed, Granted: on("m1", k1), Seen: gone("m1", k1, "released"), Wanted: "m1"}, "", Grant, "m1", 0, "granted anew to m1: token 1-5 was released"},
		{"m1 came back with another session", Wish{Class: ClassTimed, Granted: &Granted{Machine: "m1", Token: k1, Ended: true}, Seen: held("m1", k1, 4), Wanted: "m1"}, "", Grant, "m1", 0, "granted anew to m1: token 1-5 is over there; waiting 9.0 s more for m1's lease; m1 last heard 4.0 s ago"},
		{"the store is older than the witnesses", Wish{Class: ClassTimed, Granted: on("m1", k1), Seen: held("m2", k2, 1), Wanted: "m1"}, "", Grant, "m1", 0, "granted anew to m1: the servers know token 1-9 of m2, which is newer than the store"},
		{"no longer wanted", Wish{Class: ClassTimed, Granted: on("m1", k1), Seen: held("m1", k1, 1)}, "", Withdraw, "m1", 0, "no longer wanted; m1 stops and releases it"},
		{"no longer wanted, and gone", Wish{Class: ClassTimed, Granted: on("m1", k1), Seen: gone("m1", k1, "released")}, "", Keep, "", 0, "nobody wants it, and nobody has it"},
		{"granted, out of sight, never acquired", Wish{Class: ClassTimed, Granted: &Granted{Machine: "m1", Token: k1}, Wanted: "m2"}, "", Grant, "m2", 0, "granted to m2: m1 was granted token 1-5, is not seen to have acquired it, and is out of sight"},
		{"granted and not acquired, but there", Wish{Class: ClassTimed, Granted: on("m1", k1), Wanted: "m2"}, "", Withdraw, "m1", 0, "moves to m2: m1 was granted it, and gives it back"},
		{"local stays", Wish{Class: ClassLocal, Granted: on("m1", k1), Wanted: "m2"}, "", WaitFor, "", 0, "a local volume stays where its data is, on m1"},
		{"local anew", Wish{Class: ClassLocal, Granted: &Granted{Machine: "m1", Token: k1, Ended: true}, Wanted: "m1"}, "no witness", Grant, "m1", 0, "granted anew to m1: token 1-5 is over"},
		{"force: who was heard", Wish{Class: ClassTimed, Granted: on("m1", k1), Seen: held("m1", k1, 5.8), Wanted: "m2", Force: admin}, "", Refuse, "", 7.2, "m1 was heard 5.8 s ago and may still write: a claim is given up only after 13.0 s of silence, which is in 7.2 s"},
		{"force: silent for long", Wish{Class: ClassFenced, Granted: on("m1", k1), Seen: held("m1", k1, 13), Wanted: "m2", Force: admin}, "", Fence, "m1", 0, "forced by ada: m1 burned down"},
		{"force: without the role", Wish{Class: ClassTimed, Seen: held("m1", k1, 60), Force: &Force{By: "bob", Reason: "x"}}, "", Refuse, "", 0, "bob may not force a claim: that needs the role administrator"},
		{"force: without a reason", Wish{Class: ClassTimed, Seen: held("m1", k1, 60), Force: &Force{By: "ada", Allowed: true}}, "", Refuse, "", 0, "say why the claim is forced: it is kept in the audit log"},
		{"force: while nothing is known", Wish{Class: ClassTimed, Seen: held("m1", k1, 60), Force: admin}, "this server's table is new", Refuse, "", 0, "not yet: this server's table is new"},
	} {
		d := Decide(Default(), c.mute, []Wish{c.wish})[0]
		if d.Action != c.action || d.To != c.to || d.Wait != seconds(c.wait) || d.Reason != c.reason {
			t.Errorf("%s:\n got %v to %q, wait %v: %s\nwant %v to %q, wait %v: %s", c.name, d.Action, d.To, d.Wait, d.Reason, c.action, c.to, seconds(c.wait), c.reason)
		}
		if (d.Action == Fence) != (d.Audit != "") || d.Action == Fence && !strings.Contains(d.Audit, "ada forced claim") {
			t.Errorf("%s: audit entry %q", c.name, d.Audit)
		}
	}
}

// Who is well is not disturbed, and force never reaches one who was heard within W (S15), whatever is known.
func TestDecideProperties(t *testing.T) {
	machines := rapid.SampledFrom([]Machine{"m1", "m2", "m3"})
	token := rapid.Custom(func(t *rapid.T) Token {
		return Token{rapid.Uint64Range(1, 2).Draw(t, "generation"), rapid.Uint64Range(1, 4).Draw(t, "revision")}
	})
	rapid.Check(t, func(t *rapid.T) {
		w := Wish{
			Class:  rapid.SampledFrom([]Class{ClassLocal, ClassTimed, ClassDetected, ClassFenced}).Draw(t, "class"),
			Wanted: rapid.SampledFrom([]Machine{"", "m1", "m2", "m3"}).Draw(t, "wanted"),
		}
		if rapid.Bool().Draw(t, "granted?") {
			w.Granted = &Granted{Machine: machines.Draw(t, "to"), Token: token.Draw(t, "token"), Ended: rapid.Bool().Draw(t, "ended"), Connected: rapid.Bool().Draw(t, "connected")}
		}
		if rapid.Bool().Draw(t, "seen?") {
			w.Seen = &Seen{Machine: machines.Draw(t, "holder"), Session: "σ", Token: token.Draw(t, "seen"), Gone: rapid.SampledFrom([]string{"", "", "released", "fenced"}).Draw(t, "gone"),
				Age: time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(t, "age"))}
		}
		if rapid.Bool().Draw(t, "force?") {
			w.Force = &Force{By: "ada", Allowed: rapid.Bool().Draw(t, "allowed"), Reason: rapid.SampledFrom([]string{"", "because"}).Draw(t, "reason")}
		}
		mute := rapid.SampledFrom([]string{"", "mute"}).Draw(t, "mute")
		p := Default()
		d := Decide(p, mute, []Wish{w})[0]
		if d.Reason == "" {
			t.Fatal("a decision without a reason")
		}
		if d.Action == Fence && (w.Seen.Age < p.Wait || !w.Force.Allowed || w.Force.Reason == "" || d.Audit == "" || mute != "") {
			t.Fatalf("S15: forced: %+v", d)
		}
		well := w.Granted != nil && !w.Granted.Ended && w.Seen != nil && w.Seen.Gone == "" && w.Seen.Token == w.Granted.Token && w.Seen.Age < p.Lease/2
		if well && d.Action == Grant {
			t.Fatalf("granted to another while the holder is well: %+v", d)
		}
		if well && w.Granted.Machine == w.Wanted && d.Action != Keep && w.Force == nil && mute == "" {
			t.Fatalf("%v to one who is well and wanted", d.Action)
		}
		if d.Action == Grant && (d.To != w.Wanted || d.To == "" || w.Seen != nil && d.Above.Less(w.Seen.Token) || w.Granted != nil && d.Above.Less(w.Granted.Token)) {
			t.Fatalf("S11: granted %+v", d)
		}
	})
}
