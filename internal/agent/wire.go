package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/agent/docker"
	"github.com/argosy-cluster/argosy/internal/dns"
	"github.com/argosy-cluster/argosy/internal/network"
)

// wire is the machine's part in the cluster's network: the Docker network, the routes to peers, the names.
type wire struct {
	engine  *docker.Engine
	machine string
	log     *slog.Logger
	keeper  *network.Keeper
	names   *names
	save    func(name, value string) error
	wake    chan struct{}
	// trouble is told, whenever that changes, why containers cannot be connected, or do not reach those of other machines, and whether
	// none can be connected; with an empty text that they can and do.
	trouble func(text string, unconnected bool)

	mu      sync.Mutex
	tried   bool   // whether containers can be connected is known
	unmade  string // why they cannot be
	unkept  string // why they do not reach those of other machines
	place   place
	changed bool // place is not applied yet
	peers   map[string]network.Peer
}

// place is where the machine is in the network.
type place struct {
	Address, Subnet, Range string
}

func newWire(engine *docker.Engine, machine string, log *slog.Logger, save func(name, value string) error, trouble func(text string, unconnected bool)) *wire {
	w := &wire{
		engine: engine, machine: machine, log: log, save: save, trouble: trouble, names: newNames(log),
		keeper: network.NewKeeper(&network.VXLAN{Log: log}, log, 0),
		wake:   make(chan struct{}, 1), peers: map[string]network.Peer{},
	}
	w.keeper.Changed = w.reaches
	return w
}

// set says where the machine is. What is empty stays as it was.
func (w *wire) set(p place) {
	w.mu.Lock()
	defer w.mu.Unlock()
	next := w.place
	for _, f := range []struct {
		to   *string
		from string
	}{{&next.Address, p.Address}, {&next.Subnet, p.Subnet}, {&next.Range, p.Range}} {
		if f.from != "" {
			*f.to = f.from
		}
	}
	if next == w.place {
		return
	}
	w.place, w.changed = next, true
	if raw, err := json.Marshal(next); err == nil {
		if err := w.save("network", string(raw)); err != nil {
			w.log.Warn("the machine's place in the network could not be kept", "error", err)
		}
	}
	w.kick()
}

func (w *wire) kick() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// resolution is how containers of a replica resolve names.
func (w *wire) resolution(k core.Key) docker.Names {
	w.mu.Lock()
	defer w.mu.Unlock()
	subnet, err := netip.ParsePrefix(w.place.Subnet)
	if err != nil {
		return docker.Names{}
	}
	return docker.Names{
		Servers: []netip.Addr{subnet.Masked().Addr().Next()},
		Search:  dns.SearchDomains(k.Tenant, k.App, k.Stack, k.Number),
		Options: dns.ResolverOptions(),
	}
}

// run keeps the network as it was last told to be.
func (w *wire) run(ctx context.Context) {
	var under sync.WaitGroup
	defer under.Wait()
	under.Add(1)
	go func() {
		defer under.Done()
		if err := w.keeper.Run(ctx); err != nil && ctx.Err() == nil {
			w.log.Error("the network between machines is not kept any more", "error", err)
		}
	}()
	stop := func() {}
	defer func() { stop() }()
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	var failing string
	check := time.NewTicker(checkEvery)
	defer check.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-retry.C:
		case <-check.C:
			w.recheck(ctx)
		}
		w.mu.Lock()
		todo := w.changed
		w.mu.Unlock()
		if !todo {
			continue
		}
		cfg, err := w.apply(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case !docker.Silent(err) && !errors.Is(err, errNoSubnet): // else it is not known
			w.connects(err)
		}
		if err != nil {
			if failing != err.Error() {
				w.log.Error("containers cannot be connected yet; trying again", "error", err)
				failing = err.Error()
			}
			retry.Reset(2 * time.Second)
			continue
		}
		failing = ""
		stop()
		own, cancel := context.WithCancel(ctx)
		stop = cancel
		under.Add(1)
		go func() {
			defer under.Done()
			w.answer(own, cfg)
		}()
	}
}

// connects notes whether containers can be connected.
func (w *wire) connects(err error) {
	w.mu.Lock()
	w.tried, w.unmade = true, unmadeText(err)
	w.mu.Unlock()
	w.tell()
}

// reaches notes whether the machine's containers and those of others reach each other.
func (w *wire) reaches(err error) {
	w.mu.Lock()
	w.unkept = unkeptText(err)
	w.mu.Unlock()
	w.tell()
}

// tell says how the network is.
func (w *wire) tell() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tried {
		w.trouble(cmp.Or(w.unmade, w.unkept), w.unmade != "")
	}
}

