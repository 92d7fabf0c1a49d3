package witness

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/argosy-cluster/argosy/internal/claims"
)

const sec = time.Second

func config(revision uint64) claims.Config {
	return claims.Config{Epoch: claims.Epoch{Generation: 1, Revision: revision}, Members: []claims.Witness{"s1", "s2", "s3"}}
}

// ready is a witness that votes, at second 100.
func ready(t *testing.T) State {
	t.Helper()
	s, _ := Open(0, "s1", claims.Default(), Table{}, false)
	s, _ = Step(s, 0, Configure{config(5)})
	s, effects := Step(s, 100*sec, Tick{})
	if s.Silent || len(effects) != 1 {
		t.Fatalf("after W it does not vote: %+v", effects)
	}
	return s
}

func renewal(m claims.Machine, round uint64, intent claims.Intent, revision uint64) claims.Renewal {
	session := claims.Session("of-" + m)
	return claims.Renewal{Machine: m, Session: session, Epoch: config(5).Epoch, Round: round,
		Items: []claims.Item{{Claim: "c", Session: session, Token: claims.Token{Generation: 1, Revision: revision}, Intent: intent}}}
}

// send returns the state, the only verdict or the refusal, and whether the table was saved before the answer.
func send(t *testing.T, s State, at time.Duration, r claims.Renewal) (State, claims.Verdict, bool) {
	t.Helper()
	next, effects := Step(s, at, Renewal{r})
	reply, ok := effects[len(effects)-1].(Reply)
	if !ok {
		t.Fatalf("the last effect is %T", effects[len(effects)-1])
	}
	saved := false
	for _, e := range effects[:len(effects)-1] {
		_, ok := e.(Save)
		saved = saved || ok
	}
	if reply.Ack.Refused != "" {
		return next, claims.Verdict{Why: reply.Ack.Refused}, saved
	}
	return next, reply.Ack.Verdicts[0], saved
}

func TestTable(t *testing.T) {
	type line struct {
		at   float64
		r    claims.Renewal
		ok   bool
		save bool
		why  string
	}
	for name, lines := range map[string][]line{
		"acquire, continue, and a rival who waits": {
			{100, renewal("m1", 1, claims.Acquire, 7), true, true, ""},
			{102, renewal("m1", 2, claims.Continue, 7), true, false, ""},
			{102, renewal("m1", 3, claims.Acquire, 7), true, false, ""}, // the same again is no news
			{107.8, renewal("m2", 1, claims.Acquire, 8), false, false, "held by m1 with token 1-7, last heard 5.8 s ago: 7.2 s more"},
			{114.9, renewal("m2", 2, claims.Acquire, 8), false, false, "held by m1 with token 1-7, last heard 12.9 s ago: 0.1 s more"},
			{115, renewal("m2", 3, claims.Acquire, 8), true, true, ""},
			{115, renewal("m1", 4, claims.Continue, 7), false, false, "this server has not recorded it"},
			{150, renewal("m1", 5, claims.Acquire, 7), false, false, "token 1-7 is not above 1-8, which m2 had"},
			{150, renewal("m1", 6, claims.Acquire, 8), false, false, "token 1-8 is not above 1-8, which m2 had"},
		},
		"released": {
			{100, renewal("m1", 1, claims.Acquire, 7), true, true, ""},
			{101, renewal("m2", 1, claims.Release, 7), true, false, ""}, // not his to release
			{101, renewal("m1", 2, claims.Release, 6), true, false, ""}, // another token than is recorded
			{101, renewal("m2", 2, claims.Acquire, 8), false, false, "held by m1 with token 1-7, last heard 1.0 s ago: 12.0 s more"},
			{102, renewal("m1", 3, claims.Release, 7), true, true, ""},
			{102, renewal("m1", 3, claims.Release, 7), true, false, ""},
			{102, renewal("m1", 4, claims.Continue, 7), false, false, "token 1-7 was released"},
			{102, renewal("m1", 4, claims.Acquire, 7), false, false, "token 1-7 was released"},
			{102, renewal("m2", 3, claims.Acquire, 7), false, false, "token 1-7 is not above 1-7, which m1 had"},
			{102, renewal("m2", 3, claims.Acquire, 8), true, true, ""},
			{102, renewal("m1", 5, claims.Release, 7), true, false, ""}, // a late release of the earlier token
			{103, renewal("m2", 4, claims.Continue, 8), true, false, ""},
		},
		"the same session goes on to a higher token": {
			{100, renewal("m1", 1, claims.Acquire, 7), true, true, ""},
			{100, renewal("m1", 2, claims.Acquire, 9), true, true, ""},
			{100, renewal("m1", 3, claims.Continue, 7), false, false, "this server has not recorded it"},
		},
		"a late round does not count as hearing": {
			{100, renewal("m1", 9, claims.Acquire, 7), true, true, ""},
			{112, renewal("m1", 8, claims.Continue, 7), true, false, ""},
			{112, renewal("m1", 9, claims.Continue, 7), true, false, ""},
			{113, renewal("m2", 1, claims.Acquire, 8), true, true, ""},
		},
		"continuing what nobody recorded": {
			{100, renewal("m1", 1, claims.Continue, 7), false, false, "this server has not recorded it"},
			{100, renewal("m2", 1, claims.Acquire, 3), true, true, ""},
		},
		"tokens that no store gave": {
			{100, renewal("m1", 1, claims.Acquire, math.MaxUint64), false, false, "claim c: token 1-18446744073709551615 is beyond what a store counts to"},
			{100, renewal("m1", 1, claims.Acquire, 0), false, false, "claim c: token 1-0 was never granted: generation and revision begin with 1"},
			{100, renewal("m1", 1, 9, 7), false, false, "claim c: unknown intent 9"},
			{100, renewal("m1", 0, claims.Acquire, 7), false, false, "rounds count from 1"},
			{100, renewal("", 1, claims.Acquire, 7), false, false, "the machine is missing"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := ready(t)
			for i, l := range lines {
				var v claims.Verdict
				var saved bool
				s, v, saved = send(t, s, time.Duration(l.at*float64(sec)), l.r)
				if wait := strings.HasSuffix(v.Why, fmt.Sprintf(": %s more", claims.Tenths(v.Left))); wait != (v.Left > 0) {
					t.Errorf("line %d: it has %v left, and says %q", i+1, v.Left, v.Why)
				}
				if v.OK != l.ok || saved != l.save || v.Why != l.why {
					t.Errorf("line %d: %v (saved %v), %q; want %v (%v), %q", i+1, v.OK, saved, v.Why, l.ok, l.save, l.why)
				}
			}
		})
	}
}

