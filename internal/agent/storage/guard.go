package storage

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/agent/volume"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/lease"
	"github.com/argosy-cluster/argosy/internal/volumesource"
)

// id is the claim's name: TENANT/APP/STACK.NUMBER/VOLUME.
func (n named) id() string {
	return string(claims.IDOf(n.Key.Tenant, n.Key.App, n.Key.Stack, n.Key.Number, n.Volume))
}

func (n named) compare(o named) int {
	return cmp.Or(n.Key.Compare(o.Key), cmp.Compare(n.Volume, o.Volume), n.Token.Compare(o.Token))
}

func inOrder(of iter.Seq[named]) []named { return slices.SortedFunc(of, named.compare) }

// nameOf is the reverse, for a claim that a guard names.
func nameOf(id string, t *leasev1.Stamp) (named, error) {
	p := strings.Split(id, "/")
	if len(p) != 4 {
		return named{}, fmt.Errorf("%.60q is no claim", id)
	}
	dot := strings.LastIndexByte(p[2], '.')
	if dot < 0 {
		return named{}, fmt.Errorf("%.60q is no claim", id)
	}
	number, err := strconv.ParseUint(p[2][dot+1:], 10, 32)
	if err != nil {
		return named{}, fmt.Errorf("%.60q is no claim", id)
	}
	return named{core.Key{Tenant: p[0], App: p[1], Stack: p[2][:dot], Number: uint32(number)}, p[3], lease.StampFrom(t)}, nil
}

// volumeOf says where the volume of a claim is.
func volumeOf(s core.ClaimStep) volume.Volume {
	n := named{s.Key, s.Volume, s.Token}
	v := volume.Volume{Name: n.id(), UUID: s.UUID}
	if d := s.Spec.GetDevice(); d != nil {
		v.Device = &volume.Device{Source: volumesource.For(d.GetDevice(), s.Key.Number), Create: d.GetCreateIfEmpty(), Options: d.GetOptions()}
	}
	if m := s.Spec.GetMount(); m != nil {
		v.Mount = &volume.Mount{Type: m.GetType(), Source: volumesource.For(m.GetSource(), s.Key.Number), Options: m.GetOptions()}
	}
	return v
}

func wantTo(s core.ClaimStep) *leasev1.GuardOrder {
	v := volumeOf(s)
	w := &leasev1.Want{Claim: v.Name, Token: lease.StampTo(s.Token), Uuid: v.UUID}
	switch {
	case v.Device != nil:
		w.Where = &leasev1.Want_Device{Device: &leasev1.Device{Source: v.Device.Source, Create: v.Device.Create, Options: v.Device.Options}}
	case v.Mount != nil:
		w.Where = &leasev1.Want_Mounted{Mounted: &leasev1.Mounted{Type: v.Mount.Type, Source: v.Mount.Source, Options: v.Mount.Options}}
	}
	return &leasev1.GuardOrder{Order: &leasev1.GuardOrder_Want{Want: w}}
}

// Orders are what is to be told the guard now, in the order of claims. Storage is looked for by what is given to begin, which
// does not wait. Wants are told again until the guard is further than asking: it may have been busy with what an earlier token
// left. One that cannot be written down is not told, but tried again.
func (k *Keeper) Orders(ctx context.Context, begin func(func())) []*leasev1.GuardOrder {
	k.mu.Lock()
	guarded := k.guard != nil
	k.mu.Unlock()
	if !guarded {
		return nil // it first says who it is, and what it has
	}
	list, fresh := k.asked(ctx, begin)
	k.keeping.Lock()
	defer k.keeping.Unlock()
	if len(fresh) > 0 && !k.write(fresh) {
		k.waits(fresh)
		fresh = nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, n := range fresh {
		if w := k.wants[n]; w != nil { // nobody took it back meanwhile
			k.sent[n] = true
			list = append(list, wantTo(w.step))
		}
	}
	for _, n := range inOrder(maps.Keys(k.orders)) {
		kind, about := k.orders[n], &leasev1.Named{Claim: n.id(), Token: lease.StampTo(n.Token)}
		if kind == core.ReleaseClaim {
			list = append(list, &leasev1.GuardOrder{Order: &leasev1.GuardOrder_Release{Release: about}})
		} else {
			list = append(list, &leasev1.GuardOrder{Order: &leasev1.GuardOrder_Stopped{Stopped: about}})
		}
	}
	clear(k.orders)
	return list
}

// asked is what the guard is to be asked for now; fresh are the claims that no guard was asked for yet.
func (k *Keeper) asked(ctx context.Context, begin func(func())) (list []*leasev1.GuardOrder, fresh []named) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.again && k.servers != nil {
		list = append(list, &leasev1.GuardOrder{Order: &leasev1.GuardOrder_Servers{Servers: k.servers}})
	}
	k.again = false
	now := k.cfg.Now()
	for _, n := range inOrder(maps.Keys(k.wants)) {
		switch w := k.wants[n]; {
		case w.looking || now.Before(w.next):
			continue
		case !w.attached:
			w.looking = true
			begin(func() { k.attach(ctx, n, w) })
			continue
		case k.sent[n]:
			list = append(list, wantTo(w.step))
		default:
			fresh = append(fresh, n)
		}
		k.wants[n].next = now.Add(tick)
	}
	return list, fresh
}

