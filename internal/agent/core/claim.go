package core

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
)

// Claim is how far this machine is with one token of a shared volume.
type Claim struct {
	Key    Key
	Volume string // its name in the stack
	Token  claims.Token
	Phase  argosyv1.ClaimPhase
	// Message says what it waits for, or what stands in the way.
	Message string
	Since   time.Time
	// Path is what containers bind, Slice and Group are where they have to run; there while it is armed.
	Path, Slice, Group string
	// UUID, Class and At are what was found; Size and Free of the file system, in bytes.
	UUID       string
	Class      argosyv1.VolumeClass
	At         string
	Size, Free int64
}

func (c *Claim) over() bool { return c.Phase >= argosyv1.ClaimPhase_CLAIM_PHASE_OVER }

// ends says whether what runs with the claim has to stop.
func (c *Claim) ends() bool { return c.Phase >= argosyv1.ClaimPhase_CLAIM_PHASE_STOPPING }

// ClaimStepKind is what the machine's guard is to be told.
type ClaimStepKind int

// The kinds, each of which may be told again.
const (
	// WantClaim: find the storage and ask for the lease.
	WantClaim ClaimStepKind = iota + 1
	// ReleaseClaim: it is needed no more.
	ReleaseClaim
	// ClaimStopped: what ran with it has stopped.
	ClaimStopped
)

var claimStepNames = map[ClaimStepKind]string{WantClaim: "want", ReleaseClaim: "release", ClaimStopped: "stopped"}

func (k ClaimStepKind) String() string { return claimStepNames[k] }

// ClaimStep is one thing to tell the guard, with its reason.
type ClaimStep struct {
	Kind   ClaimStepKind
	Key    Key
	Volume string
	Token  claims.Token
	// Spec says where it is, and UUID what was there last; of WantClaim only.
	Spec   *argosyv1.VolumeSpec
	UUID   string
	Reason string
}

func (s ClaimStep) String() string {
	return fmt.Sprintf("%s %s:%s %v: %s", s.Kind, s.Key, s.Volume, s.Token, s.Reason)
}

// Shared finds a volume of a stack that several machines reach; nil when it is a local one, or none of the stack's.
func Shared(s *argosyv1.StackSpec, volume string) *argosyv1.VolumeSpec {
	for _, v := range s.GetVolumes() {
		if v.GetName() != volume {
			continue
		}
		class := v.GetClass()
		if v.GetDevice() != nil || v.GetMount() != nil || class != argosyv1.VolumeClass_VOLUME_CLASS_LOCAL && class != argosyv1.VolumeClass_VOLUME_CLASS_UNSPECIFIED {
			return v
		}
	}
	return nil
}

// madeFor says whether a container was made to write with a claim.
func (x *Container) madeFor(c *Claim) bool {
	return slices.Contains(strings.Split(x.Claims, ","), claimName(c.Volume, c.Token))
}

// Label is what a container says that it was made for, with this claim alone; empty without one.
func (c *Claim) Label() string {
	if c == nil {
		return ""
	}
	return claimName(c.Volume, c.Token)
}

// TokenOf reads a token; a nil one is no token.
func TokenOf(t *argosyv1.FencingToken) claims.Token {
	return claims.Token{Generation: t.GetGeneration(), Revision: t.GetRevision()}
}

func tokenTo(t claims.Token) *argosyv1.FencingToken {
	return &argosyv1.FencingToken{Generation: t.Generation, Revision: t.Revision}
}

// Claims says what the guard is to be told, in the order of keys and volumes. Told twice, it does the same.
func Claims(wanted []*argosyv1.Assignment, seen Seen, mem Memory) []ClaimStep {
	var steps []ClaimStep
	for _, g := range gather(wanted, seen, &mem) {
		if _, blind := g.blind(seen); blind || g.unguarded != "" {
			continue // what runs is not known, or nobody would hear it
		}
		for _, r := range g.replicas {
			steps = append(steps, r.wantClaims()...)
		}
		for i := range g.claims {
			if s := g.endClaim(&g.claims[i]); s.Kind != 0 {
				steps = append(steps, s)
			}
		}
	}
	return steps
}

