package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	"github.com/argosy-cluster/argosy/internal/agent/host"
	"github.com/argosy-cluster/argosy/internal/agent/volume/device"
	"github.com/argosy-cluster/argosy/internal/agent/volume/mount"
	"github.com/argosy-cluster/argosy/internal/claims"
	step "github.com/argosy-cluster/argosy/internal/claims/guard"
	"github.com/argosy-cluster/argosy/internal/guard"
	"github.com/argosy-cluster/argosy/internal/guard/kernel"
	"github.com/argosy-cluster/argosy/internal/guard/machine"
	"github.com/argosy-cluster/argosy/internal/guard/port"
	"github.com/argosy-cluster/argosy/internal/guard/slice"
	"github.com/argosy-cluster/argosy/internal/lease"
	"github.com/argosy-cluster/argosy/internal/version"
)

// process is a guard and what it stands on.
type process struct {
	o       options
	log     *slog.Logger
	boot    string
	id      *lease.Identity
	groups  *slice.Groups
	dog     *kernel.Watchdog // nil where there is none
	trouble []string
	socket  net.Listener

	// kept is what the agent said of the servers last, for the guard that follows where the timing changes.
	mu   sync.Mutex
	kept *leasev1.LeaseServers
	// again ends a life of the guard, so that the next begins with another timing.
	again context.CancelFunc
}

func serve(ctx context.Context, o options, log *slog.Logger) error {
	// A guard is idle nearly always; what it takes beyond its few megabytes is garbage.
	debug.SetGCPercent(25)
	debug.SetMemoryLimit(16 << 20)
	p := &process{o: o, log: log}
	if err := errors.Join(os.MkdirAll(o.dir, 0o700), os.MkdirAll(o.state, 0o711)); err != nil {
		return err
	}
	var err error
	if p.boot, err = host.Root("/").BootID(); err != nil {
		return err
	}
	if p.id, err = lease.LoadIdentity(filepath.Join(o.dir, "key")); err != nil {
		return err
	}
	if p.groups, err = slice.Find(o.family); err != nil {
		return err
	}
	p.say(kernel.Settle())
	p.dog, err = kernel.FindWatchdog(o.watchdog, filepath.Join(o.state, "watchdog"))
	p.say(err)
	if p.socket, err = lease.Listen(filepath.Join(o.state, "guard.sock")); err != nil {
		return err
	}
	defer p.socket.Close()
	p.remember()
	for ctx.Err() == nil {
		if err := p.live(ctx); err != nil {
			return err
		}
	}
	return nil
}

// say notes what cannot be done, which the agent shows.
func (p *process) say(err error) {
	if err != nil {
		p.trouble = append(p.trouble, strings.ReplaceAll(err.Error(), "\n", "; "))
		p.log.Warn(err.Error())
	}
}

// profile is the cluster's timing, as it was told last. It is kept beside the key: a guard that starts must not wait for an agent.
func (p *process) profile() (claims.Profile, error) {
	text, err := os.ReadFile(p.timingPath())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return claims.Profile{}, err
	}
	return claims.Named(strings.TrimSpace(string(text)))
}

func (p *process) timingPath() string { return filepath.Join(p.o.dir, "timing") }

func (p *process) serversPath() string { return filepath.Join(p.o.dir, "servers") }

// remember reads whom an earlier guard asked for leases: one that follows goes on at once, whether an agent is there or not.
func (p *process) remember() {
	text, err := os.ReadFile(p.serversPath())
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	s := &leasev1.LeaseServers{}
	if err == nil {
		err = proto.Unmarshal(text, s)
	}
	if err != nil {
		p.log.Warn("whom to ask for leases is not known until the agent says it", "err", err)
		return
	}
	p.kept = s
}

// keep notes whom to ask, for the guard that follows.
func (p *process) keep(s *leasev1.LeaseServers) {
	p.mu.Lock()
	known := proto.Equal(p.kept, s)
	p.kept = s
	p.mu.Unlock()
	if known {
		return
	}
	text, err := proto.Marshal(s)
	if err == nil {
		err = lease.ReplaceFile(p.serversPath(), text)
	}
	if err != nil {
		p.log.Warn("whom to ask for leases is not written down: a guard that follows has to wait for the agent", "err", err)
	}
}

// live is one guard, until ctx ends or another timing is told.
func (p *process) live(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	profile, err := p.profile()
	if err != nil {
		return err
	}
	mounts := filepath.Join(p.o.state, "volumes")
	if err := os.MkdirAll(mounts, 0o711); err != nil {
		return err
	}
	m, err := machine.Open(machine.Config{Dir: filepath.Join(p.o.state, "claims"), Groups: p.groups, Patience: profile.Kill,
		Device: device.New(device.Config{Base: mounts}), Mount: mount.New(mount.Config{Base: mounts})})
	if err != nil {
		return err
	}
	var g *guard.Guard
	at := port.New(port.Config{Guard: late{&g}, Machine: m, Log: p.log, Servers: func(s *leasev1.LeaseServers) error { return p.servers(g, m, s) }})
	cfg := guard.Config{Dir: filepath.Join(p.o.state, "guard"), Profile: profile, Boot: p.boot, Identity: p.id, Actuator: m, Tell: at.Tell, Reset: p.reset, Log: p.log,
		Parts: func(parting step.Parting) { at.State(p.state(g, parting)) }}
	if p.dog != nil {
		cfg.Watchdog = p.dog
	}
	if g, err = p.open(cfg, m); err != nil {
		return err
	}
	for _, t := range g.Left() {
		at.Tell(t)
	}
	p.mu.Lock()
	p.again = cancel
	kept := p.kept
	p.mu.Unlock()
	if kept != nil {
		if err := p.servers(g, m, kept); err != nil {
			p.log.Error("the list of servers is not taken", "err", err)
		}
	}
	at.State(p.state(g, step.Parting{}))
	p.log.Info("ready", "agent", p.socket.Addr(), "key", p.id.Pin, "timing", g.Profile().Name, "cgroups", p.groups, "goes on with", len(g.Left()))
	own, err := again(p.socket)
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() {
		if err := at.Serve(ctx, own); err != nil {
			p.log.Error("the agent is not answered any more", "err", err)
			cancel()
		}
	})
	return g.Run(ctx)
}

