package core

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/volumesource"
)

// A machine that neither its agent nor its guard is heard of may be refused by the storage of a volume, where the manifest names a fence:
// then the next machine need not wait until the lease has run out. In this order, whoever leads and whenever that ends:
//
//	fence     the record that the machine is fenced is in the store
//	          the storage is told, again and again until it has confirmed it
//	          witnesses are told that it has, and the record says so
//	back      the machine is wanted there again, or the volume is to be forgotten; and it is connected, and has said that nothing is left of
//	          what it had
//	          the storage is told to take it back
//	          the record goes; only then the machine is granted the volume, or the volume is forgotten
//
// The storage is told by whoever asks Fencing what there is to do.
//
// A server that stands still while a program of it runs may have the storage refuse a machine, or take it back, long after another leads. So
// the record says who may do so, from before they begin until they have said that nothing is under way. While another server may have the
// machine taken back, a confirmation is not told to witnesses: the lease is waited for, as without a fence. And once no other can, the storage is
// told again what is to hold.

// fenceKey is a machine and a volume.
type fenceKey struct {
	volume  state.VolumeKey
	machine string
}

const (
	// beats is how many beats of an agent are missing at least before it is taken for silent though its session is open.
	beats = 2
	// fenceSettle is for how long a new leader has no storage take a machine back that another server may still have refused. A program of one that
	// runs has ended by then; after one that stands still, the storage is told again.
	fenceSettle = 15 * time.Second
)

// volumeSpec is how the manifest declares a volume that a replica has, nil when it does not.
func (c *Core) volumeSpec(k state.Key, name string) *argosyv1.VolumeSpec {
	spec, _ := c.st.StackOf(k.StackKey(), c.st.Replica(k).GetRevision())
	for _, s := range spec.GetVolumes() {
		if s.GetName() == name {
			return s
		}
	}
	return nil
}

// class is what protects a shared volume.
func (c *Core) class(v *argosyv1.Volume) claims.Class {
	if c.volumeSpec(state.KeyOf(v.GetReplica()), v.GetName()).GetFence() != "" {
		return claims.ClassFenced
	}
	return claimsClass(v.GetClass())
}

// quiet says whether a machine's agent says nothing: it has no session, or has missed beats for half a lease. A new leader waits as long for it.
func (c *Core) quiet(now time.Time, id string) bool {
	patience := c.profile().Lease / 2
	if now.Sub(c.since) < patience {
		return false
	}
	session, _ := c.disp.Connected(id)
	return !session || now.Sub(c.disp.LastHeard(id)) >= max(patience, beats*c.st.Settings().GetBeat().AsDuration())
}

// hush takes note of the machines whose volumes can go on elsewhere by their fence, and of whether any holder is overdue.
func (c *Core) hush(now time.Time, list []*argosyv1.Volume) {
	before, p := c.hushed, c.profile()
	c.hushed, c.late = state.Set[string]{}, false
	for _, v := range list {
		s := c.sight(now, claimID(state.KeyOf(v.GetReplica()), v.GetName()))
		if s == nil || s.Gone != "" || s.Age < 2*p.Renew {
			continue
		}
		c.late = c.late || s.Age < p.Wait
		if s.Age >= p.Lease/2 && c.class(v) == claims.ClassFenced && c.quiet(now, string(s.Machine)) {
			c.hushed.Add(string(s.Machine))
		}
	}
	for _, set := range []state.Set[string]{before, c.hushed} {
		for id := range set {
			if before.Has(id) != c.hushed.Has(id) {
				c.tellScheduler(id)
			}
		}
	}
}

// Late says that what the witness sees is awaited: the holder of a volume is overdue, and at the end of its lease, or before that
// where it has a fence, the volume is another's.
func (c *Core) Late() bool { return c.late }

// fencible says that a replica can go on elsewhere, as the storage of its volume can refuse the machine where it is; empty when not.
func (c *Core) fencible(now time.Time, r *argosyv1.Replica) string {
	id := r.GetMachine()
	if !c.hushed.Has(id) || !c.quiet(now, id) {
		return ""
	}
	k := state.KeyOf(r.GetKey())
	for _, v := range c.st.Volumes(k) {
		if !state.Shared(v) || c.class(v) != claims.ClassFenced || !isFor(v.GetGrant(), r) {
			continue
		}
		s := c.sight(now, claimID(k, v.GetName()))
		if s != nil && s.Gone == "" && string(s.Machine) == id && s.Token == tokenOf(v.GetGrant().GetToken()) && s.Age >= c.profile().Lease/2 {
			return fmt.Sprintf("%s is silent, and the storage of volume %s can refuse it", c.st.MachineName(id), v.GetName())
		}
	}
	return ""
}

