package core

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/dispatcher"
	"github.com/argosy-cluster/argosy/internal/fault"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
)

const (
	// sightsLast is how long what the witness saw counts. It is asked every second.
	sightsLast = 3 * time.Second
	// anew is after what time a claim is granted to the same machine again, and anewMost when that has ended soon again and again, twice as
	// late each time: one that cannot use it is not asked in a circle.
	anew     = time.Second
	anewMost = 15 * time.Second
	// endedSoon is within what time after it could have been granted anew a claim has ended soon.
	endedSoon = 10 * time.Second
	// maxTries is how many of them are counted: after so many the pause is anewMost.
	maxTries = 4
)

// Witnessed takes in what the witness beside this server sees of claims. Nothing is done about those that stand as they should.
func (c *Core) Witnessed(now time.Time, s claims.Sights) {
	c.sights, c.sightsAt = s, now
	list := c.st.SharedVolumes()
	c.follow(now, list)
	c.hush(now, list)
	for _, v := range list {
		if c.settled(now, v) {
			continue
		}
		k := state.KeyOf(v.GetReplica())
		c.claims.Add(k)
		if r := c.st.Replica(k); r != nil && c.unleased(now, r) != "" {
			c.stacks.Add(k.StackKey())
		}
	}
}

// settled says that a claim is held by whom it was granted to, where it is wanted, and that there is nothing to write down about it:
// that to decide it would change nothing.
func (c *Core) settled(now time.Time, v *argosyv1.Volume) bool {
	k, g := state.KeyOf(v.GetReplica()), v.GetGrant()
	r := c.st.Replica(k)
	if c.mute(now) != "" || !isFor(g, r) || !c.wants(r, v) || c.over(v) || c.marked(v) != v.GetUuid() {
		return false
	}
	if c.hushed.Has(g.GetMachine()) || fenceOn(v, g.GetMachine()) != nil {
		return false
	}
	s := c.sight(now, claimID(k, v.GetName()))
	return s != nil && s.Gone == "" && s.Token == tokenOf(g.GetToken()) && s.Age < c.profile().Wait
}

// claimID names a volume's claim.
func claimID(k state.Key, volume string) claims.ID {
	return claims.IDOf(k.Tenant, k.App, k.Stack, k.Number, volume)
}

// classOf is what protects a volume that is declared so.
func classOf(v *argosyv1.VolumeSpec) argosyv1.VolumeClass {
	switch {
	case v.GetDevice().GetDevice() != "": // a fence can come and go with the manifest, so the record does not have it
		return argosyv1.VolumeClass_VOLUME_CLASS_TIMED_DETECTED
	case v.GetMount().GetSource() != "":
		return argosyv1.VolumeClass_VOLUME_CLASS_TIMED
	}
	return argosyv1.VolumeClass_VOLUME_CLASS_LOCAL
}

func claimsClass(c argosyv1.VolumeClass) claims.Class {
	switch c {
	case argosyv1.VolumeClass_VOLUME_CLASS_TIMED:
		return claims.ClassTimed
	case argosyv1.VolumeClass_VOLUME_CLASS_TIMED_DETECTED:
		return claims.ClassDetected
	}
	return claims.ClassLocal
}

// profile is the cluster's timing of leases.
func (c *Core) profile() claims.Profile {
	p, err := claims.Named(c.st.Settings().GetLeaseProfile())
	if err != nil {
		return claims.Safe() // of a later release; the server says so
	}
	return p
}

// mute is why the witness beside this server knows nothing now, empty when it does.
func (c *Core) mute(now time.Time) string {
	age := now.Sub(c.sightsAt)
	switch {
	case c.sightsAt.IsZero():
		return "the leader's witness was not heard of yet"
	case c.sights.Mute != "":
		return c.sights.Mute
	case age > sightsLast:
		return "the leader's witness has said nothing for " + claims.Tenths(age)
	}
	return ""
}

// sight is what the witness sees of a claim, nil when it has no record of it.
func (c *Core) sight(now time.Time, id claims.ID) *claims.Seen {
	s, ok := c.sights.Seen[id]
	if !ok {
		return nil
	}
	s.Age += max(0, now.Sub(c.sightsAt))
	return &s
}

func tokenOf(t *argosyv1.FencingToken) claims.Token {
	return claims.Token{Generation: t.GetGeneration(), Revision: t.GetRevision()}
}

