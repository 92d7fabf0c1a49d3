package rotation

import (
	"fmt"
	"slices"
	"strings"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// Cluster is how far the change is, as the cluster's record says.
type Cluster struct {
	// Issuing signs what is issued now.
	Issuing uint32
	// Other is trusted beside it: the next one when its number is higher, the one from before when it is lower, 0 when
	// there is none.
	Other uint32
	// Leader is the id of the server that leads.
	Leader string
}

// Phase of a rotation.
func (c Cluster) Phase() argosyv1.RotationPhase {
	switch {
	case c.Other == 0:
		return argosyv1.RotationPhase_ROTATION_PHASE_NONE
	case c.Other > c.Issuing:
		return argosyv1.RotationPhase_ROTATION_PHASE_SPREADING
	}
	return argosyv1.RotationPhase_ROTATION_PHASE_RENEWING
}

func (c Cluster) trusted() []uint32 {
	if c.Other == 0 {
		return []uint32{c.Issuing}
	}
	return []uint32{c.Issuing, c.Other}
}

// Server is what a server of the cluster says of itself.
type Server struct {
	ID, Name string
	// Silent is why it did not answer; empty when it did. Lately says that it did a moment ago.
	Silent string
	Lately bool
	// Trusts are the authorities that it trusts, the one first that issues as far as it knows; StoreTrusts those of its store.
	Trusts, StoreTrusts []uint32
}

// follows says whether it goes by the cluster's record as it is now.
func (s Server) follows(c Cluster) bool { return slices.Equal(s.Trusts, c.trusted()) }

// stale says whether its store does not trust what the server does.
func (s Server) stale() bool { return !sameSet(s.StoreTrusts, s.Trusts) }

func sameSet(a, b []uint32) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// Holder is a machine or a user.
type Holder struct {
	// Kind is `machine` or `user`.
	Kind, Name string
	// Authority is the latest whose certificate it has shown.
	Authority uint32
	// Connected machines follow within seconds.
	Connected bool
}

// Step is what is to be done now.
type Step int

// The steps.
const (
	Wait   Step = iota
	Reopen      // Plan.Server opens its store anew
	Switch      // the other authority issues from now on
	Drop        // the other authority is given up
)

// Plan is what is to be done, and whom the rotation waits for.
type Plan struct {
	Step   Step
	Server string // by id, for Reopen
	// Servers and Holders are waited for, in the order in which they were given.
	Servers, Holders []*argosyv1.Follower
}

// Waiting are all that are waited for.
func (p Plan) Waiting() []*argosyv1.Follower { return slices.Concat(p.Servers, p.Holders) }

// Decide says what is to be done now.
func Decide(c Cluster, servers []Server, holders []Holder) Plan {
	var p Plan
	for _, s := range servers {
		if lacks := s.lacks(c); lacks != "" {
			p.Servers = append(p.Servers, &argosyv1.Follower{Kind: "server", Name: s.Name, Message: lacks})
		}
	}
	if c.Phase() == argosyv1.RotationPhase_ROTATION_PHASE_RENEWING {
		for _, h := range holders {
			if h.Authority < c.Issuing {
				p.Holders = append(p.Holders, &argosyv1.Follower{Kind: h.Kind, Name: h.Name, Message: h.lacks()})
			}
		}
	}
	p.Step, p.Server = Wait, ""
	switch id := turn(c, servers); {
	case id != "":
		p.Step, p.Server = Reopen, id
	case len(p.Servers)+len(p.Holders) > 0 || len(servers) == 0:
	case c.Phase() == argosyv1.RotationPhase_ROTATION_PHASE_SPREADING:
		p.Step = Switch
	case c.Phase() == argosyv1.RotationPhase_ROTATION_PHASE_RENEWING:
		p.Step = Drop
	}
	return p
}

// turn is the server whose store is to be opened anew: one at a time, while all others answer, and the one that leads last.
func turn(c Cluster, servers []Server) string {
	next := ""
	for _, s := range servers {
		if s.Silent != "" || !s.follows(c) {
			return ""
		}
		if s.stale() && (next == "" || next == c.Leader) {
			next = s.ID
		}
	}
	return next
}

// lacks is what a rotation waits for from a server; empty when nothing.
func (s Server) lacks(c Cluster) string {
	switch {
	case c.Other == 0 && s.Silent != "":
		return "" // nobody needs it for anything
	case s.Silent != "" && s.Lately:
		return "it is away for a moment, as when its store is opened anew"
	case s.Silent != "":
		return fmt.Sprintf("it does not answer (%s): start it, or remove it with 'argosy servers remove %s' if it is gone for good", s.Silent, s.Name)
	case len(s.Trusts) == 0:
		return "it is of an earlier release, which cannot change to another authority: upgrade it"
	case !s.follows(c):
		return "it has yet to hear of it"
	case s.stale():
		return "its store is opened anew, one server after another while all answer"
	}
	return ""
}

func (h Holder) lacks() string {
	switch {
	case h.Kind == "user":
		return "renews with the next command; who never comes back has to log in again"
	case h.Connected:
		return "is about to renew"
	}
	return "is away, and renews when it is back"
}

// Names is who is waited for in one line: `server s3, machine m2 and 4 more`.
func Names(list []*argosyv1.Follower) string {
	const most = 5
	var out []string
	for i, f := range list {
		if i == most && len(list) > most+1 {
			return strings.Join(out, ", ") + fmt.Sprintf(" and %d more", len(list)-most)
		}
		out = append(out, f.Kind+" "+f.Name)
	}
	if n := len(out); n > 1 {
		return strings.Join(out[:n-1], ", ") + " and " + out[n-1]
	}
	return strings.Join(out, "")
}