// fenceOf is the record of a machine's fence, nil when there is none.
func fenceOf(v *argosyv1.Volume, machine string) *argosyv1.VolumeFence {
	for _, f := range v.GetFences() {
		if f.GetMachine() == machine {
			return f
		}
	}
	return nil
}

// fenceOn is what keeps a machine away, nil when nothing does.
func fenceOn(v *argosyv1.Volume, machine string) *argosyv1.VolumeFence {
	if f := fenceOf(v, machine); f.GetTakenBackAt() == nil {
		return f
	}
	return nil
}

// others are those of a list of servers that are not this one and in the cluster still.
func (c *Core) others(servers []string) []string {
	return slices.DeleteFunc(slices.Clone(servers), func(id string) bool { return id == c.cfg.Server || c.st.Server(id) == nil })
}

// barred are the machines that the storage of a volume refuses, or is told to.
func (c *Core) barred(k state.Key, v *argosyv1.Volume) []claims.Barred {
	var out []claims.Barred
	for _, f := range v.GetFences() {
		if f.GetTakenBackAt() != nil {
			continue
		}
		out = append(out, claims.Barred{Machine: claims.Machine(f.GetMachine()), Token: tokenOf(f.GetToken()), Confirmed: f.GetConfirmedAt() != nil,
			Clear: c.clear(k, v, f), Said: c.fenceSaid[fenceKey{state.VolumeKey{Replica: k, Name: v.GetName()}, f.GetMachine()}]})
	}
	return out
}

// clear says whether a machine that was fenced is there, and has said that nothing is left of what it had: it names no incarnation of the
// replica but the one that it is to run, and with that no claim from before.
func (c *Core) clear(k state.Key, v *argosyv1.Volume, f *argosyv1.VolumeFence) bool {
	list, ok := c.disp.Incarnations(f.GetMachine(), k)
	if session, _ := c.disp.Connected(f.GetMachine()); !ok || !session {
		return false
	}
	r := c.st.Replica(k)
	for _, i := range list {
		if r.GetMachine() != f.GetMachine() || i != incarnationOf(r, r.GetIncarnation()) {
			return false
		}
		o, _, _ := c.disp.Seen(f.GetMachine(), i)
		for _, cl := range o.GetClaims() {
			t := tokenOf(cl.GetToken())
			if cl.GetVolume() == v.GetName() && !t.IsZero() && !tokenOf(f.GetToken()).Less(t) && cl.GetPhase() < argosyv1.ClaimPhase_CLAIM_PHASE_OVER {
				return false
			}
		}
	}
	return true
}

// fence writes down that the storage is to refuse a machine, and forgets what it was told of machines that are no more.
func (s *stepping) fence(u *building, k state.Key, v, next *argosyv1.Volume, w claims.Wish, d claims.Decision) {
	c := s.c
	next.Fences = slices.DeleteFunc(next.Fences, func(f *argosyv1.VolumeFence) bool {
		gone := c.st.Machine(f.GetMachine()) == nil
		if gone {
			u.note(fenceNote(v, f.GetMachine(), "refused by its storage", "no longer in the cluster", "nobody has the storage take it back"))
		}
		return gone
	})
	id := string(d.Bar)
	spec := c.volumeSpec(k, v.GetName())
	if id == "" || c.st.Machine(id) == nil {
		return
	}
	f := &argosyv1.VolumeFence{Machine: id, Session: string(w.Seen.Session), Token: tokenTo(d.Above), Program: spec.GetFence(),
		Source: volumesource.For(sourceOf(spec), k.Number), At: timestamppb.New(s.now), Fencers: []string{c.cfg.Server}}
	if old := fenceOf(v, id); old != nil {
		// This server's own stay, too: what is under way here ends before the storage is told anything else, but another may lead by then.
		f.Backers = old.GetBackers()
		f.Fencers = append(slices.DeleteFunc(slices.Clone(old.GetFencers()), func(id string) bool { return id == c.cfg.Server }), c.cfg.Server)
	}
	if g := v.GetGrant(); g.GetMachine() == id {
		f.AppUid, f.Incarnation = g.GetAppUid(), g.GetIncarnation()
	}
	next.Fences = append(slices.DeleteFunc(next.Fences, func(f *argosyv1.VolumeFence) bool { return f.GetMachine() == id }), f)
	u.note(fenceNote(v, id, "held", "its storage is told to refuse "+c.st.MachineName(id),
		fmt.Sprintf("neither its agent nor its guard was heard of for %s, and it is wanted on %s", claims.Tenths(w.Seen.Age), c.st.MachineName(string(w.Wanted)))))
}

