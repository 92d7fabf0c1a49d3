package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"github.com/argosy-cluster/argosy/internal/image/load"
	"github.com/argosy-cluster/argosy/internal/image/registry"
)

func (a *app) imageCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "image",
		Aliases: []string{"images"},
		Short:   "Images that the cluster keeps itself, without a registry",
		Example: `  argosy image load shop/web:1.4
  docker save shop/web:1.4 | argosy image load -`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.imageLoadCmd())
	return cmd
}

func (a *app) imageLoadCmd() *cobra.Command {
	var as string
	cmd := &cobra.Command{
		Use:   "load IMAGE...|FILE.tar|-",
		Short: "Send images of the local Docker Engine, or an archive, to the cluster",
		Long: `Send images of the local Docker Engine, or an archive, to the cluster.

The servers keep the image and machines pull it when they need it. Only layers that the cluster lacks are sent, and an
interrupted load goes on where it stopped.`,
		Example: `  argosy image load shop/web:1.4 shop/db:10.11
  argosy image load web.tar --as shop/web:1.4
  docker save shop/web:1.4 | argosy image load -`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if as != "" && len(args) > 1 {
				return usageError("--as names one image, and %d are given", len(args))
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			for _, arg := range args {
				if err := a.loadImage(cmd.Context(), c, arg, as); err != nil {
					return fmt.Errorf("%s: %w", arg, err)
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&as, "as", "", "what to call the image in the cluster")
	return cmd
}

func (a *app) loadImage(ctx context.Context, c *connection, arg, as string) error {
	tenant := a.tenant
	if tenant == "" {
		tenant = "default"
	}
	show, end := a.loadProgress(arg)
	defer end()
	opts := load.Options{Client: registry.NewClient(c.base, c.http), Tenant: tenant, As: as, Progress: show}
	started := time.Now()
	var res load.Result
	var err error
	switch {
	case arg == "-":
		res, err = load.Archive(ctx, a.sys.In, "", opts)
	case strings.HasSuffix(arg, ".tar") || strings.HasSuffix(arg, ".tar.gz") || strings.HasSuffix(arg, ".tgz"):
		f, openErr := os.Open(arg)
		if openErr != nil {
			return openErr
		}
		defer f.Close()
		res, err = load.Archive(ctx, f, "", opts)
	default:
		docker, dockerErr := client.New(client.FromEnv)
		if dockerErr != nil {
			return dockerErr
		}
		defer docker.Close()
		res, err = load.Docker(ctx, docker, arg, opts)
	}
	end()
	if err != nil {
		return err
	}
	if res.Unchanged {
		a.done("%s is in the cluster already", res.Ref.Familiar())
		return nil
	}
	a.done("%s is in the cluster: %d of %d layers sent, %s in %s", res.Ref.Familiar(), res.LayersSent, res.Layers, size(res.BytesSent), span(time.Since(started)))
	return nil
}

// loadProgress shows how far a load is, on a terminal only.
func (a *app) loadProgress(name string) (show func(load.Progress), end func()) {
	if !isTerminal(a.sys.Err) {
		return nil, func() {}
	}
	last, drawn := time.Time{}, false
	show = func(p load.Progress) {
		if time.Since(last) < 100*time.Millisecond {
			return
		}
		last, drawn = time.Now(), true
		switch p.Stage {
		case load.Reading:
			fmt.Fprintf(a.sys.Err, "\r\x1b[K%s: reading, %s", name, size(p.Bytes))
		case load.Sending:
			fmt.Fprintf(a.sys.Err, "\r\x1b[K%s: sending, %s of %s", name, size(p.Bytes), size(p.Total))
		}
	}
	return show, func() {
		if drawn {
			fmt.Fprint(a.sys.Err, "\r\x1b[K")
			drawn = false
		}
	}
}
