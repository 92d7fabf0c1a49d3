package core

import (
	"fmt"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/state"
)

// asking is since when the machine of an incarnation has asked for a lease in vain, though nobody else has it and a majority of the
// witnesses could give it.
type asking struct {
	appUID      string
	incarnation uint64
	since       time.Time
	// vain: for longer than patience.
	vain bool
}

// unableLast is how long a machine that got no lease is given none to ask for, unless it gets one meanwhile. Then it may be tried again.
const unableLast = 10 * time.Minute

// patience is for how long a machine may ask for a lease in vain before what needs it goes elsewhere. In the waiting time that comes
// first, another witness than the leader's may still take an earlier holder for well.
func (c *Core) patience() time.Duration { return 2 * c.profile().Wait }

// follow takes note of the machines that ask for leases in vain, and of those that no longer do.
func (c *Core) follow(now time.Time, list []*argosyv1.Volume) {
	phases := make([]argosyv1.ClaimPhase, len(list))
	have := state.Set[string]{} // machines that get leases
	for i, v := range list {
		o, _ := c.claimSeen(v)
		if phases[i] = o.GetPhase(); leased(phases[i]) {
			have.Add(v.GetGrant().GetMachine())
		}
	}
	before := c.asking
	c.asking = map[state.VolumeKey]asking{}
	for i, v := range list {
		k := state.VolumeKey{Replica: state.KeyOf(v.GetReplica()), Name: v.GetName()}
		id := v.GetGrant().GetMachine()
		if have.Has(id) || !c.asks(now, k, v, phases[i]) {
			continue
		}
		r := c.st.Replica(k.Replica)
		a := asking{appUID: r.GetAppUid(), incarnation: r.GetIncarnation(), since: before[k].since}
		if old := before[k]; old.appUID != a.appUID || old.incarnation != a.incarnation {
			if a.since = now; phases[i] != argosyv1.ClaimPhase_CLAIM_PHASE_ASKING {
				continue
			}
		}
		a.vain = now.Sub(a.since) >= c.patience()
		if c.asking[k] = a; !a.vain {
			continue
		}
		c.stacks.Add(k.Replica.StackKey())
		_, known := c.unable[id]
		if c.unable[id] = now; !known {
			c.tellScheduler(id)
		}
	}
	for id, at := range c.unable {
		if have.Has(id) || now.Sub(at) >= unableLast {
			delete(c.unable, id)
			c.tellScheduler(id)
		}
	}
}

// asks says whether the machine that was granted a volume may be asking for its lease in vain. Between two grants to one incarnation it
// asks for nothing, and still has none.
func (c *Core) asks(now time.Time, k state.VolumeKey, v *argosyv1.Volume, phase argosyv1.ClaimPhase) bool {
	g := v.GetGrant()
	switch {
	case !isFor(g, c.st.Replica(k.Replica)), !answers(c.condition(g.GetMachine())):
		return false
	case phase == argosyv1.ClaimPhase_CLAIM_PHASE_ATTACHING || phase == argosyv1.ClaimPhase_CLAIM_PHASE_STOPPING:
		return false // it looks for the storage, or had the lease
	case !c.sights.Voting || c.mute(now) != "":
		return false // that is not the machine's fault
	}
	s := c.sight(now, claimID(k.Replica, k.Name))
	return s == nil || s.Gone != "" || string(s.Machine) == g.GetMachine() || s.Age >= c.profile().Wait // and not somebody else's
}

// leased tells whether a machine that is so far has a lease.
func leased(p argosyv1.ClaimPhase) bool {
	return p == argosyv1.ClaimPhase_CLAIM_PHASE_MOUNTING || p == argosyv1.ClaimPhase_CLAIM_PHASE_ARMED
}

// inVain says that a replica's machine has asked for a lease for too long, empty when it has not.
func (c *Core) inVain(r *argosyv1.Replica) string {
	k := state.KeyOf(r.GetKey())
	for _, v := range c.st.Volumes(k) {
		a, asks := c.asking[state.VolumeKey{Replica: k, Name: v.GetName()}]
		if !asks || !a.vain || a.appUID != r.GetAppUid() || a.incarnation != r.GetIncarnation() {
			continue
		}
		o, _ := c.claimSeen(v)
		if leased(o.GetPhase()) {
			continue // it just got it
		}
		why := fmt.Sprintf("%s has asked for the lease of volume %s for longer than %s, and no majority of the servers gives it, though they could",
			c.st.MachineName(r.GetMachine()), v.GetName(), claims.Tenths(c.patience()))
		if o.GetMessage() != "" {
			why += ": " + c.named(o.GetMessage())
		}
		return why
	}
	return ""
}

// leaseTrouble is why a machine's guard is given no leases to keep, empty when it is.
func (c *Core) leaseTrouble(id string, g *argosyv1.Guard) string {
	if text := guardTrouble(g); text != "" {
		return text
	}
	if c.hushed.Has(id) {
		return "neither its agent nor its guard is heard of"
	}
	if _, is := c.unable[id]; is {
		return "it asked for one in vain, and is not tried again for ten minutes"
	}
	return ""
}