// fenceNote is what history says of a volume and a machine.
func fenceNote(v *argosyv1.Volume, machine, from, to, cause string) *argosyv1.Transition {
	k := v.GetReplica()
	return &argosyv1.Transition{Kind: argosyv1.TransitionKind_TRANSITION_KIND_SECURITY, Tenant: k.GetTenant(), App: k.GetApp(), Replica: k, Machine: machine,
		From: "volume " + v.GetName() + " " + from, To: "volume " + v.GetName() + ": " + to, Cause: cause}
}

// FenceWork is something to be said to a storage, or to witnesses about it.
type FenceWork struct {
	Key   state.VolumeKey
	Claim claims.ID
	Fence *argosyv1.VolumeFence
	Do    FenceDo
	// Name and Address are the machine's, as it is known last.
	Name, Address string
	// Others are servers that may still tell the storage something else about the machine.
	Others []string
}

// FenceDo is what there is to do.
type FenceDo int

// What there can be to do.
const (
	FenceNothing FenceDo = iota // but to ask others
	FenceRefuse                 // the storage is to refuse the machine
	FenceTell                   // witnesses are to know that it does
	FenceBack                   // the storage is to take the machine back
)

// Fencing lists what is to be done about storages that refuse machines.
func (v *View) Fencing() []FenceWork {
	var out []FenceWork
	c := v.core
	for _, vol := range c.st.FencedVolumes() {
		k := state.KeyOf(vol.GetReplica())
		w := c.wish(v.now, vol)
		back := string(c.decide(v.now, w, c.st.Replica(k), vol).Back)
		for _, f := range vol.GetFences() {
			m := c.st.Machine(f.GetMachine())
			work := FenceWork{Key: state.VolumeKey{Replica: k, Name: vol.GetName()}, Claim: w.Claim, Fence: f, Name: m.GetName(), Address: m.GetAddress(),
				Others: c.others(slices.Concat(f.GetFencers(), f.GetBackers()))}
			if work.Do = c.fenceDo(v.now, k, vol, f, back); work.Do != FenceNothing || len(work.Others) > 0 {
				out = append(out, work)
			}
		}
	}
	return out
}

// fenceDo is what is to be done about one machine, where back is the one that is to be taken back.
func (c *Core) fenceDo(now time.Time, k state.Key, vol *argosyv1.Volume, f *argosyv1.VolumeFence, back string) FenceDo {
	fencers, backers := len(c.others(f.GetFencers())) > 0, len(c.others(f.GetBackers())) > 0
	switch {
	case f.GetTakenBackAt() != nil && (fencers || backers):
		return FenceNothing
	case f.GetTakenBackAt() != nil:
		return FenceBack // the last word
	case f.GetMachine() == back && fencers && now.Sub(c.since) < fenceSettle:
		return FenceNothing
	case f.GetMachine() == back:
		return FenceBack
	case f.GetConfirmedAt() != nil && (backers || now.Sub(f.GetConfirmedAt().AsTime()) > c.profile().Wait):
		return FenceNothing // it may not last, or witnesses let go of it by themselves by now
	case f.GetConfirmedAt() != nil:
		return FenceTell
	case c.clear(k, vol, f):
		return FenceNothing // nothing is left there to be refused
	}
	return FenceRefuse
}

// FenceSaid takes in why a storage has not done what it was told, empty when it has. It is false when that was known.
func (c *Core) FenceSaid(k state.VolumeKey, machine, said string) bool {
	at := fenceKey{k, machine}
	if c.fenceSaid[at] == said {
		return false
	}
	if c.fenceSaid[at] = said; said == "" {
		delete(c.fenceSaid, at)
	}
	c.change.Replicas.Add(k.Replica)
	return true
}

// FenceBegun is a volume's record in which it stands that a server may have its storage do something, nil when it does already; ok is false when the
// record is another by now, so that there is nothing to do.
func FenceBegun(vol *argosyv1.Volume, w FenceWork, server string) (next *argosyv1.Volume, ok bool) {
	next, f := fenceIn(vol, w)
	if f == nil {
		return nil, false
	}
	list := &f.Fencers
	if w.Do == FenceBack {
		list = &f.Backers
	}
	if slices.Contains(*list, server) {
		return nil, true
	}
	*list = append(*list, server)
	return next, true
}

