package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/manifest"
)

// setFlag is the flag by which values stand above what manifests say.
type setFlag struct{ paths []string }

func (s *setFlag) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&s.paths, "set", nil, "set PATH=VALUE above the files, such as cluster.lamp=3 or containers.web.ports[0]=8080:80; may be given several times")
	_ = cmd.RegisterFlagCompletionFunc("set", completeSet)
}

// setHelp is what --help says of --set.
const setHelp = `With --set PATH=VALUE a value takes the place of what the files say: keys with dots between them, [N] for an element of a
list, [+] for one more, [KEY] for a key with dots in it. VALUE is what YAML takes it for; in quotes it is text.`

func (a *app) renderCmd() *cobra.Command {
	var set setFlag
	var revision uint64
	cmd := &cobra.Command{
		Use:   "render FILE...|APP",
		Short: "Print an app as one manifest that needs nothing else",
		Long: `Print an app as one manifest that needs nothing else: variables and anchors resolved, several files and --set put together.
Applying what is printed is applying the files.

In place of files may stand an app of the cluster: its current revision is printed, or another with --revision. The digests
that its images were pinned to stand in comments. A name that is a file here too means the file.

` + setHelp,
		Example: `  argosy render base.yaml production.yaml --set cluster.lamp=7
  argosy render shop > shop.yaml
  argosy render shop --revision 3 -o json`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeManifestsOrApps,
		RunE: func(cmd *cobra.Command, args []string) error {
			spec, err := a.specOf(cmd.Context(), args, set, revision)
			if err != nil {
				return err
			}
			switch a.output {
			case "json":
				return a.printJSON(spec)
			case "name":
				return a.show(nil, nil, []string{spec.Name})
			}
			text, err := manifest.Render(spec)
			if err != nil {
				return err
			}
			_, err = a.sys.Out.Write(text)
			return err
		},
	}
	set.add(cmd)
	cmd.Flags().Uint64Var(&revision, "revision", 0, "of an app of the cluster: this revision, not the current one")
	_ = cmd.RegisterFlagCompletionFunc("revision", a.completeRevisions)
	return cmd
}

// specOf is what files say, or what the cluster has of an app.
func (a *app) specOf(ctx context.Context, args []string, set setFlag, revision uint64) (*argosyv1.AppSpec, error) {
	if !isApp(args) {
		if revision != 0 {
			return nil, usageError("--revision is for an app of the cluster, and %s is a file", args[0])
		}
		return a.parseManifest(args, set.paths...)
	}
	if len(set.paths) > 0 {
		return nil, usageError("--set is for files: print the app first, 'argosy render %s > FILE'", args[0])
	}
	r, err := a.revision(ctx, args[0], revision)
	return r.GetSpec(), err
}

// isApp says whether what was given is the name of an app and no file.
func isApp(args []string) bool {
	if len(args) != 1 || args[0] == "-" {
		return false
	}
	if t, err := parseTarget(args[0]); err != nil || t.stack != "" {
		return false
	}
	_, err := os.Stat(args[0])
	return errors.Is(err, fs.ErrNotExist)
}

// revision asks for one revision of an app, the current one where number is 0.
func (a *app) revision(ctx context.Context, app string, number uint64) (*argosyv1.Revision, error) {
	c, err := a.connect()
	if err != nil {
		return nil, err
	}
	res, err := c.apps().GetApp(ctx, connect.NewRequest(&argosyv1.GetAppRequest{Tenant: a.tenant, App: app, Revision: number}))
	if err != nil {
		return nil, err
	}
	for _, r := range res.Msg.Revisions {
		if number == 0 || r.Number == number {
			return r, nil
		}
	}
	return nil, fmt.Errorf("revision %d of %s is not kept; see 'argosy revisions %s'", number, app, app)
}

