package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/image"
	"github.com/argosy-cluster/argosy/internal/image/registry"
)

func (a *app) imageCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "image",
		Aliases: []string{"images"},
		Short:   "Images that the cluster keeps itself, without a registry",
		Example: `  argosy image load shop/web:1.4
  docker save shop/web:1.4 | argosy image load -
  argosy image list
  argosy image remove shop/web:1.3`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.imageLoadCmd(), a.imageListCmd(), a.imageRemoveCmd())
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
			rooms, err := a.rooms()
			if err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			for _, arg := range args {
				if err := a.loadImage(cmd.Context(), rooms, c, arg, as); err != nil {
					return fmt.Errorf("%s: %w", arg, err)
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&as, "as", "", "what to call the image in the cluster")
	return cmd
}

func (a *app) loadImage(ctx context.Context, rooms *Rooms, c *connection, arg, as string) error {
	show, end := a.loadProgress(arg)
	defer end()
	opts := LoadOptions{HTTP: c.http, Server: c.base, Tenant: a.imageTenant(), As: as, Progress: show}
	started := time.Now()
	var archive io.Reader
	switch {
	case arg == "-":
		archive = a.sys.In
	case strings.HasSuffix(arg, ".tar") || strings.HasSuffix(arg, ".tar.gz") || strings.HasSuffix(arg, ".tgz"):
		f, err := os.Open(arg)
		if err != nil {
			return err
		}
		defer f.Close()
		archive = f
	}
	res, err := rooms.Load(ctx, arg, archive, opts)
	end()
	if err != nil {
		return err
	}
	doc := map[string]any{"image": res.Image, "unchanged": res.Unchanged, "layers": res.Layers, "layers_sent": res.LayersSent, "bytes_sent": res.BytesSent}
	names := []string{res.Image}
	if res.Unchanged {
		return a.told(doc, names, "%s is in the cluster already", res.Image)
	}
	return a.told(doc, names, "%s is in the cluster: %d of %d layers sent, %s in %s", res.Image, res.LayersSent, res.Layers, size(res.BytesSent), span(time.Since(started)))
}

// imageTenant is whose images are meant. Images are no RPCs, so nobody fills in the caller's own.
func (a *app) imageTenant() string { return cmp.Or(a.tenant, auth.DefaultTenant) }

func (a *app) imageListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the images that the cluster keeps", Args: cobra.NoArgs,
		Example: "  argosy image list\n  argosy image list -o name",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			images, err := registry.NewClient(c.base, c.http).Images(cmd.Context(), a.imageTenant())
			if err != nil {
				return imageError(err)
			}
			if a.output == "json" {
				if images == nil {
					images = []registry.Image{}
				}
				return a.writeJSON(map[string]any{"images": images})
			}
			t, names := &table{header: []string{"IMAGE", "DIGEST", "SIZE", "SINCE"}, wide: []string{"FULL DIGEST"}}, []string(nil)
			for _, i := range images {
				names = append(names, i.Name+":"+i.Tag)
				amount := "-"
				if i.Size >= 0 {
					amount = size(i.Size)
				}
				t.add(text(i.Name+":"+i.Tag), text(i.Digest.Short()), text(amount), text(span(time.Since(i.Since))+" ago"))
				t.also(text(string(i.Digest)))
			}
			if len(images) == 0 && a.output == "table" {
				a.note("The cluster keeps no images. Send one: argosy image load IMAGE")
				return nil
			}
			return a.show(nil, t, names)
		},
	}
}

func (a *app) imageRemoveCmd() *cobra.Command {
	return &cobra.Command{
		Use: "remove IMAGE...", Aliases: []string{"rm"}, Short: "Take the name from an image that the cluster keeps",
		Long: `Take the name from an image that the cluster keeps.

Apps that run the image keep it: a revision pins it by its digest. Its layers are removed a day after nothing needs them.`,
		Example: "  argosy image remove shop/web:1.3",
		Args:    cobra.MinimumNArgs(1), ValidArgsFunction: a.completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			for _, arg := range args {
				ref, err := image.ParseRef(arg)
				if err != nil {
					return usageError("%s", err)
				}
				if ref.Tag == "" {
					return usageError("%q is no name: write NAME:TAG, as 'argosy image list' does", arg)
				}
				if err := registry.NewClient(c.base, c.http).Untag(cmd.Context(), registry.Repo{Tenant: a.imageTenant(), Name: ref.Name}, ref.Tag); err != nil {
					if registry.IsUnknown(err) {
						return fmt.Errorf("the cluster has no image called %s; see 'argosy image list'", ref.Familiar())
					}
					return imageError(err)
				}
				if err := a.told(map[string]string{"removed": ref.Familiar()}, []string{ref.Familiar()},
					"%s is no longer the name of an image in the cluster", ref.Familiar()); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// imageError says what a server answered, without the words of the protocol.
func imageError(err error) error {
	var answered *registry.Error
	if errors.As(err, &answered) {
		return errors.New(answered.Message)
	}
	if isDial(err) {
		return connect.NewError(connect.CodeUnavailable, err)
	}
	return err
}

// loadProgress shows how far a load is, on a terminal only.
func (a *app) loadProgress(name string) (show func(sending bool, bytes, total int64), end func()) {
	if !isTerminal(a.sys.Err) {
		return nil, func() {}
	}
	last, drawn := time.Time{}, false
	show = func(sending bool, bytes, total int64) {
		if time.Since(last) < 100*time.Millisecond {
			return
		}
		last, drawn = time.Now(), true
		if sending {
			fmt.Fprintf(a.sys.Err, "\r\x1b[K%s: sending, %s of %s", name, size(bytes), size(total))
			return
		}
		fmt.Fprintf(a.sys.Err, "\r\x1b[K%s: reading, %s", name, size(bytes))
	}
	return show, func() {
		if drawn {
			fmt.Fprint(a.sys.Err, "\r\x1b[K")
			drawn = false
		}
	}
}
