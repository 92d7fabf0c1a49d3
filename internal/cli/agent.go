package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	"connectrpc.com/connect"
	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/agent"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/join"
	"github.com/argosy-cluster/argosy/internal/version"
)

func (a *app) agentCmd() *cobra.Command {
	var cfg agent.Config
	var logs logFlags
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run this machine's agent",
		Long: `Run this machine's agent, after 'argosy join'.

It keeps this machine's containers as the cluster assigned them. Restarting it touches no container, stopping it stops
nothing, and without servers it keeps what it has.`,
		Example: `  argosy agent
  argosy agent --data-dir /srv/argosy/agent --log-level debug`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := needRoot("argosy agent"); err != nil {
				return err
			}
			if cfg.Log, err = logs.logger(a.sys.Err); err != nil {
				return err
			}
			return runAgent(cmd.Context(), cfg)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&cfg.DataDir, "data-dir", defaultAgentDir, "directory for everything that the agent keeps")
	flags.StringVar(&cfg.RunDir, "run-dir", agent.DefaultRunDir, "directory for what must not outlive the boot; secrets are on a tmpfs in it")
	flags.StringVar(&cfg.DockerHost, "docker", "", "address of Docker Engine (default: DOCKER_HOST, or its usual socket)")
	flags.StringVar(&cfg.CgroupParent, "cgroup-parent", "", "cgroup that containers are put below (default: the Engine's)")
	flags.IntVar(&cfg.ImagePort, "image-port", agent.DefaultImagePort, "port on the loopback address that the Engine pulls the cluster's images from")
	flags.BoolVar(&cfg.AcceptNoLiveRestore, "accept-no-live-restore", false, "run though a restart of Docker Engine would stop all containers")
	logs.add(cmd)
	return cmd
}

// runAgent reads what joining left and runs the agent with a certificate that renews itself.
func runAgent(ctx context.Context, cfg agent.Config) error {
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
			return renewAnywhere(ctx, cfg.HTTP, m.Servers, csr)
		}}
	go func() { _ = renewer.Run(ctx) }() // ends with ctx only
	return agent.Run(ctx, cfg)
}

// renewAnywhere asks one server after another for a new certificate.
func renewAnywhere(ctx context.Context, hc *http.Client, servers []string, csr []byte) (cert, ca []byte, err error) {
	for _, server := range servers {
		var res *connect.Response[argosyv1.RenewResponse]
		res, err = argosyv1connect.NewJoinServiceClient(hc, "https://"+server).Renew(ctx, connect.NewRequest(&argosyv1.RenewRequest{Csr: csr}))
		if err == nil {
			return res.Msg.Certificate, res.Msg.Ca, nil
		}
	}
	return nil, nil, err
}