func TestEpochs(t *testing.T) {
	s := ready(t)
	for _, c := range []struct {
		generation, revision uint64
		why                  string
		config               bool
	}{
		{1, 4, "the set of servers is 1-5 meanwhile, not 1-4", true},
		{0, 9, "the set of servers is 1-5 meanwhile, not 0-9", true},
		{1, 6, "this server knows the set of servers as of 1-5, not yet 1-6", false},
		{math.MaxUint64, math.MaxUint64, "this server knows the set of servers as of 1-5, not yet 18446744073709551615-18446744073709551615", false},
	} {
		r := renewal("m1", 1, claims.Acquire, 7)
		r.Epoch = claims.Epoch{Generation: c.generation, Revision: c.revision}
		next, effects := Step(s, 100*sec, Renewal{r})
		ack := effects[0].(Reply).Ack
		if len(effects) != 1 || ack.Refused != c.why || (ack.Config != nil) != c.config || len(next.Records) != 0 {
			t.Errorf("epoch %v: %+v", r.Epoch, effects)
		}
	}
	r := renewal("m1", 1, claims.Acquire, 7)
	r.Items[0].Token.Generation = 2
	if _, v, _ := send(t, s, 100*sec, r); v.OK || !strings.Contains(v.Why, "has not heard of") {
		t.Errorf("a token of a store to come: %+v", v)
	}
	for _, c := range []claims.Config{{}, config(4), config(5), {Epoch: claims.Epoch{Generation: 1, Revision: 6}}} {
		if next, effects := Step(s, 100*sec, Configure{c}); len(effects) != 0 || next.Config.Epoch != s.Config.Epoch {
			t.Errorf("it went over to %+v", c)
		}
	}
}

