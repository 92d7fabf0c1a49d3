package claims

import (
	"testing"

	"pgregory.net/rapid"
)

func TestDecideFences(t *testing.T) {
	k1, k2, k3 := Token{1, 5}, Token{1, 9}, Token{1, 12}
	held := func(m Machine, k Token, age float64) *Seen {
		return &Seen{Machine: m, Session: "σ", Token: k, Age: seconds(age)}
	}
	silent := func(w Wish) Wish {
		w.Class, w.Silent = ClassFenced, true
		return w
	}
	barred := func(m Machine, k Token, confirmed, clear bool, said string) []Barred {
		return []Barred{{m, k, confirmed, clear, said}}
	}
	for _, c := range []struct {
		name      string
		w         Wish
		mute      string
		action    Action
		bar, back Machine
		reason    string
	}{
		{"both say nothing", silent(Wish{Granted: &Granted{Machine: "m1", Token: k1}, Seen: held("m1", k1, 6), Wanted: "m2"}), "", Grant, "m1", "", "prepared on m2: waiting 7.0 s more for m1's lease; m1 last heard 6.0 s ago"},
		{"for less than half a lease", silent(Wish{Granted: &Granted{Machine: "m1", Token: k1}, Seen: held("m1", k1, 5.9), Wanted: "m2"}), "", Withdraw, "", "", "moves to m2: m1, last heard 5.9 s ago, stops and releases it"},
		{"its agent is there", Wish{Class: ClassFenced, Granted: &Granted{Machine: "m1", Token: k1}, Seen: held("m1", k1, 6), Wanted: "m2"}, "", Grant, "", "", "prepared on m2: waiting 7.0 s more for m1's lease; m1 last heard 6.0 s ago"},
		{"a storage that can refuse nobody", Wish{Class: ClassDetected, Silent: true, Granted: &Granted{Machine: "m1", Token: k1}, Seen: held("m1", k1, 6), Wanted: "m2"}, "", Grant, "", "", "prepared on m2: waiting 7.0 s more for m1's lease; m1 last heard 6.0 s ago"},
		{"nobody else wants it", silent(Wish{Granted: &Granted{Machine: "m1", Token: k1}, Seen: held("m1", k1, 6), Wanted: "m1"}), "", Keep, "", "", "m1 holds it; last heard 6.0 s ago"},
		{"the witness is mute", silent(Wish{Granted: &Granted{Machine: "m1", Token: k1}, Seen: held("m1", k1, 6), Wanted: "m2"}), "new", WaitFor, "", "", "new"},
		{"it gave it back", silent(Wish{Granted: &Granted{Machine: "m1", Token: k1}, Seen: &Seen{Machine: "m1", Token: k1, Gone: "released", Age: seconds(6)}, Wanted: "m2"}), "", Grant, "", "", "granted to m2: m1's token 1-5 was released"},
		{"it said that it is over", silent(Wish{Granted: &Granted{Machine: "m1", Token: k1, Ended: true}, Seen: held("m1", k1, 6), Wanted: "m2"}), "", Grant, "", "", "prepared on m2: waiting 7.0 s more for m1's lease; m1 last heard 6.0 s ago"},
		{"prepared before its agent fell silent", silent(Wish{Granted: &Granted{Machine: "m2", Token: k2}, Seen: held("m1", k1, 8), Wanted: "m2"}), "", WaitFor, "m1", "", "waiting 5.0 s more for m1's lease; m1 last heard 8.0 s ago"},
		{"being told", silent(Wish{Granted: &Granted{Machine: "m2", Token: k2}, Seen: held("m1", k1, 8), Wanted: "m2", Barred: barred("m1", k1, false, false, "")}), "", WaitFor, "", "", "waiting 5.0 s more for m1's lease; m1 last heard 8.0 s ago; the storage is told to refuse m1"},
		{"in vain", silent(Wish{Granted: &Granted{Machine: "m2", Token: k2}, Seen: held("m1", k1, 8), Wanted: "m2", Barred: barred("m1", k1, false, false, "no path")}), "", WaitFor, "", "", "waiting 5.0 s more for m1's lease; m1 last heard 8.0 s ago; the storage is told to refuse m1: no path"},
		{"confirmed", silent(Wish{Granted: &Granted{Machine: "m2", Token: k2}, Seen: held("m1", k1, 8), Wanted: "m2", Barred: barred("m1", k1, true, false, "")}), "", WaitFor, "", "", "waiting 5.0 s more for m1's lease; m1 last heard 8.0 s ago; the storage refuses m1"},
		{"what was refused was an earlier one", silent(Wish{Granted: &Granted{Machine: "m1", Token: k2}, Seen: held("m1", k2, 8), Wanted: "m2", Barred: barred("m1", k1, true, false, "")}), "", Grant, "m1", "", "prepared on m2: waiting 5.0 s more for m1's lease; m1 last heard 8.0 s ago"},
		{"wanted back, and not clear", silent(Wish{Granted: &Granted{Machine: "m2", Token: k2}, Seen: held("m2", k2, 8), Wanted: "m1", Barred: barred("m1", k1, true, false, "")}), "", WaitFor, "m2", "", "the storage was told to refuse m1, and takes it back once that says that nothing is left there of what it had"},
		{"wanted back, and clear", silent(Wish{Granted: &Granted{Machine: "m2", Token: k2}, Seen: held("m2", k2, 8), Wanted: "m1", Barred: barred("m1", k1, false, true, "")}), "", WaitFor, "m2", "m1", "the storage is to take m1 back first"},
		{"taken back in vain", silent(Wish{Granted: &Granted{Machine: "m2", Token: k2}, Seen: held("m2", k2, 8), Wanted: "m1", Barred: barred("m1", k1, true, true, "busy")}), "", WaitFor, "m2", "m1", "the storage is to take m1 back first: busy"},
		{"a planned move back: taken back meanwhile", Wish{Class: ClassFenced, Granted: &Granted{Machine: "m2", Token: k2}, Seen: held("m2", k2, 1), Wanted: "m1", Barred: barred("m1", k1, true, true, "")}, "", Withdraw, "", "m1", "moves to m1: m2, last heard 1.0 s ago, stops and releases it"},
		{"the manifest has no fence any more", Wish{Class: ClassDetected, Wanted: "m1", Barred: barred("m1", k1, true, true, "")}, "", WaitFor, "", "m1", "the storage is to take m1 back first"},
		{"fenced late, by a leader of before", Wish{Class: ClassFenced, Granted: &Granted{Machine: "m1", Token: k3}, Seen: held("m1", k3, 1), Wanted: "m1", Barred: barred("m1", k1, true, true, "")}, "", Keep, "", "m1", "m1 holds it; last heard 1.0 s ago"},
		{"another one is refused", Wish{Class: ClassFenced, Wanted: "m2", Barred: barred("m1", k1, true, false, "")}, "", Grant, "", "", "granted to m2: nobody had it"},
		{"nobody wants it, now", Wish{Class: ClassFenced, Barred: barred("m1", k1, true, true, "")}, "", Keep, "", "", "nobody wants it"},
		{"to be forgotten, and not clear", Wish{Class: ClassFenced, Forget: true, Barred: barred("m1", k1, true, false, "")}, "", Keep, "", "", "the storage was told to refuse m1, and takes it back once that says that nothing is left there of what it had"},
		{"to be forgotten, and clear", Wish{Class: ClassFenced, Forget: true, Barred: append(barred("m2", k2, true, false, ""), barred("m1", k1, true, true, "")...)}, "new", Keep, "", "m1", "the storage is to take m1 back first"},
		{"to be forgotten, in vain", Wish{Class: ClassDetected, Forget: true, Barred: barred("m1", k1, true, true, "busy")}, "", Keep, "", "m1", "the storage is to take m1 back first: busy"},
		{"to be forgotten, and held elsewhere", Wish{Class: ClassFenced, Forget: true, Granted: &Granted{Machine: "m2", Token: k2}, Seen: held("m2", k2, 1), Barred: barred("m1", k1, true, true, "")}, "", Withdraw, "", "m1", "no longer wanted; m2 stops and releases it"},
		{"to be forgotten, and all are taken back", Wish{Class: ClassFenced, Forget: true}, "", Keep, "", "", "nobody wants it"},
	} {
		d := Decide(Default(), c.mute, []Wish{c.w})[0]
		if d.Action != c.action || d.Bar != c.bar || d.Back != c.back || d.Reason != c.reason {
			t.Errorf("%s:\n got %v, bar %q, back %q: %s\nwant %v, bar %q, back %q: %s", c.name, d.Action, d.Bar, d.Back, d.Reason, c.action, c.bar, c.back, c.reason)
		}
	}
}

