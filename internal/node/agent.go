package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/argosy-cluster/argosy/internal/agent"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/cli"
	"github.com/argosy-cluster/argosy/internal/join"
	"github.com/argosy-cluster/argosy/internal/network"
	"github.com/argosy-cluster/argosy/internal/version"
)

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
	renewer := &auth.Renewer{Source: source, Files: files, Log: cfg.Log, Renewed: transport.CloseIdleConnections,
		Renew: func(ctx context.Context, csr []byte) (cert, ca []byte, err error) {
			return join.Renew(ctx, cfg.HTTP, m.Servers, csr)
		}}
	go func() { _ = renewer.Run(ctx) }() // ends with ctx only
	return agent.Run(ctx, cfg)
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