func TestAfterARestart(t *testing.T) {
	s := ready(t)
	s, _, _ = send(t, s, 100*sec, renewal("m1", 1, claims.Acquire, 7))
	file, err := Encode(s.Table)
	if err != nil {
		t.Fatal(err)
	}
	table, err := Decode(file)
	if err != nil {
		t.Fatal(err)
	}

	// The clock begins anew with the machine; the holder counts as heard now.
	again, effects := Open(3*sec, "s1", claims.Default(), table, true)
	if len(effects) != 0 {
		t.Errorf("a table that is whole is written again: %v", effects)
	}
	if _, v, _ := send(t, again, 15900*time.Millisecond, renewal("m2", 1, claims.Acquire, 8)); v.OK {
		t.Error("a holder lapsed within W of a restart")
	}
	if _, v, _ := send(t, again, 16*sec, renewal("m2", 1, claims.Acquire, 8)); !v.OK {
		t.Errorf("W after a restart: %s", v.Why)
	}

	// Without the table it says nothing: not before it knows the servers, and not for W from then on.
	lost, effects := Open(3*sec, "s1", claims.Default(), table, false)
	if save, ok := effects[0].(Save); !ok || !save.Table.Silent || len(save.Table.Records) != 0 {
		t.Errorf("that it begins anew is not written down: %v", effects)
	}
	if _, v, _ := send(t, lost, 500*sec, renewal("m1", 2, claims.Continue, 7)); v.Why != "this server does not know the set of servers yet" {
		t.Errorf("%+v", v)
	}
	lost, _ = Step(lost, 500*sec, Configure{config(5)})
	for _, intent := range []claims.Intent{claims.Acquire, claims.Continue, claims.Release} {
		if _, v, _ := send(t, lost, 512*sec, renewal("m1", 2, intent, 7)); v.OK || v.Why != "this server's table is new; it votes in 1.0 s" {
			t.Errorf("%v: %+v", intent, v)
		}
	}
	if st := lost.Status(512 * sec); !st.Silent || st.Settled || st.Left != sec {
		t.Errorf("%+v", st)
	}
	// Restarted in the middle of its silence, it begins that anew.
	lost, _ = Open(1*sec, "s1", claims.Default(), lost.Table, true)
	if _, v, _ := send(t, lost, 13*sec, renewal("m1", 2, claims.Acquire, 7)); v.OK {
		t.Error("a restart shortened the silence")
	}
	next, v, saved := send(t, lost, 14*sec, renewal("m1", 2, claims.Acquire, 7))
	if !v.OK || !saved || next.Silent {
		t.Errorf("after W: %+v", v)
	}
}

func TestFenceAndDrop(t *testing.T) {
	s := ready(t)
	s, _, _ = send(t, s, 100*sec, renewal("m1", 1, claims.Acquire, 7))
	if next, effects := Step(s, 101*sec, Fence{"unheard of"}); len(effects) != 0 || len(next.Records) != 1 {
		t.Error("an unknown session was fenced")
	}
	if next, _ := Step(s, 101*sec, Drop{[]claims.ID{"c", "d"}}); len(next.Records) != 1 {
		t.Error("a claim that is held was dropped")
	}
	s, effects := Step(s, 101*sec, Fence{"of-m1"})
	if _, ok := effects[0].(Save); !ok {
		t.Error("a fence is not written down")
	}
	for _, r := range []claims.Renewal{renewal("m1", 2, claims.Continue, 7), renewal("m1", 2, claims.Acquire, 7), renewal("m1", 2, claims.Acquire, 9)} {
		if _, v, _ := send(t, s, 101*sec, r); v.OK {
			t.Errorf("one that was fenced may go on: %+v", r)
		}
	}
	if _, v, _ := send(t, s, 101*sec, renewal("m2", 1, claims.Acquire, 8)); !v.OK {
		t.Errorf("what was fenced is not free: %s", v.Why)
	}
	if next, effects := Step(s, 101*sec, Drop{[]claims.ID{"c"}}); len(next.Records)+len(next.Heard) != 0 || len(effects) != 1 {
		t.Error("a claim that is free was not dropped")
	}
}

