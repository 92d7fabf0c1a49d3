package witness

import (
	"slices"
	"strings"
	"time"

	"github.com/argosy-cluster/argosy/internal/claims"
)

// Holding is what became of a record.
type Holding uint8

// What can become of a record.
const (
	Held     Holding = iota // by its session, until that is silent for W
	Released                // its session said that it is quiet
	Fenced                  // its machine was proven unable to write
)

func (h Holding) String() string {
	return [...]string{"held", "released", "fenced"}[min(h, Fenced)]
}

// Record is one claim in the table. Its token is also the floor: nothing up to it is ever acquired again.
type Record struct {
	Claim   claims.ID      `json:"claim"`
	Machine claims.Machine `json:"machine"`
	Session claims.Session `json:"session"`
	Token   claims.Token   `json:"token"`
	State   Holding        `json:"state"`
	// Alone: what was fenced is this claim, by its storage, and not the session, which may have it again with a later token.
	Alone bool `json:"alone,omitempty"`
}

// Table is what survives the process.
type Table struct {
	// Serial counts the tables that were written.
	Serial uint64        `json:"serial"`
	Config claims.Config `json:"config"`
	// Silent: this table was begun anew, and W has not passed since.
	Silent bool `json:"silent"`
	// Floor is the highest token of all claims that were dropped: no claim without a record is acquired with one up to it.
	Floor claims.Token `json:"floor,omitzero"`
	// Records are sorted by claim.
	Records []Record `json:"records"`
}

// MaxRecords bounds the table.
const MaxRecords = 1 << 16

func (t Table) find(id claims.ID) (int, bool) {
	return slices.BinarySearchFunc(t.Records, id, func(r Record, id claims.ID) int { return strings.Compare(string(r.Claim), string(id)) })
}

// Clone returns a copy that shares nothing.
func (t Table) Clone() Table {
	t.Config, t.Records = t.Config.Clone(), slices.Clone(t.Records)
	return t
}

// Heard is when a record's holder was heard last of it, and in which round.
type Heard struct {
	At    time.Duration
	Round uint64
}

// State is a witness. Only Open and Step make one.
type State struct {
	ID      claims.Witness
	Profile claims.Profile
	Table
	Heard []Heard // one for each record, in the same order
	// Votes is when silence ends, where Table.Silent.
	Votes time.Duration
	// Since is from when on it has refused whatever is before its epoch.
	Since time.Duration
}

func (s State) clone() State {
	s.Table, s.Heard = s.Table.Clone(), slices.Clone(s.Heard)
	return s
}

// Sight is a record with the time since its holder was heard.
type Sight struct {
	Record
	Age time.Duration
}

// Sights lists the table for the server beside it.
func (s State) Sights(now time.Duration) []Sight {
	out := make([]Sight, 0, len(s.Records))
	for i, r := range s.Records {
		out = append(out, Sight{r, now - s.Heard[i].At})
	}
	return out
}

// Status is what the leader has to know before it changes the set of servers.
func (s State) Status(now time.Duration) claims.Status {
	st := claims.Status{Witness: s.ID, Epoch: s.Config.Epoch, Silent: s.mute(now)}
	if st.Silent {
		st.Left = s.Profile.Wait
		if !s.Config.Epoch.IsZero() {
			st.Left = s.Votes - now
		}
	}
	st.Settled = !st.Silent && now-s.Since >= s.Profile.Wait
	return st
}

// mute tells whether this witness has no vote now.
func (s *State) mute(now time.Duration) bool {
	return s.Config.Epoch.IsZero() || s.Silent && now < s.Votes
}

// Wake is when Step wants to be called though nothing came; ok is false when there is no such time.
func Wake(s State) (at time.Duration, ok bool) {
	return s.Votes, s.Silent && !s.Config.Epoch.IsZero()
}
