package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/cli"
	"github.com/argosy-cluster/argosy/internal/join"
	"github.com/argosy-cluster/argosy/internal/network"
	"github.com/argosy-cluster/argosy/internal/version"
)

// followSpread is the longest that a machine puts off following another authority.
const followSpread = 10 * time.Second

// agentProcessors is how many processors an agent takes at most, unless GOMAXPROCS says otherwise. What it does is short and waits for
// others; spread over several processors it spends a quarter more on waking them.
const agentProcessors = 1

// agentGC lets an agent's heap, which is some 8 MB, grow to four times that before it is collected, unless GOGC says otherwise: with Go's default of 100 a sixth of
// its processor's time went into that while it was busy.
const agentGC = 300

// maxServers is more than a cluster has.
const maxServers = 64

// work reads what joining left and runs the agent with a certificate that renews itself.
func work(ctx context.Context, o cli.AgentOptions) error {
	cfg := agent.Config{DataDir: o.DataDir, RunDir: o.RunDir, DockerHost: o.DockerHost, CgroupParent: o.CgroupParent, ImagePort: o.ImagePort,
		AcceptNoLiveRestore: o.AcceptNoLiveRestore, Log: o.Log}
	m, err := join.Load(cfg.DataDir)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("this host is not a machine of any cluster: make a token with 'argosy token create' where the server runs, and run 'argosy join TOKEN' here")
	}
	if err != nil {
		return err
	}
	files := auth.Files{Dir: cfg.DataDir}
	cred, err := files.Load()
	if err != nil {
		return err
	}
	verifier, err := cred.Verifier()
	if err != nil {
		return err
	}
	private, public, err := join.SealingKey(cfg.DataDir)
	if err != nil {
		return err
	}
	source := auth.NewSource(cred)
	transport := join.NewTransport(auth.ClientTLS(source, verifier))
	cfg.HTTP = &http.Client{Transport: transport}
	cfg.MachineID, cfg.ClusterID, cfg.Name, cfg.Servers = m.MachineID, m.Cluster, m.Name, m.Servers
	cfg.Address, cfg.Subnet, cfg.NetworkRange, cfg.Version = m.Address, m.Subnet, m.NetworkRange, version.Version
	cfg.SealingKey = public
	cfg.Open = func(sealed, context []byte) ([]byte, error) {
		value, err := auth.OpenSealed(private, sealed, context)
		return value.Reveal(), err
	}
	cfg.Declared = agent.Capacity{CPUMilli: m.CPUMilli, Memory: m.MemoryBytes,
		ReserveCPUMilli: m.ReserveCPU, ReserveMemory: m.ReserveBytes}
	cfg.Ready = func() { _, _ = daemon.SdNotify(false, daemon.SdNotifyReady) } // fails only where no systemd waits for it
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	known := &servers{dir: cfg.DataDir, m: m, log: cfg.Log}
	// Renewing has connections of its own, so that the one after a renewal shows the new certificate.
	asking := join.NewTransport(auth.ClientTLS(source, verifier))
	renewer := &auth.Renewer{Source: source, Files: files, Verifier: verifier, Log: cfg.Log, Spread: followSpread,
		Renewed: func() {
			transport.CloseIdleConnections()
			asking.CloseIdleConnections()
		},
		Renew: func(ctx context.Context, csr []byte) (auth.Issued, error) {
			return join.Renew(ctx, &http.Client{Transport: asking}, known.list(), csr)
		}}
	cfg.Greeted = func(w *argosyv1.Welcome) {
		if w.GetLeader() { // what others say may be behind, and they do not say it again
			renewer.Follow(w.GetAuthorities(), w.GetShowCertificate())
		}
		known.keep(w.GetServers())
	}
	go func() { _ = renewer.Run(ctx) }() // ends with ctx only
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(agentGC)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(agentProcessors)
	}
	return agent.Run(ctx, cfg)
}

// servers are those that a machine asks for new certificates: what it was told when it joined, and since. When it is told that
// there are others, it keeps that beside its certificate, so that it finds them after any sleep.
type servers struct {
	dir string
	log *slog.Logger

	mu sync.Mutex
	m  *join.Membership
}

func (s *servers) list() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.m.Servers)
}

func (s *servers) keep(told []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(told) == 0 || len(told) > maxServers || sameSet(told, s.m.Servers) {
		return
	}
	next := *s.m
	next.Servers = slices.Clone(told)
	if err := join.Save(s.dir, &next); err != nil {
		s.log.Warn("the servers' addresses could not be kept", "error", err)
		return
	}
	s.m = &next
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// routes are what a server has to know of this host's network before it gives it a subnet.
func routes() ([]string, error) {
	list, err := network.Routes(network.Config{})
	if err != nil {
		return nil, fmt.Errorf("reading this machine's routes: %w", err)
	}
	var out []string
	for _, r := range list {
		if !r.Own && r.Dst.IsValid() && r.Dst.Bits() > 0 {
			out = append(out, r.Dst.String())
		}
	}
	return out, nil
}
