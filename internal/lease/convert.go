package lease

import (
	"fmt"
	"time"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
)

// Between the messages of the protocol and the words of package claims. What comes from outside is bounded by the size of a
// frame, and judged by claims itself.

// StampTo makes a message of a token, or of an epoch.
func StampTo(s claims.Stamp) *leasev1.Stamp {
	return &leasev1.Stamp{Generation: s.Generation, Revision: s.Revision}
}

// StampFrom is the reverse.
func StampFrom(s *leasev1.Stamp) claims.Stamp {
	return claims.Stamp{Generation: s.GetGeneration(), Revision: s.GetRevision()}
}

func namesTo(list []claims.Witness) []string {
	out := make([]string, len(list))
	for i, w := range list {
		out[i] = string(w)
	}
	return out
}

func namesFrom(list []string) []claims.Witness {
	if len(list) == 0 {
		return nil
	}
	out := make([]claims.Witness, len(list))
	for i, w := range list {
		out[i] = claims.Witness(w)
	}
	return out
}

// ConfigTo makes a message of a set of servers.
func ConfigTo(c claims.Config) *leasev1.Config {
	return &leasev1.Config{Epoch: StampTo(c.Epoch), Members: namesTo(c.Members), Next: namesTo(c.Next)}
}

// ConfigFrom is the reverse.
func ConfigFrom(c *leasev1.Config) claims.Config {
	return claims.Config{Epoch: StampFrom(c.GetEpoch()), Members: namesFrom(c.GetMembers()), Next: namesFrom(c.GetNext())}
}

// RenewalTo makes a message of a renewal. Its Machine is not part of it: the channel tells.
func RenewalTo(r claims.Renewal) *leasev1.Renewal {
	m := &leasev1.Renewal{Session: string(r.Session), Epoch: StampTo(r.Epoch), Round: r.Round, Items: make([]*leasev1.Item, len(r.Items))}
	for i, it := range r.Items {
		m.Items[i] = &leasev1.Item{Claim: string(it.Claim), Token: StampTo(it.Token), Intent: leasev1.Intent(it.Intent)}
		if it.Session != r.Session {
			m.Items[i].Session = string(it.Session)
		}
	}
	return m
}

// RenewalFrom is the reverse, for a renewal that came from a machine.
func RenewalFrom(machine claims.Machine, m *leasev1.Renewal) (claims.Renewal, error) {
	if len(m.GetItems()) > claims.MaxItems {
		return claims.Renewal{}, fmt.Errorf("%d claims in one renewal, and %d are allowed", len(m.GetItems()), claims.MaxItems)
	}
	r := claims.Renewal{Machine: machine, Session: claims.Session(m.GetSession()), Epoch: StampFrom(m.GetEpoch()), Round: m.GetRound()}
	for _, it := range m.GetItems() {
		session := claims.Session(it.GetSession())
		if session == "" {
			session = r.Session
		}
		intent, err := intentFrom(it.GetIntent())
		if err != nil {
			return claims.Renewal{}, err
		}
		r.Items = append(r.Items, claims.Item{Claim: claims.ID(it.GetClaim()), Session: session, Token: StampFrom(it.GetToken()), Intent: intent})
	}
	return r, nil
}

// intentFrom takes an intent in. Enumerations are open: a number that this release does not know must not become another.
func intentFrom(i leasev1.Intent) (claims.Intent, error) {
	if _, known := leasev1.Intent_name[int32(i)]; !known || i == leasev1.Intent_INTENT_UNSPECIFIED {
		return 0, fmt.Errorf("intent %d is not known here", i)
	}
	return claims.Intent(i), nil
}

// AckTo makes a message of an answer. Its Witness is not part of it.
func AckTo(a claims.Ack) *leasev1.Ack {
	m := &leasev1.Ack{Session: string(a.Session), Epoch: StampTo(a.Epoch), Round: a.Round, Refused: a.Refused, Verdicts: make([]*leasev1.Verdict, len(a.Verdicts))}
	for i, v := range a.Verdicts {
		m.Verdicts[i] = &leasev1.Verdict{Claim: string(v.Claim.ID), Token: StampTo(v.Claim.Token), Intent: leasev1.Intent(v.Intent),
			Ok: v.OK, Unknown: v.Unknown, Floor: StampTo(v.Floor), Why: v.Why, Left: int64(v.Left)}
		if v.Claim.Session != a.Session {
			m.Verdicts[i].Session = string(v.Claim.Session)
		}
	}
	if a.Config != nil {
		m.Config = ConfigTo(*a.Config)
	}
	return m
}

// AckFrom is the reverse, for an answer that came from a witness.
func AckFrom(witness claims.Witness, m *leasev1.Ack) (claims.Ack, error) {
	a := claims.Ack{Witness: witness, Session: claims.Session(m.GetSession()), Epoch: StampFrom(m.GetEpoch()), Round: m.GetRound(), Refused: m.GetRefused()}
	if len(m.GetVerdicts()) > claims.MaxItems {
		return claims.Ack{}, fmt.Errorf("%d verdicts in one answer, and %d are allowed", len(m.GetVerdicts()), claims.MaxItems)
	}
	for _, v := range m.GetVerdicts() {
		intent, err := intentFrom(v.GetIntent())
		if err != nil {
			return claims.Ack{}, err
		}
		session := claims.Session(v.GetSession())
		if session == "" {
			session = a.Session
		}
		a.Verdicts = append(a.Verdicts, claims.Verdict{Claim: claims.Claimed{ID: claims.ID(v.GetClaim()), Session: session, Token: StampFrom(v.GetToken())},
			Intent: intent, OK: v.GetOk(), Unknown: v.GetUnknown(), Floor: StampFrom(v.GetFloor()), Why: v.GetWhy(), Left: time.Duration(v.GetLeft())})
	}
	if m.GetConfig() != nil {
		c := ConfigFrom(m.GetConfig())
		a.Config = &c
	}
	return a, nil
}

// ClaimsFrom is a list of claims' names.
func ClaimsFrom(list []string) []claims.ID {
	out := make([]claims.ID, len(list))
	for i, id := range list {
		out[i] = claims.ID(id)
	}
	return out
}

// SightTo makes a message of a record of a table.
func SightTo(c claims.ID, m claims.Machine, s claims.Session, t claims.Token, h leasev1.Holding, age time.Duration) *leasev1.Sight {
	return &leasev1.Sight{Claim: string(c), Machine: string(m), Session: string(s), Token: StampTo(t), Holding: h, Age: int64(age)}
}