// keep writes down what guards were told.
func (k *Keeper) keep() {
	k.keeping.Lock()
	defer k.keeping.Unlock()
	k.write(nil)
}

// write writes down what guards were told and what is about to be, and says whether it could. k.keeping is held, and k.mu is not: nobody
// who asks for claims waits for a disk.
func (k *Keeper) write(more []named) bool {
	k.mu.Lock()
	list := slices.AppendSeq(slices.Clone(more), maps.Keys(k.sent))
	k.mu.Unlock()
	slices.SortFunc(list, named.compare)
	text, err := json.Marshal(slices.Compact(list))
	if err == nil {
		err = k.cfg.Keep(keptClaims, string(text))
	}
	why := ""
	if err != nil {
		why = fmt.Sprintf("the agent cannot write down what it asks the guard for, so no claim begins here (%v): make room for its database, or mend the disk below it", err)
	}
	k.mu.Lock()
	news := k.unkept != why
	k.unkept = why
	k.mu.Unlock()
	if news {
		k.report()
	}
	return err == nil
}

// waits has claims say that they wait for the agent's database.
func (k *Keeper) waits(fresh []named) {
	k.mu.Lock()
	var changed []core.Key
	for _, n := range fresh {
		if c := k.known[n]; c != nil && c.Message != k.unkept {
			c.Message = k.unkept
			changed = append(changed, n.Key)
		}
	}
	k.mu.Unlock()
	for _, key := range changed {
		k.cfg.Changed(key)
	}
}

// attach looks for the storage of a claim.
func (k *Keeper) attach(ctx context.Context, n named, w *want) {
	v := volumeOf(w.step)
	driver := k.cfg.Device
	if v.Mount != nil {
		driver = k.cfg.Mount
	}
	var at volume.Attached
	err := volume.CheckName(v.Name)
	switch {
	case err != nil:
	case v.Device == nil && v.Mount == nil:
		err = fmt.Errorf("this agent does not know what kind of volume %s is; upgrade the agent", n.Volume)
	default:
		at, err = driver.Attach(ctx, v)
	}
	k.mu.Lock()
	w.looking = false
	c := k.known[n]
	if k.wants[n] != w || c == nil {
		k.mu.Unlock()
		return // it is wanted no more
	}
	if err != nil {
		c.Message, w.next = err.Error(), k.cfg.Now().Add(lookAgain)
	} else {
		w.attached, w.next = true, time.Time{}
		c.Message, c.At, c.Class = "", at.At, argosyv1.VolumeClass_VOLUME_CLASS_TIMED
		if at.Detects {
			c.Class = argosyv1.VolumeClass_VOLUME_CLASS_TIMED_DETECTED
		}
	}
	k.mu.Unlock()
	k.cfg.Changed(n.Key)
	k.kick()
}

// listen takes in what a guard says.
func (k *Keeper) listen(c net.Conn) error {
	for {
		m := &leasev1.GuardReport{}
		if err := lease.Read(c, m); err != nil {
			return err
		}
		if err := k.Hear(m); err != nil {
			return err
		}
	}
}

