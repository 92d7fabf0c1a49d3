package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/argosy-cluster/argosy/internal/manifest"
)

const importLong = `Turn Compose files into a manifest, with comments. Nothing is sent anywhere, and nothing is fetched.

Several files are merged as Compose does it; '-' is standard input. extends, include, profiles and anchors are resolved.
Variables stay variables: Argosy interpolates as Compose does, and those that .env says get its value as their default,
unless they look like secrets.

What a manifest cannot say is a fault at its place in the Compose file, with the nearest thing there is, and nothing is
written. With --partial it becomes a comment in the manifest. What is left out because it changes nothing is a note.

Services form one stack, so that they find each other's volumes and start in order; services with several replicas or one
on each machine are stacks of their own. Small files beside the Compose file that it mounts become configs.`

const importExample = `  argosy import compose.yaml
  argosy import compose.yaml compose.prod.yaml --profile web --write argosy.yaml
  argosy import compose.yaml --partial --binds volumes > argosy.yaml
  argosy import compose.yaml | argosy plan -`

func (a *app) importCmd() *cobra.Command {
	var opts ImportOptions
	var write, binds string
	var force bool
	cmd := &cobra.Command{
		Use: "import COMPOSE-FILE...", Short: "Turn Compose files into a manifest", Long: importLong, Example: importExample,
		Args: cobra.MinimumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(_ *cobra.Command, args []string) error {
			switch opts.Stacks {
			case "auto", "each", "one":
			default:
				return usageError("--stacks %q is not known: use auto, each or one", opts.Stacks)
			}
			switch binds {
			case "refuse", "volumes":
				opts.BindsAsVolumes = binds == "volumes"
			default:
				return usageError("--binds %q is not known: use refuse or volumes", binds)
			}
			return a.importCompose(args, opts, write, force)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&write, "write", "w", "", "write the manifest into this file, which must not be there yet")
	f.BoolVar(&force, "force", false, "with --write, overwrite the file")
	f.BoolVar(&opts.Partial, "partial", false, "write what can be carried over, and the rest as comments")
	f.StringVar(&opts.App, "app", "", "name of the app (default: the project's name)")
	f.StringVar(&opts.Stacks, "stacks", "auto", "which services form a stack: auto, each (one for each service) or one")
	f.StringVar(&binds, "binds", "refuse", "what becomes of directories of the host: refuse, or volumes")
	f.StringSliceVar(&opts.Profiles, "profile", nil, "switch a profile on (may be said several times; '*' is all)")
	f.StringArrayVar(&opts.EnvFiles, "env-file", nil, "file with variables in place of .env (may be said several times)")
	_ = cmd.MarkFlagFilename("write", "yaml", "yml")
	_ = cmd.RegisterFlagCompletionFunc("stacks", cobra.FixedCompletions([]string{"auto", "each", "one"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("binds", cobra.FixedCompletions([]string{"refuse", "volumes"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// importCompose runs one import and shows what came of it.
func (a *app) importCompose(names []string, opts ImportOptions, write string, force bool) error {
	if opts.App != "" {
		if err := manifest.CheckName(opts.App); err != nil {
			return usageError("--app: %s", err)
		}
	}
	rooms, err := a.rooms()
	if err != nil {
		return err
	}
	files, err := manifest.ReadFiles(names, a.sys.In)
	if err != nil {
		return err
	}
	opts.LookupEnv = a.sys.LookupEnv
	if write != "" {
		opts.Dir = filepath.Dir(write)
	}
	res := rooms.Import(files, opts)
	if a.output == "json" {
		return a.importJSON(res, write, force)
	}
	if err := res.Notes.Render(a.sys.Err, a.faultStyle()); err != nil {
		return err
	}
	if len(res.Faults) > 0 {
		if err := res.Faults.Render(a.sys.Err, a.faultStyle()); err != nil {
			return err
		}
		hint := ""
		if !opts.Partial {
			hint = "; nothing was written (--partial writes the rest)"
		}
		return &exitError{code: exitFailed, msg: plural(uint32(len(res.Faults)), "fault") + " in " + strings.Join(names, ", ") + hint}
	}
	if write == "" && a.output == "name" {
		return a.show(nil, nil, []string{res.App})
	}
	if write == "" {
		_, err := a.sys.Out.Write(res.Manifest)
		return err
	}
	if err := writeNew(write, res.Manifest, force); err != nil {
		return err
	}
	return a.answer(nil, []string{res.App}, "%s is written: app %s. Look at it, then: argosy plan %s", write, res.App, write)
}

func (a *app) importJSON(res Imported, write string, force bool) error {
	list := func(f manifest.Faults) manifest.Faults {
		if f == nil {
			return manifest.Faults{}
		}
		return f
	}
	if write != "" && len(res.Faults) == 0 {
		if err := writeNew(write, res.Manifest, force); err != nil {
			return err
		}
	}
	out := struct {
		Manifest string          `json:"manifest"`
		Notes    manifest.Faults `json:"notes"`
		Faults   manifest.Faults `json:"faults"`
	}{string(res.Manifest), list(res.Notes), list(res.Faults)}
	if err := a.writeJSON(out); err != nil {
		return err
	}
	if len(res.Faults) > 0 {
		return &exitError{code: exitFailed}
	}
	return nil
}

// writeNew writes a file that is not there yet.
func writeNew(name string, data []byte, force bool) error {
	how := os.O_CREATE | os.O_WRONLY | os.O_EXCL
	if force {
		how = os.O_CREATE | os.O_WRONLY | os.O_TRUNC
	}
	f, err := os.OpenFile(name, how, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already: give another name, or --force to overwrite it", name)
	}
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}
