package witness

import (
	"time"

	"github.com/argosy-cluster/argosy/internal/claims"
)

// Hear is Step for a renewal that changes nothing but when its holders were heard last, as nearly every one does, or that is
// refused: it answers in place, in time that does not grow with the table. Where ok is false it has done nothing, and Step is to
// be asked.
func Hear(s *State, now time.Duration, r claims.Renewal) (ack claims.Ack, ok bool) {
	if s.Silent && !s.mute(now) {
		return ack, false // that silence has ended is to be saved
	}
	ack = claims.Ack{Witness: s.ID, Session: r.Session, Epoch: r.Epoch, Round: r.Round}
	if ack.Refused = s.refuse(now, r, &ack); ack.Refused != "" {
		return ack, true
	}
	for _, it := range r.Items {
		at, found := s.find(it.Claim)
		if !found || it.Intent == claims.Release {
			return claims.Ack{}, false
		}
		if rec := s.Records[at]; rec.Machine != r.Machine || rec.Session != it.Session || rec.Token != it.Token || rec.State != Held {
			return claims.Ack{}, false
		}
	}
	for _, it := range r.Items {
		v, _ := s.judge(now, r, it)
		ack.Verdicts = append(ack.Verdicts, v)
	}
	return ack, true
}
