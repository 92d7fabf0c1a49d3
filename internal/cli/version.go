package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/version"
)

func (a *app) versionCmd() *cobra.Command {
	var client bool
	cmd := &cobra.Command{
		Use: "version", Short: "Show the version of this command and of the server", Args: cobra.NoArgs,
		Example: "  argosy version\n  argosy version --client",
		RunE: func(cmd *cobra.Command, _ []string) error {
			commit := ""
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" && len(s.Value) >= 12 {
						commit = " (" + s.Value[:12] + ")"
					}
				}
			}
			if a.output == "name" {
				return a.show(nil, nil, []string{version.Version})
			}
			if client && a.output == "json" {
				return a.writeJSON(map[string]string{"version": version.Version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH})
			}
			if a.output != "json" {
				fmt.Fprintf(a.sys.Out, "argosy %s%s %s %s/%s\n", version.Version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			}
			if client {
				return nil
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			res, err := c.cluster().GetCluster(cmd.Context(), connect.NewRequest(&argosyv1.GetClusterRequest{}))
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(res.Msg)
			}
			fmt.Fprintf(a.sys.Out, "server %s, cluster %s\n", res.Msg.Version, res.Msg.GetSettings().GetClusterId())
			return nil
		},
	}
	cmd.Flags().BoolVar(&client, "client", false, "only this command's")
	return cmd
}