// FenceDone is a volume's record once the storage has done for a server what it was told about a machine, with what history says of it; nil when the
// record is another by now.
func FenceDone(now time.Time, vol *argosyv1.Volume, w FenceWork, server string) (*argosyv1.Volume, *argosyv1.Transition) {
	next, f := fenceIn(vol, w)
	switch {
	case f == nil:
		return nil, nil
	case w.Do == FenceRefuse && f.GetConfirmedAt() == nil:
		f.ConfirmedAt = timestamppb.New(now)
		return next, fenceNote(vol, f.GetMachine(), "held", "its storage refuses "+w.Name, f.GetProgram()+" fence has confirmed it")
	case w.Do != FenceBack:
		return nil, nil
	}
	without := func(list []string) []string {
		return slices.DeleteFunc(list, func(id string) bool { return id == server })
	}
	f.Fencers, f.Backers = without(f.Fencers), without(f.Backers) // its own have ended, one after the other
	note := fenceNote(vol, f.GetMachine(), "refused by its storage", "its storage takes "+w.Name+" back", f.GetProgram()+" allow has confirmed it; nothing was left there of what it had")
	if f.GetTakenBackAt() != nil {
		note = nil
	}
	if len(w.Others) == 0 {
		next.Fences = slices.DeleteFunc(next.Fences, func(other *argosyv1.VolumeFence) bool { return other == f })
		return next, note
	}
	if f.ConfirmedAt = nil; f.TakenBackAt == nil {
		f.TakenBackAt = timestamppb.New(now)
	}
	return next, note
}

// FenceSettled is a volume's record once another server has said that nothing of it is under way; nil when the record is another by now. What
// the storage confirmed before, it may have undone for that server.
func FenceSettled(vol *argosyv1.Volume, w FenceWork, server string) *argosyv1.Volume {
	next, f := fenceIn(vol, w)
	if f == nil {
		return nil
	}
	if slices.Contains(f.Backers, server) && f.TakenBackAt == nil {
		f.ConfirmedAt = nil
	}
	without := func(list []string) []string {
		return slices.DeleteFunc(list, func(id string) bool { return id == server })
	}
	f.Fencers, f.Backers = without(f.Fencers), without(f.Backers)
	return next
}

// fenceIn is a copy of a volume's record, and in it the fence that work is about; nil when that is another by now.
func fenceIn(vol *argosyv1.Volume, w FenceWork) (*argosyv1.Volume, *argosyv1.VolumeFence) {
	next := proto.CloneOf(vol)
	f := fenceOf(next, w.Fence.GetMachine())
	if f == nil || !proto.Equal(f.GetToken(), w.Fence.GetToken()) || !proto.Equal(f.GetAt(), w.Fence.GetAt()) || (f.GetTakenBackAt() == nil) != (w.Fence.GetTakenBackAt() == nil) {
		return nil, nil
	}
	return next, f
}

// FenceFailed is what history says of a storage that has not done what it was told.
func FenceFailed(vol *argosyv1.Volume, w FenceWork, why string) *argosyv1.Transition {
	what := "refuses "
	if w.Do == FenceBack {
		what = "takes back "
	}
	return fenceNote(vol, w.Fence.GetMachine(), "held", "its storage has not confirmed that it "+what+w.Name, why)
}

// fenced says how the machines stand that a volume's storage refuses.
func (v *View) fenced(k state.Key, vol *argosyv1.Volume) []*argosyv1.FencedMachine {
	var out []*argosyv1.FencedMachine
	c := v.core
	for _, f := range vol.GetFences() {
		m := &argosyv1.FencedMachine{Machine: v.MachineName(f.GetMachine()), At: f.GetAt(), ConfirmedAt: f.GetConfirmedAt()}
		said := c.fenceSaid[fenceKey{state.VolumeKey{Replica: k, Name: vol.GetName()}, f.GetMachine()}]
		backers := c.serverNames(c.others(f.GetBackers()))
		switch {
		case said != "":
			m.Message = said
		case f.GetTakenBackAt() != nil:
			m.Message = "the storage has taken it back, and is told so again once nothing is under way on " + c.serverNames(c.others(slices.Concat(f.GetFencers(), f.GetBackers())))
		case f.GetConfirmedAt() != nil && backers != "":
			m.Message = "the storage refuses it, unless a program of " + backers + " has it taken back yet: the lease is waited for"
		case f.GetConfirmedAt() != nil && c.forgets(k):
			m.Message = "the storage refuses it, until nothing is left there of what it had"
		case f.GetConfirmedAt() != nil:
			m.Message = "the storage refuses it, until it is wanted there again"
		case c.clear(k, vol, f):
			m.Message = "nothing is left there of what it had, so the storage is told no more"
		default:
			m.Message = "the storage is told to refuse it"
		}
		out = append(out, m)
	}
	return out
}

// serverNames lists servers by their names, each once.
func (c *Core) serverNames(ids []string) string {
	slices.Sort(ids)
	var names []string
	for _, id := range slices.Compact(ids) {
		names = append(names, c.nameOf(id))
	}
	return strings.Join(names, ", ")
}
