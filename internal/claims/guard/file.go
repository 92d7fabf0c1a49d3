package guard

import (
	"encoding/json"
	"fmt"

	"github.com/argosy-cluster/argosy/internal/claims"
)

const kind = "guard"

type saved struct {
	Boot  string
	State State
}

// Encode makes the bytes of a guard's file. Boot is the id that the kernel gives each boot: readings of the clock mean
// nothing in another one.
func Encode(s State, boot string) ([]byte, error) {
	s.Flights = nil
	text, err := json.Marshal(saved{boot, s})
	if err != nil {
		return nil, fmt.Errorf("write the guard's state: %w", err)
	}
	return claims.Frame(kind, text), nil
}

// Decode reads a guard's file of this boot. Where it refuses and anything may be armed, the machine has to be reset: nobody
// knows until when it may go on.
func Decode(file []byte, boot string) (State, error) {
	text, err := claims.Unframe(kind, file)
	if err != nil {
		return State{}, err
	}
	var s saved
	if err := json.Unmarshal(text, &s); err != nil {
		return State{}, fmt.Errorf("read the guard's state: %w", err)
	}
	if s.Boot != boot || boot == "" {
		return State{}, fmt.Errorf("the guard's state is of boot %.40q, and this is %.40q", s.Boot, boot)
	}
	s.State.Flights = nil
	if err := s.State.validate(); err != nil {
		return State{}, fmt.Errorf("read the guard's state: %w", err)
	}
	return s.State, nil
}

func (s State) validate() error {
	if err := s.Profile.Validate(); err != nil {
		return err
	}
	if !s.Config.Epoch.IsZero() {
		if err := s.Config.Validate(); err != nil {
			return err
		}
	}
	if len(s.Claims) > claims.MaxItems {
		return fmt.Errorf("it has %d claims, and %d are allowed", len(s.Claims), claims.MaxItems)
	}
	seen := map[claims.ID]bool{}
	for _, c := range s.Claims {
		switch {
		case c.ID == "" || c.Session == "" || seen[c.ID]:
			return fmt.Errorf("claim %q has no name or session, or is there twice", c.ID)
		case c.Phase > Sealed:
			return fmt.Errorf("claim %s is in phase %d, which this release does not know", c.ID, c.Phase)
		case c.Phase.exposed() && !c.Leased:
			return fmt.Errorf("claim %s is %v without a lease", c.ID, c.Phase)
		}
		if err := claims.CheckToken(c.Token); err != nil {
			return fmt.Errorf("claim %s: %w", c.ID, err)
		}
		seen[c.ID] = true
	}
	return nil
}