func (a *app) diffCmd() *cobra.Command {
	var set setFlag
	var from, to, revision uint64
	cmd := &cobra.Command{
		Use:   "diff FILE...|APP",
		Short: "Say how files differ from what the cluster has, or one revision from another",
		Long: `Say how files differ from what the cluster has: for each container and stack, what was and what would be.

Files are compared with the app's current revision, or another with --revision. For an app of the cluster, --from and --to
name the revisions to compare; without --to it is the current one, without --from the one before. Secrets are compared by
name: nobody but their containers sees values. What applying would do to replicas, 'argosy plan' says.

` + setHelp + `

Exit code 0: no difference. Exit code 2: there are some.`,
		Example: `  argosy diff lamp.yaml
  argosy diff lamp.yaml --set cluster.lamp=7 --revision 3
  argosy diff shop --from 3 --to 5`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeManifestsOrApps,
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.difference(cmd.Context(), args, set, revision, from, to)
			if err != nil {
				return err
			}
			return a.showDifference(d)
		},
	}
	set.add(cmd)
	cmd.Flags().Uint64Var(&revision, "revision", 0, "compare files with this revision, not the current one")
	cmd.Flags().Uint64Var(&from, "from", 0, "of an app of the cluster: the earlier revision (default: the one before --to)")
	cmd.Flags().Uint64Var(&to, "to", 0, "of an app of the cluster: the later revision (default: the current one)")
	for _, flag := range []string{"revision", "from", "to"} {
		_ = cmd.RegisterFlagCompletionFunc(flag, a.completeRevisions)
	}
	return cmd
}

// difference is two states of an app and what lies between them.
type difference struct {
	App string `json:"app"`
	// From and To name the states: "revision 3", "the files", "nothing".
	From    string                `json:"from"`
	To      string                `json:"to"`
	Changes []manifest.SpecChange `json:"changes"`
}

func (a *app) difference(ctx context.Context, args []string, set setFlag, revision, from, to uint64) (*difference, error) {
	var before, after *argosyv1.AppSpec
	d := &difference{}
	if isApp(args) {
		if revision != 0 || len(set.paths) > 0 {
			return nil, usageError("--revision and --set are for files; of an app, --from and --to name revisions")
		}
		later, err := a.revision(ctx, args[0], to)
		if err != nil {
			return nil, err
		}
		if from == 0 {
			from = later.Number - 1
		}
		if from == 0 {
			return nil, fmt.Errorf("revision %d is the first of %s: there is none before it", later.Number, args[0])
		}
		earlier, err := a.revision(ctx, args[0], from)
		if err != nil {
			return nil, err
		}
		before, after = earlier.Spec, later.Spec
		d.From, d.To = fmt.Sprintf("revision %d", earlier.Number), fmt.Sprintf("revision %d", later.Number)
	} else {
		if from != 0 || to != 0 {
			return nil, usageError("--from and --to are for an app of the cluster; with files, --revision names what to compare with")
		}
		var err error
		if after, err = a.parseManifest(args, set.paths...); err != nil {
			return nil, err
		}
		d.From, d.To = "nothing", strings.Join(args, ", ")
		switch r, err := a.revision(ctx, after.Name, revision); {
		case err == nil:
			before, d.From = r.Spec, fmt.Sprintf("revision %d", r.Number)
		case connect.CodeOf(err) != connect.CodeNotFound || revision != 0:
			return nil, err
		}
	}
	d.App, d.Changes = after.Name, manifest.Changes(before, after)
	if d.Changes == nil {
		d.Changes = []manifest.SpecChange{} // programs find a list, always
	}
	return d, nil
}

func (a *app) showDifference(d *difference) error {
	switch a.output {
	case "json":
		if err := a.writeJSON(d); err != nil {
			return err
		}
	case "name":
		last := ""
		for _, c := range d.Changes {
			if c.Of != last {
				fmt.Fprintln(a.sys.Out, c.Of)
			}
			last = c.Of
		}
	default:
		a.drawDifference(d)
	}
	if len(d.Changes) > 0 {
		return &exitError{code: exitChanges}
	}
	return nil
}

func (a *app) drawDifference(d *difference) {
	if len(d.Changes) == 0 {
		a.done("%s: no difference between %s and %s", d.App, d.From, d.To)
		return
	}
	colorful := a.colorful(a.sys.Out)
	paint := func(s style, text string) string {
		if !colorful {
			return text
		}
		return painter(s)(text)
	}
	fmt.Fprintln(a.sys.Out, paint(red, "--- "+d.App+", "+d.From))
	fmt.Fprintln(a.sys.Out, paint(green, "+++ "+d.App+", "+d.To))
	last := ""
	for _, c := range d.Changes {
		if c.Of != last {
			fmt.Fprintln(a.sys.Out, paint(bold, c.Of))
		}
		last = c.Of
		if c.From != "" {
			fmt.Fprintln(a.sys.Out, paint(red, strings.TrimRight("  - "+c.What+" "+c.From, " ")))
		}
		if c.To != "" {
			fmt.Fprintln(a.sys.Out, paint(green, strings.TrimRight("  + "+c.What+" "+c.To, " ")))
		}
	}
}