// Nobody is granted what its storage would refuse it; nobody who is heard of is refused; and a fence makes nothing slower for others.
func TestFenceProperties(t *testing.T) {
	machines := rapid.SampledFrom([]Machine{"m1", "m2", "m3"})
	token := rapid.Custom(func(t *rapid.T) Token { return Token{1, rapid.Uint64Range(1, 6).Draw(t, "revision")} })
	rapid.Check(t, func(t *rapid.T) {
		w := Wish{Class: rapid.SampledFrom([]Class{ClassTimed, ClassDetected, ClassFenced}).Draw(t, "class"), Wanted: rapid.SampledFrom([]Machine{"", "m1", "m2", "m3"}).Draw(t, "wanted"),
			Silent: rapid.Bool().Draw(t, "silent"), Forget: rapid.Bool().Draw(t, "forget")}
		if rapid.Bool().Draw(t, "granted?") {
			w.Granted = &Granted{Machine: machines.Draw(t, "to"), Token: token.Draw(t, "token"), Ended: rapid.Bool().Draw(t, "ended"), Connected: rapid.Bool().Draw(t, "connected")}
		}
		if rapid.Bool().Draw(t, "seen?") {
			w.Seen = &Seen{Machine: machines.Draw(t, "holder"), Session: "σ", Token: token.Draw(t, "seen"), Gone: rapid.SampledFrom([]string{"", "released", "fenced"}).Draw(t, "gone"),
				Age: seconds(rapid.Float64Range(0, 20).Draw(t, "age"))}
		}
		for _, m := range []Machine{"m1", "m2", "m3"} {
			if rapid.Bool().Draw(t, "barred?") {
				w.Barred = append(w.Barred, Barred{m, token.Draw(t, "up to"), rapid.Bool().Draw(t, "confirmed"), rapid.Bool().Draw(t, "clear"), ""})
			}
		}
		p := Default()
		d := Decide(p, "", []Wish{w})[0]
		plain := w
		plain.Barred, plain.Class = nil, ClassDetected
		was := Decide(p, "", []Wish{plain})[0]
		onIt := w.barred(w.Wanted)
		switch {
		case d.Action == Grant && onIt != nil:
			t.Fatalf("granted to whom the storage refuses: %+v", d)
		case onIt == nil && (d.Action != was.Action || d.To != was.To):
			t.Fatalf("a fence of others makes %v of %v", d.Action, was.Action)
		case d.Back != "" && (w.barred(d.Back) == nil || !w.barred(d.Back).Clear || d.Back != w.Wanted && (w.Wanted != "" || !w.Forget)):
			t.Fatalf("taken back: %+v", d)
		case d.Bar != "" && (w.Class != ClassFenced || !w.Silent || w.Seen.Machine != d.Bar || w.Seen.Age < p.Lease/2 || w.Wanted == "" || w.Wanted == d.Bar):
			t.Fatalf("refused without need: %+v", d)
		}
	})
}