func tokenTo(t claims.Token) *argosyv1.FencingToken {
	return &argosyv1.FencingToken{Generation: t.Generation, Revision: t.Revision}
}

// wish is all that is known of a shared volume's claim.
func (c *Core) wish(now time.Time, v *argosyv1.Volume) claims.Wish {
	k := state.KeyOf(v.GetReplica())
	id := claimID(k, v.GetName())
	w := claims.Wish{Claim: id, Class: c.class(v), Seen: c.sight(now, id), Barred: c.barred(k, v), Forget: c.forgets(k)}
	w.Silent = w.Seen != nil && c.hushed.Has(string(w.Seen.Machine)) && c.quiet(now, string(w.Seen.Machine))
	if r := c.st.Replica(k); c.wants(r, v) {
		w.Wanted = claims.Machine(r.GetMachine())
	}
	if g := v.GetGrant(); g != nil {
		connected, _ := c.disp.Connected(g.GetMachine())
		w.Granted = &claims.Granted{Machine: claims.Machine(g.GetMachine()), Token: tokenOf(g.GetToken()), Ended: c.over(v), Connected: connected}
	}
	return w
}

// wants says whether a replica is to run somewhere with a volume.
func (c *Core) wants(r *argosyv1.Replica, v *argosyv1.Volume) bool {
	if r == nil || r.GetGoal() != argosyv1.ReplicaGoal_REPLICA_GOAL_RUN || r.GetMachine() == "" {
		return false
	}
	spec, _ := c.st.StackOf(state.KeyOf(r.GetKey()).StackKey(), r.GetRevision())
	return slices.ContainsFunc(spec.GetVolumes(), func(s *argosyv1.VolumeSpec) bool { return s.GetName() == v.GetName() && state.SharedSpec(s) })
}

// forgets says whether a replica's app is being deleted with its volumes.
func (c *Core) forgets(k state.Key) bool {
	app := c.st.App(k.Tenant, k.App)
	return app.GetDeleting() && app.GetDeleteVolumes()
}

// isFor says whether a grant is the present incarnation's.
func isFor(g *argosyv1.VolumeGrant, r *argosyv1.Replica) bool {
	return g != nil && r != nil && g.GetMachine() == r.GetMachine() && g.GetAppUid() == r.GetAppUid() && g.GetIncarnation() == r.GetIncarnation()
}

// over says whether the machine that a volume was granted to said that nothing there can write with that token: in so many words,
// or that nothing is left of the incarnation.
func (c *Core) over(v *argosyv1.Volume) bool {
	g := v.GetGrant()
	if g.GetEnded() {
		return true
	}
	k := state.KeyOf(v.GetReplica())
	i := dispatcher.Incarnation{Key: k, AppUID: g.GetAppUid(), N: g.GetIncarnation()}
	if o, _ := c.claimSeen(v); o != nil {
		return o.GetPhase() >= argosyv1.ClaimPhase_CLAIM_PHASE_OVER
	}
	return c.disp.Gone(g.GetMachine(), i) || !isFor(g, c.st.Replica(k)) && c.disp.Absent(g.GetMachine(), i)
}

// claimSeen is what the machine that a volume was granted to says of that token and when that was confirmed, nil when nothing. What is left of an incarnation that
// has gone is told with the one that followed it there.
func (c *Core) claimSeen(v *argosyv1.Volume) (*argosyv1.ClaimObservation, time.Time) {
	g := v.GetGrant()
	if g == nil {
		return nil, time.Time{}
	}
	k := state.KeyOf(v.GetReplica())
	told := []dispatcher.Incarnation{{Key: k, AppUID: g.GetAppUid(), N: g.GetIncarnation()}}
	if r := c.st.Replica(k); r.GetMachine() == g.GetMachine() && !isFor(g, r) {
		told = append(told, incarnationOf(r, r.GetIncarnation()))
	}
	for _, i := range told {
		o, at, _ := c.disp.Seen(g.GetMachine(), i)
		for _, cl := range o.GetClaims() {
			if cl.GetVolume() == v.GetName() && tokenOf(cl.GetToken()) == tokenOf(g.GetToken()) {
				return cl, at
			}
		}
	}
	return nil, time.Time{}
}

// marked is what a volume's storage is known by: what its record says, or who has mounted it first; empty before.
func (c *Core) marked(v *argosyv1.Volume) string {
	if o, _ := c.claimSeen(v); v.GetUuid() == "" && o.GetPhase() >= argosyv1.ClaimPhase_CLAIM_PHASE_ARMED {
		return o.GetUuid()
	}
	return v.GetUuid()
}