// What a storage refuses is one machine's claim, up to a token: nothing else of the session is let go, nor what the machine is granted later.
func TestFenceClaim(t *testing.T) {
	token := func(revision uint64) claims.Token { return claims.Token{Generation: 1, Revision: revision} }
	two := renewal("m1", 1, claims.Acquire, 7)
	two.Items = append(two.Items, claims.Item{Claim: "d", Session: two.Session, Token: token(7), Intent: claims.Acquire})
	s, _ := Step(ready(t), 100*sec, Renewal{two})
	if len(s.Records) != 2 {
		t.Fatalf("%+v", s.Records)
	}
	for _, e := range []Event{FenceClaim{"c", "m2", token(9)}, FenceClaim{"c", "m1", token(6)}, FenceClaim{"e", "m1", token(9)}} {
		if next, effects := Step(s, 101*sec, e); len(effects) != 0 || next.Records[0].State != Held || next.Records[1].State != Held {
			t.Errorf("%+v fences something: %+v", e, next.Records)
		}
	}
	s, effects := Step(s, 101*sec, FenceClaim{"c", "m1", token(8)})
	if len(effects) != 1 || s.Records[0].State != Fenced || s.Records[1].State != Held {
		t.Fatalf("after %v: %+v", effects, s.Records)
	}
	if _, effects := Step(s, 101*sec, FenceClaim{"c", "m1", token(8)}); len(effects) != 0 {
		t.Error("told again, it is written again")
	}
	for _, r := range []claims.Renewal{renewal("m1", 2, claims.Continue, 7), renewal("m1", 2, claims.Acquire, 7)} {
		if _, v, _ := send(t, s, 101*sec, r); v.OK {
			t.Errorf("one that the storage refuses may go on: %+v", r)
		}
	}
	next, v, _ := send(t, s, 101*sec, renewal("m2", 1, claims.Acquire, 9))
	if !v.OK {
		t.Errorf("what was fenced is not free at once: %s", v.Why)
	}
	if late, effects := Step(next, 101*sec, FenceClaim{"c", "m1", token(8)}); len(effects) != 0 || late.Records[0].State != Held {
		t.Error("told late, it takes the claim from the next one")
	}
	// The session goes on with what else it has, and has this one again once it is granted later.
	next, v, _ = send(t, s, 101*sec, renewal("m1", 2, claims.Acquire, 9))
	if !v.OK || next.Records[0].Alone {
		t.Errorf("taken back by the storage, it gets it not: %s, %+v", v.Why, next.Records[0])
	}
	if late, effects := Step(next, 101*sec, FenceClaim{"c", "m1", token(8)}); len(effects) != 0 || late.Records[0].State != Held {
		t.Error("told late, it takes what the machine was granted since")
	}
}

// S11: a claim that comes again under its name is had with a higher token only, also after a restart and while others were dropped since.
func TestDroppedLeavesAFloor(t *testing.T) {
	s := ready(t)
	s, _, _ = send(t, s, 100*sec, renewal("m1", 1, claims.Acquire, 7))
	s, _, _ = send(t, s, 101*sec, renewal("m1", 2, claims.Release, 7))
	s, _ = Step(s, 102*sec, Drop{[]claims.ID{"c"}})
	if len(s.Records) != 0 {
		t.Fatalf("%+v", s.Records)
	}
	text, err := Encode(s.Table)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := Decode(text)
	if err != nil {
		t.Fatal(err)
	}
	s, _ = Open(103*sec, "s1", claims.Default(), kept, true)
	for revision, ok := range map[uint64]bool{6: false, 7: false, 8: true} {
		for _, m := range []claims.Machine{"m1", "m2"} {
			_, v, _ := send(t, s, 104*sec, renewal(m, 9, claims.Acquire, revision))
			if v.OK != ok || !ok && v.Floor != (claims.Token{Generation: 1, Revision: 7}) {
				t.Errorf("token %d for %s: %+v", revision, m, v)
			}
		}
	}
	// An earlier one that is dropped later lowers nothing.
	s.Records, s.Heard = []Record{{Claim: "b", Machine: "m1", Session: "x", Token: claims.Token{Generation: 1, Revision: 3}, State: Released}}, []Heard{{}}
	if next, _ := Step(s, 105*sec, Drop{[]claims.ID{"b"}}); next.Floor.Revision != 7 {
		t.Errorf("the floor is %v", next.Floor)
	}
}

