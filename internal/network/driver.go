package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
)

// Driver connects the containers of a cluster's machines.
type Driver interface {
	// Apply makes this machine reach exactly these peers' containers. It looks
	// at what is there and changes only what differs, so that repeating it is
	// cheap, repairs what others broke, and disturbs no traffic. A peer that
	// cannot be used is named in the error and keeps no other from being
	// reached.
	Apply(ctx context.Context, cfg Config, peers []Peer) error

	// Teardown removes everything that Apply has made. It is not an error if
	// there is nothing.
	Teardown(ctx context.Context, cfg Config) error
}

// VXLAN is the Driver that needs nothing but a Linux kernel. Its zero value is
// ready; it may be used by several goroutines, which take turns.
type VXLAN struct {
	Log   *slog.Logger // nil: silent
	Trace func(Step)   // nil, or called with each step before it is taken

	mu    sync.Mutex
	rules packetRules
}

var _ Driver = (*VXLAN)(nil)

// Apply implements [Driver].
func (v *VXLAN) Apply(ctx context.Context, cfg Config, peers []Peer) error {
	v.mu.Lock()
	defer v.mu.Unlock()

	cfg, err := Complete(cfg)
	if err != nil {
		return err
	}
	peers, screened := cfg.Screen(peers)
	seen, err := v.look(ctx, cfg)
	if err != nil {
		return errors.Join(screened, err)
	}
	return errors.Join(screened, v.act(ctx, cfg, Decide(cfg, peers, seen)))
}

// Plan returns the steps that Apply would take now, and why peers are left out.
func (v *VXLAN) Plan(ctx context.Context, cfg Config, peers []Peer) ([]Step, error) {
	v.mu.Lock()
	defer v.mu.Unlock()

	cfg, err := Complete(cfg)
	if err != nil {
		return nil, err
	}
	peers, screened := cfg.Screen(peers)
	seen, err := v.look(ctx, cfg)
	if err != nil {
		return nil, errors.Join(screened, err)
	}
	return Decide(cfg, peers, seen), screened
}

// Teardown implements [Driver]. Only the configuration's names are used, so it
// also works on a machine that has lost its underlay address.
func (v *VXLAN) Teardown(ctx context.Context, cfg Config) error {
	v.mu.Lock()
	defer v.mu.Unlock()

	cfg = cfg.WithDefaults()
	if !validDeviceName(cfg.DeviceName) {
		return fmt.Errorf("%q cannot name a network device", cfg.DeviceName)
	}
	// Routes, neighbours and forwarding entries go with the device. The table
	// is last: until the device is gone it keeps strangers out of it.
	return errors.Join(v.removeAccepts(ctx), deleteDevice(cfg.DeviceName), v.rules.filter.remove(ctx))
}

func (v *VXLAN) look(ctx context.Context, cfg Config) (Seen, error) {
	seen, err := lookLinks(cfg)
	if err != nil {
		return Seen{}, err
	}
	if err := v.rules.look(ctx); err != nil {
		return Seen{}, err
	}
	seen.Rules, seen.Members, seen.Docker = v.rules.rules, v.rules.members, v.rules.docker
	seen.Sysctls = readSysctls(cfg)
	return seen, nil
}

// act takes the steps in order. A failed step about one peer does not keep the
// others from being taken; a failure to have rules or a device at all does,
// because nothing after it can succeed or be safe.
func (v *VXLAN) act(ctx context.Context, cfg Config, steps []Step) error {
	links, err := openLinks(cfg)
	if err != nil {
		return err
	}
	defer links.close()

	var errs []error
	for i := 0; i < len(steps); {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, fmt.Errorf("network: stopped with %d of %d steps left: %w", len(steps)-i, len(steps), err))...)
		}
		n := batch(steps[i:])
		for _, s := range steps[i : i+n] {
			v.note(s)
		}
		err := v.take(ctx, links, steps[i:i+n])
		if err != nil {
			errs = append(errs, fmt.Errorf("network: %s: %w", steps[i], err))
			if essential(steps[i].Op) {
				break
			}
		}
		i += n
	}
	return errors.Join(errs...)
}

// batch returns how many of the first steps go to the kernel together: changes
// of the member set do, because each transaction costs a process.
func batch(steps []Step) int {
	isMember := func(s Step) bool { return s.Op == OpAddMember || s.Op == OpDeleteMember }
	n := 1
	for isMember(steps[0]) && n < len(steps) && isMember(steps[n]) {
		n++
	}
	return n
}

func essential(op Op) bool {
	switch op {
	case OpInstallRules, OpDeleteDevice, OpCreateDevice, OpSetUp:
		return true
	}
	return false
}

func (v *VXLAN) note(s Step) {
	if v.Trace != nil {
		v.Trace(s)
	}
	if v.Log != nil {
		v.Log.Debug("network step", "step", s.String())
	}
}

func (v *VXLAN) take(ctx context.Context, links *links, steps []Step) error {
	s := steps[0]
	switch s.Op {
	case OpInstallRules:
		return v.rules.filter.install(ctx, s.Rules, s.Members)
	case OpAddMember, OpDeleteMember:
		return v.rules.filter.members(ctx, steps)
	case OpSetSysctl:
		return writeSysctl(s.Key, s.Value, s.Optional)
	case OpInsertAccept, OpDeleteAccept:
		return changeAccept(ctx, s)
	default:
		return links.take(s)
	}
}

// Complete fills in what only the machine knows: the underlay device that holds
// the underlay address and the MTU it allows. The result is valid.
func Complete(cfg Config) (Config, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return Config{}, fmt.Errorf("network: %w", err)
	}
	name, mtu, err := underlay(cfg.Self.Underlay, cfg.Underlay)
	if err != nil {
		return Config{}, fmt.Errorf("network: %w", err)
	}
	cfg.Underlay = name
	if cfg.MTU == 0 {
		cfg.MTU = min(mtu-Overhead, maxMTU)
		if cfg.MTU < minMTU {
			return Config{}, fmt.Errorf("network: device %s has an MTU of %d, which leaves only %d for containers; at least %d are needed", name, mtu, cfg.MTU, minMTU+Overhead)
		}
	}
	return cfg, nil
}
