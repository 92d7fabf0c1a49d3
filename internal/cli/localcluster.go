package cli

import (
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/argosy-cluster/argosy/internal/defaults"
)

func (a *app) localClusterCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Machines in containers on this host, to try things out",
		Long: `Machines in containers on this host, to try things out.

Each machine boots systemd and its own Docker Engine. The first runs a server, or the first three with --servers 3; all run
agents.`,
		Example: `  argosy cluster up
  argosy cluster up --machines 5 --name big
  argosy cluster list
  argosy cluster down`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.clusterUpCmd(), a.clusterDownCmd(), a.clusterListCmd(), a.clusterEngineCmd())
	return cmd
}

// openLocal is the local cluster of the name in o, and tells how it goes.
func (a *app) openLocal(o LocalOptions) (Local, error) {
	rooms, err := a.rooms()
	if err != nil {
		return nil, err
	}
	o.Progress = func(e LocalEvent) {
		who := e.Machine
		if who != "" {
			who += ": "
		}
		if e.Took > 0 {
			a.note("%s%s (%s)", who, e.Text, e.Took.Round(100*time.Millisecond))
			return
		}
		a.note("%s%s", who, e.Text)
	}
	return rooms.Local(o)
}

func (a *app) clusterUpCmd() *cobra.Command {
	var name, memory string
	var n, servers int
	cmd := &cobra.Command{
		Use: "up", Short: "Start a local cluster, or bring one back", Args: cobra.NoArgs,
		Example: "  argosy cluster up\n  argosy cluster up --name big --machines 5 --memory 2GiB",
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts := LocalOptions{Name: name, Servers: servers}
			if servers > n {
				return usageError("%d servers need as many machines: add --machines %d", servers, servers)
			}
			if memory != "" {
				b, err := units.RAMInBytes(memory)
				if err != nil || b <= 0 {
					return usageError("--memory %q is not a size such as 2GiB", memory)
				}
				opts.Memory = b
			}
			l, err := a.openLocal(opts)
			if err != nil {
				return err
			}
			defer l.Close()
			c, err := l.Up(cmd.Context(), n)
			if err != nil {
				return err
			}
			return a.told(c, []string{name}, "%d machines are up. Use them: export ARGOSY_SERVER=%s", len(c.Machines), c.Server)
		},
	}
	cmd.Flags().StringVar(&name, "name", defaults.LocalName, "name of the local cluster")
	cmd.Flags().IntVarP(&n, "machines", "n", defaults.LocalMachines, "number of machines")
	cmd.Flags().IntVar(&servers, "servers", 0, "machines that run a server: 1, 3 or 5 (default: as many as do, 1 in a new cluster)")
	cmd.Flags().StringVar(&memory, "memory", "", "memory of each machine, for example 2GiB")
	return cmd
}

func (a *app) clusterDownCmd() *cobra.Command {
	var name string
	var images bool
	cmd := &cobra.Command{
		Use: "down", Short: "Remove a local cluster with everything in it", Args: cobra.NoArgs,
		Example: "  argosy cluster down\n  argosy cluster down --name big --images",
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := a.openLocal(LocalOptions{Name: name})
			if err != nil {
				return err
			}
			defer l.Close()
			if err := l.Down(cmd.Context(), images); err != nil {
				return err
			}
			return a.told(map[string]string{"cluster": name}, []string{name}, "the local cluster %s is gone", name)
		},
	}
	cmd.Flags().StringVar(&name, "name", defaults.LocalName, "name of the local cluster")
	cmd.Flags().BoolVar(&images, "images", false, "remove the machines' image too")
	return cmd
}

func (a *app) clusterListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List local clusters", Args: cobra.NoArgs,
		Example: "  argosy cluster list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			rooms, err := a.rooms()
			if err != nil {
				return err
			}
			clusters, err := rooms.Locals(cmd.Context())
			if err != nil {
				return err
			}
			if a.output == "json" {
				if clusters == nil {
					clusters = []LocalCluster{}
				}
				return a.writeJSON(clusters)
			}
			t := &table{header: []string{"CLUSTER", "MACHINES", "SERVER"}}
			var names []string
			for _, c := range clusters {
				names = append(names, c.Name)
				var ms []string
				for _, m := range c.Machines {
					ms = append(ms, m.Name+" "+m.State)
				}
				t.add(text(c.Name), text(strings.Join(ms, ", ")), text(c.Server))
			}
			return a.show(nil, t, names)
		},
	}
}

func (a *app) clusterEngineCmd() *cobra.Command {
	return &cobra.Command{
		Use: "engine", Short: "Start a Docker Engine on this host if none answers", Args: cobra.NoArgs,
		Long: `Start a Docker Engine on this host if none answers and no systemd is there to do it.

'argosy cluster up' does this by itself. 'argosy cluster down' ends an Engine that was started so, when nothing is left in it.`,
		Example: "  argosy cluster engine",
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := a.openLocal(LocalOptions{Name: defaults.LocalName})
			if err != nil {
				return err
			}
			defer l.Close()
			return l.Engine(cmd.Context())
		},
	}
}
