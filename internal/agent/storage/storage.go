package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/agent/volume"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/lease"
)

// Config of a Keeper.
type Config struct {
	// Socket is the guard's.
	Socket string
	// Device and Mount look for storage; nothing is mounted here.
	Device, Mount volume.Driver
	// Value and Keep are the agent's database.
	Value func(name string) (string, error)
	Keep  func(name, value string) error
	// Changed is told that something about a replica's claims is different. It may ask for them at once.
	Changed func(core.Key)
	// Report is told what the machine reaches and who guards it, whenever that changes.
	Report func(*argosyv1.StorageReport)
	// Reached lists what manifests may call the devices here, and types that mount(8) can mount.
	Reached func() (devices, mounts []string)
	// Stamp is another one once Reached may be; nil where that is not known.
	Stamp func() string
	Log   *slog.Logger
	// Now is time.Now, unless somebody lives in another time.
	Now func() time.Time
}

// Keeper keeps a machine's claims. Its methods may be called at any time.
type Keeper struct {
	cfg  Config
	wake chan struct{}

	keeping sync.Mutex // taken before mu, while claims are written down

	mu        sync.Mutex
	unguarded string
	unkept    string              // why what the guard is to be told cannot be written down; empty when it can
	guard     *leasev1.GuardState // nil while none answers
	servers   *leasev1.LeaseServers
	known     map[named]*core.Claim
	wants     map[named]*want
	orders    map[named]core.ClaimStepKind // to be sent
	heard     map[named]bool               // on this connection
	sent      map[named]bool               // told to a guard, and not known to be over
	again     bool                         // servers are to be sent
	reached   []uint64
	mounts    []string
	reported  *argosyv1.StorageReport
}

// named is a claim with a token. It is kept as JSON.
type named struct {
	Key    core.Key
	Volume string
	Token  claims.Token
}

// want is what is to be asked of the guard once the storage was found.
type want struct {
	step     core.ClaimStep
	looking  bool
	attached bool
	next     time.Time
}

// Names of values in the database.
const (
	keptClaims  = "claims"
	keptServers = "lease-servers"
)

const (
	tick        = time.Second // what is asked for is asked for again
	lookAgain   = 5 * time.Second
	reachEvery  = time.Minute
	socketTime  = 5 * time.Second
	mostDevices = 4096
	mostMounts  = 64
)

// New makes a Keeper that knows what an earlier one kept.
func New(cfg Config) (*Keeper, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	k := &Keeper{cfg: cfg, wake: make(chan struct{}, 1), unguarded: "it was not asked yet", known: map[named]*core.Claim{}, wants: map[named]*want{},
		orders: map[named]core.ClaimStepKind{}, sent: map[named]bool{}, heard: map[named]bool{}}
	text, err := cfg.Value(keptClaims)
	if err != nil {
		return nil, err
	}
	var list []named
	if text != "" {
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			return nil, fmt.Errorf("the claims that an earlier agent kept: %w", err)
		}
	}
	for _, n := range list {
		k.sent[n] = true
		k.known[n] = &core.Claim{Key: n.Key, Volume: n.Volume, Token: n.Token, Phase: argosyv1.ClaimPhase_CLAIM_PHASE_ATTACHING,
			Message: "the guard has not said yet how far it is"}
	}
	if text, err = cfg.Value(keptServers); err != nil {
		return nil, err
	}
	if text != "" {
		m := &leasev1.LeaseServers{}
		if err := proto.Unmarshal([]byte(text), m); err != nil {
			return nil, fmt.Errorf("the servers that an earlier agent kept: %w", err)
		}
		k.servers = m
	}
	return k, nil
}

// Claims returns what is known of a replica's claims, and why there is no guard, empty when there is one.
func (k *Keeper) Claims(key core.Key) ([]core.Claim, string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []core.Claim
	for n, c := range k.known {
		if n.Key == key {
			list = append(list, *c)
		}
	}
	return list, k.unguarded
}

// Keys names the replicas of which claims are known.
func (k *Keeper) Keys() []core.Key {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.keys()
}