// wantClaims asks for what the leader granted, once the images are here and containers can be connected: a lease is not held while one
// is pulled.
func (r *replica) wantClaims() []ClaimStep {
	if r.a == nil || r.group.unconnected != "" || r.a.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE {
		return nil
	}
	var steps []ClaimStep
	for _, c := range r.a.GetClaims() {
		v, t := Shared(r.a.GetStack(), c.GetVolume()), TokenOf(c.GetToken())
		if v == nil || t.IsZero() || r.group.claim(c.GetVolume(), t) != nil || !r.readyFor(c.GetVolume()) {
			continue
		}
		steps = append(steps, ClaimStep{Kind: WantClaim, Key: r.id.Key, Volume: c.GetVolume(), Token: t, Spec: v, UUID: c.GetUuid(),
			Reason: fmt.Sprintf("incarnation %d is to write it", r.id.Incarnation)})
	}
	return steps
}

// readyFor says whether members mount the volume, and all of them have their images.
func (r *replica) readyFor(volume string) bool {
	n := 0
	for _, m := range r.members {
		if !slices.Contains(m.shared(), volume) {
			continue
		}
		n++
		if len(m.shared()) > 1 {
			return false // it cannot be made
		}
		if m.mem.Image != imageKey(m.spec) && m.c == nil {
			return false
		}
	}
	return n > 0
}

// endClaim says what is to be told of a claim that is to end, or ends.
func (g *group) endClaim(c *Claim) ClaimStep {
	s := ClaimStep{Key: g.key, Volume: c.Volume, Token: c.Token}
	if c.over() || c.Phase > argosyv1.ClaimPhase_CLAIM_PHASE_STOPPING || g.uses(c) {
		return ClaimStep{}
	}
	if c.Phase == argosyv1.ClaimPhase_CLAIM_PHASE_STOPPING {
		s.Kind, s.Reason = ClaimStopped, "nothing runs with it any more"
		return s
	}
	known := g.mem.Complete
	for _, r := range g.replicas {
		known = known || r.a != nil
		vc := r.granted(c.Volume)
		if r.a.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_RUN && vc != nil && TokenOf(vc.GetToken()) == c.Token {
			return ClaimStep{}
		}
	}
	if !known {
		return ClaimStep{}
	}
	s.Kind, s.Reason = ReleaseClaim, "nothing assigned to this machine is to write with it"
	return s
}

// uses says whether a process may run with a claim, or is about to.
func (g *group) uses(c *Claim) bool {
	for _, r := range g.replicas {
		for _, m := range r.members {
			if (m.mem.Doing == Start || m.mem.Doing == Create) && slices.Contains(m.shared(), c.Volume) {
				return true
			}
			for _, x := range append(slices.Clone(m.extra), m.c) {
				if x != nil && x.madeFor(c) && (x.Alive() || m.mem.Doing == Start) {
					return true
				}
			}
		}
	}
	return false
}

func (g *group) claim(volume string, t claims.Token) *Claim {
	for i := range g.claims {
		if c := &g.claims[i]; c.Volume == volume && c.Token == t {
			return c
		}
	}
	return nil
}

// granted is the right to write a volume that the incarnation was given; nil when it was not told of any.
func (r *replica) granted(volume string) *argosyv1.VolumeClaim {
	for _, c := range r.a.GetClaims() {
		if c.GetVolume() == volume {
			return c
		}
	}
	return nil
}

// shared names the shared volumes that the member mounts, in order.
func (m *member) shared() []string {
	var names []string
	for _, mt := range m.spec.GetMounts() {
		v := mt.GetSource()
		if mt.GetType() == argosyv1.MountType_MOUNT_TYPE_VOLUME && Shared(m.r.a.GetStack(), v) != nil && !slices.Contains(names, v) {
			names = append(names, v)
		}
	}
	slices.Sort(names)
	return names
}

func claimName(volume string, t claims.Token) string { return volume + "=" + t.String() }

// tokens is what the member's container has to be made for; empty when it mounts no shared volume.
func (m *member) tokens() string {
	var list []string
	for _, v := range m.shared() {
		list = append(list, claimName(v, TokenOf(m.r.granted(v).GetToken())))
	}
	return strings.Join(list, ",")
}

// unarmed says what must happen before the member may be made and started; empty when it mounts no shared volume, or its lease is
// held and the volume verified.
func (m *member) unarmed() string {
	names := m.shared()
	if len(names) > 1 {
		return fmt.Sprintf("mounts the shared volumes %s, and a container can be held back for one only; mount one of them in another container of the stack", strings.Join(names, " and "))
	}
	for _, v := range names {
		if why := m.r.unarmed(v); why != "" {
			return why
		}
	}
	return ""
}

