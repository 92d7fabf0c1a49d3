package claims

import (
	"fmt"
	"time"
)

// Intent is what a guard wants of a witness for one claim.
type Intent uint8

// What a guard can want.
const (
	// Acquire: make this session and token the record.
	Acquire Intent = 1 + iota
	// Continue: they are the record, and still needed.
	Continue
	// Release: nothing can write with this token any more; that was verified, and the gate is sealed.
	Release
)

func (i Intent) String() string {
	switch i {
	case Acquire:
		return "acquire"
	case Continue:
		return "continue"
	case Release:
		return "release"
	}
	return fmt.Sprintf("intent %d", uint8(i))
}

// Item is one claim in a renewal. Session is that of the renewal, except in a Release of what an earlier session left.
type Item struct {
	Claim   ID
	Session Session
	Token   Token
	Intent  Intent
}

// Renewal is what a guard sends to each witness in each round.
type Renewal struct {
	// Machine is who sent it, as the channel proved it; never what a message claims of itself.
	Machine Machine
	Session Session
	Epoch   Epoch
	Round   uint64
	Items   []Item
}

// MaxItems bounds a renewal, and so the claims of one machine.
const MaxItems = 1024

// Validate refuses what no guard of this release sends.
func (r Renewal) Validate() error {
	if err := checkName("the machine", string(r.Machine)); err != nil {
		return err
	}
	if err := checkName("the session", string(r.Session)); err != nil {
		return err
	}
	if r.Round == 0 {
		return fmt.Errorf("rounds count from 1")
	}
	if len(r.Items) > MaxItems {
		return fmt.Errorf("%d claims in one renewal, and %d are allowed", len(r.Items), MaxItems)
	}
	seen := make(map[ID]struct{}, len(r.Items))
	for _, it := range r.Items {
		if err := it.validate(r.Session); err != nil {
			return err
		}
		if _, twice := seen[it.Claim]; twice {
			return fmt.Errorf("claim %s is named twice", it.Claim)
		}
		seen[it.Claim] = struct{}{}
	}
	return nil
}

func (it Item) validate(session Session) error {
	if err := checkName("a claim", string(it.Claim)); err != nil {
		return err
	}
	if err := checkName("a claim's session", string(it.Session)); err != nil {
		return err
	}
	if err := CheckToken(it.Token); err != nil {
		return fmt.Errorf("claim %s: %w", it.Claim, err)
	}
	switch it.Intent {
	case Acquire, Continue:
		if it.Session != session {
			return fmt.Errorf("claim %s: only what is released may belong to another session", it.Claim)
		}
	case Release:
	default:
		return fmt.Errorf("claim %s: unknown %v", it.Claim, it.Intent)
	}
	return nil
}

// Verdict is a witness's answer about one claim.
type Verdict struct {
	Claim Claimed
	// Intent is what was asked for.
	Intent Intent
	OK     bool
	// Unknown: the record is not this one, so that only Acquire can make it so.
	Unknown bool
	// Floor is the highest token that the witness has seen for the claim. One that is higher than the guard's own means
	// that the guard's will never be acquired here.
	Floor Token
	// Left is how long the witness waits yet, on its own clock, before another session may have the claim, where nothing else is
	// against it; otherwise 0. It only tells when asking again is worth it.
	Left time.Duration
	Why  string
}

// Claimed is the claim, session and token that a verdict is about: an answer counts only for the very same.
type Claimed struct {
	ID      ID
	Session Session
	Token   Token
}

// Ack answers a renewal. Witness is who sent it, as the channel proved it.
type Ack struct {
	Witness  Witness
	Session  Session
	Epoch    Epoch
	Round    uint64
	Verdicts []Verdict
	// Refused is why nothing of the renewal was even looked at; there are no verdicts then.
	Refused string
	// Config is the witness's own configuration where the renewal's was an earlier one.
	Config *Config
}
