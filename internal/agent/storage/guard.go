package storage

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/agent/volume"
	"github.com/argosy-cluster/argosy/internal/lease"
	"github.com/argosy-cluster/argosy/internal/volumesource"
)

// id is the claim's name: TENANT/APP/STACK.NUMBER/VOLUME.
func (n named) id() string {
	return fmt.Sprintf("%s/%s/%s.%d/%s", n.Key.Tenant, n.Key.App, n.Key.Stack, n.Key.Number, n.Volume)
}

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

// due is what is to be told the guard now. Wants are told again until the guard is further than asking: it may have been busy with what
// an earlier token left.
func (k *Keeper) due(ctx context.Context, all *sync.WaitGroup) []*leasev1.GuardOrder {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.guard == nil {
		return nil // it first says who it is, and what it has
	}
	var list []*leasev1.GuardOrder
	if k.again && k.servers != nil {
		list = append(list, &leasev1.GuardOrder{Order: &leasev1.GuardOrder_Servers{Servers: k.servers}})
	}
	k.again = false
	now := time.Now()
	fresh := false
	for n, w := range k.wants {
		switch {
		case w.looking || now.Before(w.next):
		case !w.attached:
			w.looking = true
			all.Go(func() { k.attach(ctx, n, w) })
		default:
			list = append(list, wantTo(w.step))
			w.next = now.Add(tick)
			fresh = fresh || !k.sent[n]
			k.sent[n] = true
		}
	}
	if fresh {
		k.keep() // before anybody hears of it
	}
	for n, kind := range k.orders {
		about := &leasev1.Named{Claim: n.id(), Token: lease.StampTo(n.Token)}
		if kind == core.ReleaseClaim {
			list = append(list, &leasev1.GuardOrder{Order: &leasev1.GuardOrder_Release{Release: about}})
		} else {
			list = append(list, &leasev1.GuardOrder{Order: &leasev1.GuardOrder_Stopped{Stopped: about}})
		}
	}
	clear(k.orders)
	return list
}

// keep writes down what guards were told. k.mu is held.
func (k *Keeper) keep() {
	list := slices.SortedFunc(maps.Keys(k.sent), func(a, b named) int {
		return cmp.Or(a.Key.Compare(b.Key), cmp.Compare(a.Volume, b.Volume), a.Token.Compare(b.Token))
	})
	text, err := json.Marshal(list)
	if err == nil {
		err = k.cfg.Keep(keptClaims, string(text))
	}
	if err != nil {
		k.cfg.Log.Error("what the guard was told could not be kept", "err", err)
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
		c.Message, w.next = err.Error(), time.Now().Add(lookAgain)
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
		if s := m.GetClaim(); s != nil {
			if err := k.hear(s); err != nil {
				return err
			}
		}
		if g := m.GetGuard(); g != nil {
			k.met(g)
		}
	}
}

// met takes in how the guard is. The first such word on a connection ends the list of all that it knows.
func (k *Keeper) met(g *leasev1.GuardState) {
	k.mu.Lock()
	var changed []core.Key
	if k.guard == nil {
		forgotten := false
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
		if forgotten {
			k.keep()
		}
		changed = append(changed, k.keys()...)
	}
	k.guard, k.unguarded = g, ""
	k.mu.Unlock()
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
		c.Since = time.Now()
	}
	c.Phase, c.Message, c.Path, c.Slice, c.Group = phase, s.GetWhy(), s.GetPath(), s.GetSlice(), s.GetGroup()
	c.UUID, c.Size, c.Free = cmp.Or(s.GetUuid(), c.UUID), cmp.Or(s.GetSize(), c.Size), cmp.Or(s.GetFree(), c.Free)
	over := phase >= argosyv1.ClaimPhase_CLAIM_PHASE_OVER
	if phase > argosyv1.ClaimPhase_CLAIM_PHASE_ASKING {
		delete(k.wants, n)
	}
	if over != !k.sent[n] {
		if over {
			delete(k.sent, n)
		} else {
			k.sent[n] = true // an earlier agent told it
		}
		k.keep()
	}
	if over { // of each volume, the last that is over is enough
		for o, oc := range k.known {
			if o.Key == n.Key && o.Volume == n.Volume && o.Token.Less(n.Token) && oc.Phase >= argosyv1.ClaimPhase_CLAIM_PHASE_OVER {
				delete(k.known, o)
			}
		}
	}
	k.mu.Unlock()
	k.cfg.Changed(n.Key)
	return nil
}
