package guard

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/argosy-cluster/argosy/internal/claims"
)

// play is a guard that a transcript speaks to. Witnesses answer what it sent last, as the transcript says.
type play struct {
	s    State
	now  time.Duration
	sent map[claims.Witness]map[uint64]claims.Renewal
}

func three() claims.Config {
	return claims.Config{Epoch: claims.Epoch{Generation: 1, Revision: 1}, Members: []claims.Witness{"s1", "s2", "s3"}}
}

func newPlay() *play {
	return &play{s: New(claims.Default(), three()), now: 100 * time.Second, sent: map[claims.Witness]map[uint64]claims.Renewal{}}
}

func TestTranscript(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		p := newPlay()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out strings.Builder
			for _, line := range strings.Split(strings.TrimSpace(d.Input), "\n") {
				p.line(t, &out, strings.Fields(line))
			}
			for i := range p.s.Claims {
				fmt.Fprintf(&out, "%s: %s\n", p.s.Claims[i].ID, Show(p.s, p.now, p.s.Claims[i].ID))
			}
			if at, ok := Wake(p.s); ok {
				fmt.Fprintf(&out, "wakes at %v\n", at)
			}
			if l := PartingOf(p.s); l.Leaving {
				fmt.Fprintf(&out, "leaving: %d exposed, %d untold\n", l.Exposed, l.Untold)
			}
			return out.String()
		})
	})
}

func stamp(t *testing.T, text string) claims.Token {
	t.Helper()
	s, err := claims.ParseStamp(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// line carries out one line of a transcript: [time] event arguments.
func (p *play) line(t *testing.T, out *strings.Builder, words []string) {
	t.Helper()
	if d, err := time.ParseDuration(words[0]); err == nil {
		p.now = d
		words = words[1:]
	}
	if len(words) == 0 {
		p.step(out, Tick{})
		return
	}
	arg := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	fault := strings.Join(words[min(3, len(words)):], " ")
	id := claims.ID(arg(1))
	switch words[0] {
	case "want":
		p.step(out, Want{id, stamp(t, arg(2)), claims.Session(arg(3))})
	case "release":
		p.step(out, Release{id, stamp(t, arg(2))})
	case "stopped":
		p.step(out, Stopped{id, stamp(t, arg(2))})
	case "mounted":
		p.step(out, Mounted{id, stamp(t, arg(2)), fault})
	case "cleared":
		p.step(out, Cleared{id, stamp(t, arg(2)), fault})
	case "closed":
		p.step(out, Closed{id, stamp(t, arg(2))})
	case "leave":
		patience, err := time.ParseDuration(arg(1))
		if err != nil {
			t.Fatal(err)
		}
		p.step(out, Leave{patience})
	case "remain":
		p.step(out, Remain{})
	case "restart":
		file, err := Encode(p.s, "boot")
		if err != nil {
			t.Fatal(err)
		}
		if p.s, err = Decode(file, "boot"); err != nil {
			t.Fatal(err)
		}
		p.step(out, Restarted{})
	case "configure":
		c := claims.Config{Epoch: stamp(t, arg(1))}
		for i, set := range strings.Split(strings.Join(words[2:], " "), "+") {
			for _, w := range strings.Fields(set) {
				if i == 0 {
					c.Members = append(c.Members, claims.Witness(w))
				} else {
					c.Next = append(c.Next, claims.Witness(w))
				}
			}
		}
		p.step(out, Configure{c})
	case "yes", "no", "newer", "used": // yes s1 4: the answer of s1 to round 4; the last one where none is named
		p.answer(t, out, words[0], claims.Witness(arg(1)), arg(2), 0)
	case "in": // in 300ms s1 4: as no; s1 will let it go then
		left, err := time.ParseDuration(arg(1))
		if err != nil {
			t.Fatal(err)
		}
		p.answer(t, out, "no", claims.Witness(arg(2)), arg(3), left)
	default:
		t.Fatalf("unknown line %q", words)
	}
}

func (p *play) answer(t *testing.T, out *strings.Builder, how string, w claims.Witness, round string, left time.Duration) {
	t.Helper()
	n := p.s.Round
	if round != "" {
		var err error
		if n, err = strconv.ParseUint(round, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	r, ok := p.sent[w][n]
	if !ok {
		t.Fatalf("%s was sent nothing in round %d", w, n)
	}
	a := claims.Ack{Witness: w, Session: r.Session, Epoch: r.Epoch, Round: r.Round}
	for _, it := range r.Items {
		v := claims.Verdict{Claim: claims.Claimed{ID: it.Claim, Session: it.Session, Token: it.Token}, Intent: it.Intent, OK: how == "yes", Floor: it.Token}
		if how == "no" {
			v.Why, v.Left = "held by m2", left
			v.Floor = claims.Token{Generation: 1, Revision: 1}
		}
		if how == "used" {
			v.Why, v.Floor = "an earlier session had it", it.Token
		}
		if how == "newer" {
			v.Why, v.Floor = "token 9-9 was seen", claims.Token{Generation: 9, Revision: 9}
		}
		a.Verdicts = append(a.Verdicts, v)
	}
	p.step(out, Ack{a})
}

func (p *play) step(out *strings.Builder, e Event) {
	var effects []Effect
	p.s, effects = Step(p.s, p.now, e)
	rounds := ""
	for _, e := range effects {
		switch e := e.(type) {
		case Save:
		case Send:
			if p.sent[e.Witness] == nil {
				p.sent[e.Witness] = map[uint64]claims.Renewal{}
			}
			p.sent[e.Witness][e.Renewal.Round] = e.Renewal
			rounds += fmt.Sprintf("  round %d to %s:%s\n", e.Renewal.Round, e.Witness, items(e.Renewal))
		case AskStop:
			fmt.Fprintf(out, "%v ask to stop %s %v by %v\n", p.now, e.Claim, e.Token, e.By)
		case Watchdog:
			if e.On {
				fmt.Fprintf(out, "%v watchdog until %v\n", p.now, e.Until)
			} else {
				fmt.Fprintf(out, "%v watchdog closed\n", p.now)
			}
		case Tell:
			fmt.Fprintf(out, "%v tell: %s %v is %v%s %s\n", p.now, e.Claim, e.Token, e.Phase, map[bool]string{true: " (refused)"}[e.Refused], e.Why)
		case Reset:
			fmt.Fprintf(out, "%v RESET: %s\n", p.now, e.Why)
		default:
			fmt.Fprintf(out, "%v %s %v\n", p.now, strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", e), "guard.")), fmt.Sprint(e))
		}
	}
	out.WriteString(rounds)
	if i := slices.IndexFunc(effects, func(e Effect) bool { _, ok := e.(Save); return ok }); i > 0 {
		out.WriteString("SAVED TOO LATE\n")
	}
}

func items(r claims.Renewal) string {
	text := ""
	for _, it := range r.Items {
		text += fmt.Sprintf(" %v %s %v of %s", it.Intent, it.Claim, it.Token, it.Session)
	}
	return text
}
