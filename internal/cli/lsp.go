package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/argosy-cluster/argosy/internal/lsp"
	"github.com/argosy-cluster/argosy/internal/manifest"
	"github.com/argosy-cluster/argosy/internal/version"
)

func (a *app) lspCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lsp",
		Short: "Serve an editor that edits manifests",
		Long: `Serve an editor that edits manifests: the faults of 'argosy validate' while you type, completion, hover, definitions and
quick fixes. An editor starts this by itself and speaks the Language Server Protocol with it; docs/editors.md says how to
set up Neovim, Helix, VS Code, Emacs and Kate.

A manifest of several files begins with a comment that names the others: '# argosy: with base.yaml'.`,
		Example: `  argosy lsp`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return lsp.Serve(cmd.Context(), a.sys.In, a.sys.Out, lsp.Options{LookupEnv: a.sys.LookupEnv, ReadFile: manifest.FilesBelow,
				Secrets: func() []string { return a.liveSecrets(cmd.Context()) }, Version: version.Version})
		},
	}
	cmd.Flags().Bool("stdio", true, "speak over standard input and output, which it does anyway; editors like to say so")
	return cmd
}

// editorTime is how long an editor may be kept waiting for names of the cluster.
const editorTime = 300 * time.Millisecond

// liveSecrets are the names of the cluster's secrets, none when no cluster answers soon.
func (a *app) liveSecrets(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, editorTime)
	defer cancel()
	c, err := a.connect()
	if err != nil {
		return nil
	}
	defer c.http.CloseIdleConnections()
	names, err := a.secretNames(ctx, c)
	if err != nil {
		return nil
	}
	return names
}
