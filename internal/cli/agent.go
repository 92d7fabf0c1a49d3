package cli

import (
	"github.com/spf13/cobra"

	"github.com/argosy-cluster/argosy/internal/defaults"
)

func (a *app) agentCmd() *cobra.Command {
	var opts AgentOptions
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
			if opts.Log, err = logs.logger(a.sys.Err); err != nil {
				return err
			}
			rooms, err := a.rooms()
			if err != nil {
				return err
			}
			return rooms.Work(cmd.Context(), opts)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.DataDir, "data-dir", defaults.AgentDir, "directory for everything that the agent keeps")
	flags.StringVar(&opts.RunDir, "run-dir", defaults.RunDir, "directory for what must not outlive the boot; secrets are on a tmpfs in it")
	flags.StringVar(&opts.DockerHost, "docker", "", "address of Docker Engine (default: DOCKER_HOST, or its usual socket)")
	flags.StringVar(&opts.CgroupParent, "cgroup-parent", "", "cgroup that containers are put below (default: the Engine's)")
	flags.IntVar(&opts.ImagePort, "image-port", defaults.ImagePort, "port on the loopback address that the Engine pulls the cluster's images from")
	flags.BoolVar(&opts.AcceptNoLiveRestore, "accept-no-live-restore", false, "run though a restart of Docker Engine would stop all containers")
	logs.add(cmd)
	return cmd
}