// again is the same socket once more, which can be closed without closing the first.
func again(l net.Listener) (net.Listener, error) {
	u, ok := l.(*net.UnixListener)
	if !ok {
		return nil, fmt.Errorf("%T is no Unix socket", l)
	}
	f, err := u.File()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return net.FileListener(f)
}

// late passes on to a guard that is made after the one that passes on.
type late struct{ to **guard.Guard }

func (l late) Want(id claims.ID, t claims.Token) error { return (*l.to).Want(id, t) }
func (l late) Release(id claims.ID, t claims.Token)    { (*l.to).Release(id, t) }
func (l late) Stopped(id claims.ID, t claims.Token)    { (*l.to).Stopped(id, t) }
func (l late) Leave(patience time.Duration)            { (*l.to).Leave(patience) }
func (l late) Remain()                                 { (*l.to).Remain() }

// open goes on where a guard of this boot was. Where nobody knows until when what is there may run, the machine is reset.
func (p *process) open(cfg guard.Config, m *machine.Machine) (*guard.Guard, error) {
	known := true
	if _, err := os.Stat(filepath.Join(cfg.Dir, "state")); errors.Is(err, os.ErrNotExist) {
		known = false
	}
	g, err := guard.Open(cfg)
	if err == nil && known {
		return g, nil
	}
	left, lerr := m.Left()
	switch {
	case lerr != nil:
		return nil, errors.Join(err, lerr)
	case len(left) > 0:
		why := fmt.Sprintf("slice %s is there, and nobody knows until when it may be used", left[0])
		if err != nil {
			why += ": " + err.Error()
		}
		p.log.Error("the machine is reset", "why", why)
		p.reset(why)
		return nil, errors.New(why)
	case err != nil:
		p.log.Error("what the last guard left cannot be used; nothing of it is on this machine, so this one begins anew", "err", err)
		if err := os.Remove(filepath.Join(cfg.Dir, "state")); err != nil {
			return nil, err
		}
		return guard.Open(cfg)
	}
	return g, nil
}

// state is what is told of the guard.
func (p *process) state(g *guard.Guard, parting step.Parting) *leasev1.GuardState {
	s := &leasev1.GuardState{Version: version.Version, Key: p.id.Pin[:], Trouble: strings.Join(p.trouble, "; "), Profile: g.Profile().Name,
		Leaving: parting.Leaving, Exposed: uint32(parting.Exposed), Untold: uint32(parting.Untold)}
	if p.dog != nil {
		s.Watchdog = p.dog.Name
	}
	return s
}

// servers takes in whom to ask. Another timing than the guard's begins a new guard; under what is held it is not changed, since
// witnesses and guards have to agree.
func (p *process) servers(g *guard.Guard, m *machine.Machine, s *leasev1.LeaseServers) error {
	profile, err := claims.Named(s.GetProfile())
	if err != nil {
		return err
	}
	config := lease.ConfigFrom(s.GetConfig())
	if err := config.Validate(); err != nil {
		return err
	}
	var list []guard.Peer
	for _, x := range s.GetServers() {
		pin, err := lease.PinOf(x.GetKey())
		if err != nil {
			return fmt.Errorf("server %s: %w", x.GetId(), err)
		}
		list = append(list, guard.Peer{Witness: claims.Witness(x.GetId()), Address: x.GetAddress(), Key: pin})
	}
	if profile == g.Profile() {
		p.keep(s)
		g.Witnesses(config, list)
		return nil
	}
	if left, err := m.Left(); err != nil || len(left) > 0 {
		return errors.Join(err, fmt.Errorf("the cluster's timing is %s, and what this machine holds was acquired with %s: move it away first", profile.Name, g.Profile().Name))
	}
	if err := lease.ReplaceFile(p.timingPath(), []byte(profile.Name+"\n")); err != nil {
		return err
	}
	p.keep(s)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.again()
	return nil
}

// reset resets the machine.
func (p *process) reset(why string) {
	if p.o.reset != "kernel" {
		cmd := exec.Command(p.o.reset, why)
		if out, err := cmd.CombinedOutput(); err != nil {
			p.log.Error("the program that resets the machine failed", "program", p.o.reset, "err", err, "said", string(out))
		}
		return
	}
	for { // nothing else is left to be done
		err := kernel.Reset()
		p.log.Error("the machine cannot be reset; its watchdog may do it", "err", err)
		time.Sleep(100 * time.Millisecond)
	}
}