// decide says what to do about a shared volume's claim. Reasons name machines as people do.
func (c *Core) decide(now time.Time, w claims.Wish, r *argosyv1.Replica, v *argosyv1.Volume) claims.Decision {
	mute, g := c.mute(now), v.GetGrant()
	d := claims.Decide(c.profile(), mute, []claims.Wish{w})[0]
	held := w.Seen != nil && w.Granted != nil && w.Seen.Token == w.Granted.Token && w.Seen.Gone == ""
	left := time.Duration(0)
	if d.Action == claims.Grant && w.Force == nil && g.GetMachine() == string(d.To) && isFor(g, r) {
		left = pauseAfter(g) - now.Sub(g.GetAt().AsTime())
		if why := c.endedBecause(v); why != "" {
			d.Reason, d.Cause = d.Reason+": "+why, d.Cause+": "+why
		}
	}
	switch {
	case w.Force != nil:
	case d.Action == claims.Keep && w.Wanted != "" && !isFor(g, r):
		// The machine is the same, and the incarnation another: the right is not handed on.
		d.Action, d.Reason = claims.WaitFor, fmt.Sprintf("%s gives back token %v of incarnation %d first", w.Granted.Machine, w.Granted.Token, g.GetIncarnation())
	case d.Action == claims.WaitFor && mute != "" && held && isFor(g, r):
		d.Action, d.Reason = claims.Keep, "not known who holds it: "+mute
	case d.Action == claims.Grant && d.Above.Generation > c.generation():
		d.Action, d.Reason = claims.WaitFor, fmt.Sprintf("the servers know token %v, and the store is of generation %d: was one put back without 'argosy server recover'?", d.Above, c.generation())
	case d.Action == claims.Grant && c.disp.Storage(string(d.To)).GetGuard().GetLeaving():
		d.Action, d.Reason = claims.WaitFor, string(d.To)+" is about to be shut down, and takes no volumes"
	case left > anew:
		d.Action, d.Reason = claims.WaitFor, "is granted anew in "+claims.Tenths(left)+": "+d.Cause
	case left > 0:
		d.Action, d.Reason = claims.WaitFor, "is granted anew in a moment: "+d.Cause
	}
	d.Reason, d.Audit = c.named(d.Reason), c.named(d.Audit)
	return d
}

// pauseAfter is how long after a grant the next one to the same incarnation comes at the earliest.
func pauseAfter(g *argosyv1.VolumeGrant) time.Duration {
	pause := anew
	for range min(g.GetTries(), maxTries) {
		pause = min(2*pause, anewMost)
	}
	return pause
}

// triesAfter counts the grants to the incarnation that ended soon, up to the present one.
func triesAfter(now time.Time, g *argosyv1.VolumeGrant, r *argosyv1.Replica) uint32 {
	if !isFor(g, r) || now.Sub(g.GetAt().AsTime()) >= pauseAfter(g)+endedSoon {
		return 0
	}
	return min(g.GetTries()+1, maxTries)
}

// endedBecause is why a volume's grant is over, as its machine said; empty when it is not, or that said nothing.
func (c *Core) endedBecause(v *argosyv1.Volume) string {
	if why := v.GetGrant().GetEndedBecause(); why != "" {
		return why
	}
	if o, _ := c.claimSeen(v); o.GetPhase() >= argosyv1.ClaimPhase_CLAIM_PHASE_OVER {
		return fault.Clip(o.GetMessage())
	}
	return ""
}

// generation is the store's, from 1.
func (c *Core) generation() uint64 { return max(1, c.st.Generation()) }

// claims decides the claims to which something happened, and grants what can be granted.
func (s *stepping) claims() {
	for _, k := range sortedSet(s.c.claims, state.Key.Compare) {
		if s.changed.Has(k) {
			continue // its record is about to change, after which its turn comes
		}
		for _, v := range s.c.st.Volumes(k) {
			if state.Shared(v) {
				s.claim(k, v)
			}
		}
	}
	clear(s.c.claims)
}