// checkEvery is how often it is looked whether somebody removed the Docker network.
const checkEvery = 30 * time.Second

// recheck makes the Docker network again if it is gone. The rest is the keeper's to watch.
func (w *wire) recheck(ctx context.Context) {
	cfg, err := w.config()
	if err == nil {
		err = w.engine.EnsureNetwork(ctx, network.DockerNetworkOptions(cfg, w.engine.Info().APIVersion))
	}
	if err != nil && ctx.Err() == nil {
		w.log.Warn("the Docker network is not as it should be", "error", err)
		w.mu.Lock()
		w.changed = true // it is tried again until it is
		w.mu.Unlock()
	}
}

var errNoSubnet = errors.New("no server has told this machine its subnet yet")

// config puts together what the network room needs.
func (w *wire) config() (network.Config, error) {
	w.mu.Lock()
	p := w.place
	w.mu.Unlock()
	if p.Subnet == "" {
		return network.Config{}, errNoSubnet
	}
	var cfg network.Config
	var err1, err2, err3 error
	cfg.Self.Machine = w.machine
	cfg.Self.Underlay, err1 = netip.ParseAddr(p.Address)
	cfg.Self.Subnet, err2 = netip.ParsePrefix(p.Subnet)
	if p.Range != "" {
		cfg.ClusterRange, err3 = netip.ParsePrefix(p.Range)
	}
	if err := errors.Join(err1, err2, err3); err != nil {
		return network.Config{}, err
	}
	return network.Complete(cfg.WithDefaults())
}

// apply makes the Docker network and hands the rest to the keeper.
func (w *wire) apply(ctx context.Context) (network.Config, error) {
	cfg, err := w.config()
	if err != nil {
		return cfg, err
	}
	if err := w.engine.EnsureNetwork(ctx, network.DockerNetworkOptions(cfg, w.engine.Info().APIVersion)); err != nil {
		return cfg, err
	}
	w.mu.Lock()
	w.changed = false
	peers := w.peerList()
	w.mu.Unlock()
	w.keeper.Set(cfg, peers)
	return cfg, nil
}

func (w *wire) peerList() []network.Peer {
	list := make([]network.Peer, 0, len(w.peers))
	for _, p := range w.peers {
		list = append(list, p)
	}
	return list
}

// answer answers names on the bridge's gateway until ctx ends.
func (w *wire) answer(ctx context.Context, cfg network.Config) {
	for ctx.Err() == nil {
		s, err := dns.Listen(dns.Config{
			Listen:  []netip.AddrPort{netip.AddrPortFrom(cfg.Gateway(), 53)},
			Clients: []netip.Prefix{cfg.ClusterRange}, Log: w.log,
		}, w.names.table)
		if err == nil {
			err = s.Run(ctx)
			s.Close()
		}
		if ctx.Err() != nil {
			return
		}
		w.log.Error("names are not answered; trying again", "error", err)
		pause(ctx, time.Second)
	}
}

// update takes in what the leader tells of other machines.
func (w *wire) update(n *argosyv1.NetworkUpdate) {
	if !n.GetFull() && len(n.GetPeers())+len(n.GetRemovedPeers()) == 0 {
		return
	}
	w.mu.Lock()
	if n.GetFull() {
		clear(w.peers)
	}
	for _, id := range n.GetRemovedPeers() {
		delete(w.peers, id)
	}
	for _, p := range n.GetPeers() {
		peer, err := peerOf(p)
		if err != nil {
			w.log.Warn("a machine is left out of the network", "machine", p.GetName(), "error", err)
			continue
		}
		w.peers[peer.Machine] = peer
	}
	peers := w.peerList()
	w.mu.Unlock()
	if raw, err := json.Marshal(peers); err == nil {
		if err := w.save("peers", string(raw)); err != nil {
			w.log.Warn("the machine's peers could not be kept", "error", err)
		}
	}
	if cfg, err := w.config(); err == nil {
		w.keeper.Set(cfg, peers)
	}
}

// recall brings back what an earlier agent kept.
func (w *wire) recall(place, peers string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []network.Peer
	if peers != "" && json.Unmarshal([]byte(peers), &list) == nil {
		for _, p := range list {
			w.peers[p.Machine] = p
		}
	}
	if place != "" && json.Unmarshal([]byte(place), &w.place) == nil {
		w.changed = true
		w.kick()
	}
}

func peerOf(p *argosyv1.Peer) (network.Peer, error) {
	underlay, err1 := netip.ParseAddr(p.GetAddress())
	subnet, err2 := netip.ParsePrefix(p.GetSubnet())
	return network.Peer{Machine: p.GetMachine(), Underlay: underlay, Subnet: subnet}, errors.Join(err1, err2)
}