// S3, S11, and that a step changes nothing of what it is given, for anything that guards may send.
func TestStepProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, _ := Open(0, "s1", claims.Default(), Table{}, false)
		s, _ = Step(s, 0, Configure{config(5)})
		now := time.Duration(0)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now += time.Duration(rapid.Int64Range(0, int64(7*sec)).Draw(t, "later"))
			m := rapid.SampledFrom([]claims.Machine{"m1", "m2"}).Draw(t, "machine")
			r := renewal(m, rapid.Uint64Range(0, 9).Draw(t, "round"), claims.Intent(rapid.IntRange(0, 4).Draw(t, "intent")), rapid.Uint64Range(0, 6).Draw(t, "revision"))
			r.Items[0].Claim = rapid.SampledFrom([]claims.ID{"c", "a", "z", ""}).Draw(t, "claim")
			r.Epoch.Revision = rapid.Uint64Range(4, 6).Draw(t, "epoch")
			before, _ := Encode(s.Table)
			next, effects := Step(s, now, Renewal{r})
			if after, _ := Encode(s.Table); !bytes.Equal(before, after) {
				t.Fatal("a step changed what it was given")
			}
			if err := next.validate(); err != nil {
				t.Fatal(err)
			}
			if len(next.Heard) != len(next.Records) {
				t.Fatal("somebody is on record and counts as never heard")
			}
			last := effects[len(effects)-1].(Reply).Ack
			changed, _ := Encode(next.Table)
			if !bytes.Equal(before, changed) && len(effects) < 2 {
				t.Fatal("the table changed and is not saved")
			}
			for _, v := range last.Verdicts {
				i, found := next.find(v.Claim.ID)
				if v.OK && v.Intent != claims.Release && (!found || next.Records[i].Token != v.Claim.Token || next.Records[i].Session != v.Claim.Session || next.Records[i].State != Held) {
					t.Fatalf("it agreed to what is not on record: %+v", v)
				}
			}
			for i, old := range s.Records {
				j, _ := next.find(old.Claim)
				got := next.Records[j]
				if got.Token.Less(old.Token) || got.Session != old.Session && (!old.Token.Less(got.Token) || old.State == Held && now-s.Heard[i].At < s.Profile.Wait) {
					t.Fatalf("from %+v to %+v, %v after it was heard", old, got, now-s.Heard[i].At)
				}
			}
			s = next
		}
	})
}

func TestChoose(t *testing.T) {
	file := func(serial uint64) []byte {
		b, err := Encode(Table{Serial: serial, Config: config(5)})
		if err != nil {
			t.Fatal(err)
		}
		return append(b, make([]byte, 100)...)
	}
	empty := make([]byte, 4096)
	damaged := file(8)
	damaged[40] ^= 1
	for name, c := range map[string]struct {
		a, b   []byte
		whole  bool
		serial uint64
	}{
		"both":                        {file(7), file(8), true, 8},
		"both, the other way":         {file(8), file(7), true, 8},
		"the first one ever":          {file(1), empty, true, 1},
		"one of two is gone":          {file(7), empty, false, 7},
		"none":                        {nil, empty, false, 0},
		"the newer one is damaged":    {file(7), damaged, false, 7},
		"an older one may be damaged": {damaged, file(9), false, 9},
		"both are damaged":            {damaged, damaged, false, 0},
		"twice the same":              {file(7), file(7), false, 7},
	} {
		got, whole, why := Choose(c.a, c.b)
		if whole != c.whole || got.Serial != c.serial || whole != (why == "") {
			t.Errorf("%s: number %d, whole %v: %q", name, got.Serial, whole, why)
		}
	}
}

func FuzzDecode(f *testing.F) {
	s, _ := Open(0, "s1", claims.Default(), Table{}, false)
	s, _ = Step(s, 0, Configure{config(5)})
	s, _ = Step(s, 100*sec, Renewal{renewal("m1", 1, claims.Acquire, 7)})
	whole, err := Encode(s.Table)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(append(bytes.Clone(whole), 0, 0))
	f.Add(whole[:len(whole)/2])
	f.Add(claims.Frame("leases", []byte(`{"records":[{"claim":"a","state":9}]}`)))
	f.Add([]byte("argosy-leases 99999999999 00000000\n{}"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, file []byte) {
		for _, file := range [][]byte{file, claims.Frame("leases", file)} { // damaged, and well kept nonsense
			table, err := Decode(file)
			if _, whole, why := Choose(file, nil); whole != (why == "") || whole && err != nil {
				t.Fatalf("whole %v, %q, %v", whole, why, err)
			}
			if err != nil {
				continue
			}
			s, _ := Open(0, "s1", claims.Default(), table, true)
			for _, e := range []Event{Configure{config(9)}, Renewal{renewal("m1", 1, claims.Acquire, 7)}, Fence{"of-m1"}, FenceClaim{"c", "m1", claims.Token{Generation: 1, Revision: 7}}, Drop{[]claims.ID{"c"}}, Tick{}} {
				s, _ = Step(s, 100*sec, e)
			}
			if err := s.validate(); err != nil {
				t.Fatalf("what was read became what cannot be read: %v", err)
			}
		}
	})
}