// Hear takes in a guard's word.
func (k *Keeper) Hear(m *leasev1.GuardReport) error {
	if s := m.GetClaim(); s != nil {
		if err := k.hear(s); err != nil {
			return err
		}
	}
	if g := m.GetGuard(); g != nil {
		k.met(g)
	}
	return nil
}

// met takes in how the guard is. The first such word on a connection ends the list of all that it knows.
func (k *Keeper) met(g *leasev1.GuardState) {
	k.mu.Lock()
	var changed []core.Key
	forgotten := false
	if k.guard == nil {
		for n, c := range k.known {
			if !k.heard[n] && k.sent[n] {
				// Its machine booted since, or the guard never got to hear of it: nothing of it is here.
				delete(k.known, n)
				delete(k.sent, n)
				delete(k.wants, n)
				forgotten = true
				changed = append(changed, c.Key)
			}
		}
		changed = append(changed, k.keys()...)
	}
	k.guard, k.unguarded = g, ""
	k.mu.Unlock()
	if forgotten {
		k.keep()
	}
	for _, key := range changed {
		k.cfg.Changed(key)
	}
	k.cfg.Changed(core.Key{}) // whoever waits for a guard
	k.report()
	k.kick()
}

var phases = map[leasev1.Phase]argosyv1.ClaimPhase{
	leasev1.Phase_PHASE_ASKING: argosyv1.ClaimPhase_CLAIM_PHASE_ASKING, leasev1.Phase_PHASE_MOUNTING: argosyv1.ClaimPhase_CLAIM_PHASE_MOUNTING,
	leasev1.Phase_PHASE_ARMED: argosyv1.ClaimPhase_CLAIM_PHASE_ARMED, leasev1.Phase_PHASE_STOPPING: argosyv1.ClaimPhase_CLAIM_PHASE_STOPPING,
	leasev1.Phase_PHASE_CLEARING: argosyv1.ClaimPhase_CLAIM_PHASE_CLEARING, leasev1.Phase_PHASE_SEALING: argosyv1.ClaimPhase_CLAIM_PHASE_SEALING,
	leasev1.Phase_PHASE_SEALED: argosyv1.ClaimPhase_CLAIM_PHASE_OVER, leasev1.Phase_PHASE_REFUSED: argosyv1.ClaimPhase_CLAIM_PHASE_REFUSED,
}

// hear takes in how a claim is.
func (k *Keeper) hear(s *leasev1.ClaimState) error {
	n, err := nameOf(s.GetClaim(), s.GetToken())
	if err != nil {
		return fmt.Errorf("the guard says what makes no sense: %w", err)
	}
	phase, known := phases[s.GetPhase()]
	if !known {
		return fmt.Errorf("the guard says phase %d, which this agent does not know: upgrade the agent", s.GetPhase())
	}
	k.mu.Lock()
	k.heard[n] = true
	c := k.known[n]
	if c == nil {
		c = &core.Claim{Key: n.Key, Volume: n.Volume, Token: n.Token}
		k.known[n] = c
	}
	if c.Phase != phase {
		c.Since = k.cfg.Now()
	}
	c.Phase, c.Message, c.Path, c.Slice, c.Group = phase, s.GetWhy(), s.GetPath(), s.GetSlice(), s.GetGroup()
	c.UUID, c.Size, c.Free = cmp.Or(s.GetUuid(), c.UUID), cmp.Or(s.GetSize(), c.Size), cmp.Or(s.GetFree(), c.Free)
	over := phase >= argosyv1.ClaimPhase_CLAIM_PHASE_OVER
	if phase > argosyv1.ClaimPhase_CLAIM_PHASE_ASKING {
		delete(k.wants, n)
	}
	changed := over == k.sent[n]
	if !over {
		k.sent[n] = true // an earlier agent told it, where it is not known
	} else { // of each volume, the last that is over is enough
		delete(k.sent, n)
		for o, oc := range k.known {
			if o.Key == n.Key && o.Volume == n.Volume && o.Token.Less(n.Token) && oc.Phase >= argosyv1.ClaimPhase_CLAIM_PHASE_OVER {
				delete(k.known, o)
			}
		}
	}
	k.mu.Unlock()
	if changed {
		k.keep()
	}
	k.cfg.Changed(n.Key)
	return nil
}