func (k *Keeper) keys() []core.Key {
	seen := map[core.Key]bool{}
	var list []core.Key
	for n := range k.known {
		if !seen[n.Key] {
			seen[n.Key] = true
			list = append(list, n.Key)
		}
	}
	return list
}

// Do takes in what the guard is to be told.
func (k *Keeper) Do(s core.ClaimStep) {
	n := named{s.Key, s.Volume, s.Token}
	k.mu.Lock()
	changed := false
	switch s.Kind {
	case core.WantClaim:
		if k.wants[n] == nil {
			k.wants[n] = &want{step: s}
			k.known[n] = &core.Claim{Key: s.Key, Volume: s.Volume, Token: s.Token, Phase: argosyv1.ClaimPhase_CLAIM_PHASE_ATTACHING, Since: k.cfg.Now()}
			changed = true
		}
	case core.ReleaseClaim:
		delete(k.wants, n)
		if !k.sent[n] { // no guard ever heard of it
			delete(k.known, n)
			changed = true
			break
		}
		k.orders[n] = s.Kind
	case core.ClaimStopped:
		k.orders[n] = s.Kind
	}
	k.mu.Unlock()
	if changed {
		k.cfg.Changed(s.Key)
	}
	k.kick()
}

// Servers takes in whom the guard asks for leases, and keeps it.
func (k *Keeper) Servers(m *argosyv1.LeaseServers) error {
	out := &leasev1.LeaseServers{Profile: m.GetProfile(), Config: &leasev1.Config{Epoch: lease.StampTo(core.TokenOf(m.GetEpoch())), Members: m.GetMembers(), Next: m.GetNext()}}
	for _, s := range m.GetServers() {
		out.Servers = append(out.Servers, &leasev1.LeaseServer{Id: s.GetId(), Address: s.GetAddress(), Key: s.GetKey()})
	}
	if err := lease.ConfigFrom(out.Config).Validate(); err != nil {
		return err
	}
	text, err := proto.Marshal(out)
	if err != nil {
		return err
	}
	k.mu.Lock()
	k.servers, k.again = out, true
	k.mu.Unlock()
	k.kick()
	return k.cfg.Keep(keptServers, string(text))
}

func (k *Keeper) kick() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Run speaks to the guard until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { k.look(ctx) })
	for ctx.Err() == nil {
		err := k.converse(ctx)
		if ctx.Err() != nil {
			return
		}
		k.Lost(fmt.Sprintf("it does not answer (%v); start it on this machine with: systemctl start argosy-guard", err))
		select {
		case <-ctx.Done():
		case <-time.After(tick):
		}
	}
}

// Lost notes that no guard answers.
func (k *Keeper) Lost(why string) {
	k.mu.Lock()
	changed := k.unguarded != why
	k.unguarded, k.guard = why, nil
	keys := k.keys()
	k.mu.Unlock()
	if !changed {
		return
	}
	k.cfg.Log.Warn("shared volumes have no guard", "because", why)
	for _, key := range keys {
		k.cfg.Changed(key)
	}
	k.report()
}

// Met begins to speak to a guard: it is told everything again, and what it does not name is not here.
func (k *Keeper) Met() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.again = true
	clear(k.heard)
}

// converse speaks to one guard for as long as it is there.
func (k *Keeper) converse(ctx context.Context) error {
	d := net.Dialer{Timeout: socketTime}
	c, err := d.DialContext(ctx, "unix", k.cfg.Socket)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer c.Close()
	defer cancel(nil)
	if err := lease.SameUser(c); err != nil {
		return err
	}
	k.Met()
	all.Go(func() { cancel(k.listen(c)) })
	beat := time.NewTicker(tick)
	defer beat.Stop()
	for {
		for _, o := range k.Orders(ctx, all.Go) {
			if err := errors.Join(c.SetWriteDeadline(time.Now().Add(socketTime)), lease.Write(c, o)); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-k.wake:
		case <-beat.C:
		}
	}
}