func (s *stepping) claim(k state.Key, v *argosyv1.Volume) {
	c := s.c
	r := c.st.Replica(k)
	w := c.wish(s.now, v)
	d := c.decide(s.now, w, r, v)
	if d.Action != claims.Keep {
		c.change.Replicas.Add(k) // what is awaited changes as time passes, and people watch it
	}
	next := proto.CloneOf(v)
	next.Uuid = c.marked(v)
	u := c.unit()
	s.fence(u, k, v, next, w, d)
	switch {
	case d.Action == claims.Grant:
		token := claims.Token{Generation: c.generation(), Revision: uint64(max(c.st.Revision(), 0)) + 1}
		if d.Above.Generation == token.Generation {
			token.Revision = max(token.Revision, d.Above.Revision+1)
		}
		from := "volume " + v.GetName() + ": nobody's"
		if g := v.GetGrant(); g != nil {
			from = fmt.Sprintf("volume %s: token %v on %s", v.GetName(), tokenOf(g.GetToken()), c.st.MachineName(g.GetMachine()))
		}
		next.Grant = &argosyv1.VolumeGrant{Token: tokenTo(token), Machine: string(d.To), AppUid: r.GetAppUid(), Incarnation: r.GetIncarnation(),
			At: timestamppb.New(s.now), Reason: d.Reason, Tries: triesAfter(s.now, v.GetGrant(), r)}
		u.noteReplica(k, r.GetIncarnation(), string(d.To), from, fmt.Sprintf("volume %s: token %v on %s", v.GetName(), token, c.st.MachineName(string(d.To))), d.Reason)
	case v.GetGrant() != nil && !v.GetGrant().GetEnded() && c.over(v):
		next.Grant.Ended, next.Grant.EndedBecause = true, c.endedBecause(v)
	}
	if proto.Equal(next, v) {
		return
	}
	u.put(store.VolumeKey(v.GetReplica(), v.GetName()), next)
	s.units = append(s.units, u.seal(s.now))
}

// unleased says why a replica cannot have its shared volumes where it is, empty when it can: its machine gives them back, since it is
// about to be shut down; or it asks for the lease in vain; or it is silent, and the lease is over.
func (c *Core) unleased(now time.Time, r *argosyv1.Replica) string {
	id := r.GetMachine()
	cond, name := c.condition(id), c.st.MachineName(id)
	if c.disp.Storage(id).GetGuard().GetLeaving() && cond != condUnknown {
		return name + " is about to be shut down, and gives its volumes back"
	}
	if why := c.inVain(r); why != "" {
		return why
	}
	if c.mute(now) != "" {
		return ""
	}
	if why := c.fencible(now, r); why != "" {
		return why
	}
	if cond != condUnreachable {
		return ""
	}
	k := state.KeyOf(r.GetKey())
	for _, v := range c.st.Volumes(k) {
		if !state.Shared(v) {
			continue
		}
		s := c.sight(now, claimID(k, v.GetName()))
		switch {
		case !isFor(v.GetGrant(), r):
		case s == nil || s.Gone != "":
			return fmt.Sprintf("%s is silent, and has no lease on volume %s", name, v.GetName())
		case string(s.Machine) == id && s.Token == tokenOf(v.GetGrant().GetToken()) && s.Age >= c.profile().Wait:
			return fmt.Sprintf("%s is silent, and its lease on volume %s has run out", name, v.GetName())
		}
	}
	return ""
}

// volumeClaims is what a machine is told of the shared volumes of an incarnation.
func (c *Core) volumeClaims(machine string, k state.Key, a *argosyv1.Assignment) []*argosyv1.VolumeClaim {
	var out []*argosyv1.VolumeClaim
	for _, spec := range a.GetStack().GetVolumes() {
		if !state.SharedSpec(spec) {
			continue
		}
		v := c.st.Volume(state.VolumeKey{Replica: k, Name: spec.GetName()})
		cl := &argosyv1.VolumeClaim{Volume: spec.GetName(), Uuid: v.GetUuid()}
		switch g := v.GetGrant(); {
		case g.GetMachine() == machine && g.GetAppUid() == a.GetAppUid() && g.GetIncarnation() == a.GetIncarnation() && !g.GetEnded():
			cl.Token = g.GetToken()
		case a.GetGoal() != argosyv1.ReplicaGoal_REPLICA_GOAL_RUN:
		case g == nil || g.GetEnded():
			cl.Reason = "not granted yet"
		default:
			cl.Reason = fmt.Sprintf("not granted yet: token %v is %s's, incarnation %d", tokenOf(g.GetToken()), c.st.MachineName(g.GetMachine()), g.GetIncarnation())
		}
		out = append(out, cl)
	}
	return out
}