func (r *replica) unarmed(volume string) string {
	vc := r.granted(volume)
	t := TokenOf(vc.GetToken())
	switch {
	case t.IsZero():
		return fmt.Sprintf("waits for the right to write volume %s: %s", volume, cmp.Or(vc.GetReason(), "no server has granted it yet"))
	case r.group.unguarded != "":
		return fmt.Sprintf("volume %s is not mounted without this machine's guard: %s", volume, r.group.unguarded)
	}
	c := r.group.claim(volume, t)
	switch {
	case c == nil && r.group.unconnected != "":
		return r.group.unconnected
	case c == nil:
		return fmt.Sprintf("waits for the lease of volume %s: it is asked for when the images are here", volume)
	}
	because := ""
	if c.Message != "" {
		because = ": " + c.Message
	}
	switch c.Phase {
	case argosyv1.ClaimPhase_CLAIM_PHASE_ARMED:
		if c.Path == "" || c.Slice == "" {
			return fmt.Sprintf("waits for the guard to say where volume %s is", volume)
		}
		return ""
	case argosyv1.ClaimPhase_CLAIM_PHASE_ATTACHING:
		return fmt.Sprintf("waits for volume %s to be reached from this machine%s", volume, because)
	case argosyv1.ClaimPhase_CLAIM_PHASE_ASKING:
		return fmt.Sprintf("waits for the lease of volume %s%s", volume, because)
	case argosyv1.ClaimPhase_CLAIM_PHASE_MOUNTING:
		return fmt.Sprintf("waits for volume %s to be mounted and verified%s", volume, because)
	case argosyv1.ClaimPhase_CLAIM_PHASE_OVER, argosyv1.ClaimPhase_CLAIM_PHASE_REFUSED:
		return fmt.Sprintf("token %v of volume %s is over on this machine%s; waits for a server to grant another one", t, volume, because)
	}
	return fmt.Sprintf("the lease of volume %s with token %v ends%s", volume, t, because)
}

// armed is the claim that a container of the member is made for; nil when it mounts no shared volume. unarmed is empty.
func (m *member) armed() *Claim {
	for _, v := range m.shared() {
		return m.r.group.claim(v, TokenOf(m.r.granted(v).GetToken()))
	}
	return nil
}

// losing finds a container of the member that lives, and whose lease ends.
func (m *member) losing() (*Container, *Claim) {
	for _, x := range append([]*Container{m.c}, m.extra...) {
		if x == nil || !x.Alive() || x.State == Removing || x.Claims == "" {
			continue
		}
		for i := range m.r.group.claims {
			c := &m.r.group.claims[i]
			if c.ends() && x.madeFor(c) {
				return x, c
			}
		}
	}
	return nil, nil
}

// held says which claim of the replica is not given back yet; empty when none is.
func (r *replica) held() string {
	for i := range r.group.claims {
		if c := &r.group.claims[i]; !c.over() {
			text := fmt.Sprintf("the lease of volume %s with token %v is being given back", c.Volume, c.Token)
			if c.Message != "" {
				text += ": " + c.Message
			}
			return text
		}
	}
	return ""
}

// observeClaims says how far the machine is with what the incarnation was given, and the latest incarnation also with what is left of
// earlier ones.
func (r *replica) observeClaims() []*argosyv1.ClaimObservation {
	var list []*argosyv1.ClaimObservation
	mine := func(c *Claim) bool {
		vc := r.granted(c.Volume)
		return vc != nil && TokenOf(vc.GetToken()) == c.Token
	}
	for _, vc := range r.a.GetClaims() {
		t := TokenOf(vc.GetToken())
		if !t.IsZero() && Shared(r.a.GetStack(), vc.GetVolume()) != nil && r.group.claim(vc.GetVolume(), t) == nil {
			list = append(list, &argosyv1.ClaimObservation{Volume: vc.GetVolume(), Token: vc.GetToken(),
				Phase: argosyv1.ClaimPhase_CLAIM_PHASE_ATTACHING, Message: r.unarmed(vc.GetVolume())})
		}
	}
	last := r == r.group.replicas[len(r.group.replicas)-1]
	for i := range r.group.claims {
		c := &r.group.claims[i]
		if !mine(c) && (!last || c.over()) {
			continue
		}
		o := &argosyv1.ClaimObservation{Volume: c.Volume, Token: tokenTo(c.Token), Phase: c.Phase, Message: c.Message,
			Uuid: c.UUID, Class: c.Class, At: c.At, Size: c.Size, Free: c.Free}
		if !c.Since.IsZero() {
			o.Since = timestamppb.New(c.Since)
		}
		list = append(list, o)
	}
	return list
}
