package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/manifest"
)

func (a *app) validateCmd() *cobra.Command {
	var set setFlag
	cmd := &cobra.Command{
		Use:   "validate FILE...",
		Short: "Check manifests and report every fault with its place",
		Long: `Check manifests and report every fault with its place. Nothing is sent anywhere.

Several files are one app. '-' is standard input. ${VAR} is taken from the environment, as Compose does it.

` + setHelp,
		Example: `  argosy validate lamp.yaml
  argosy validate lamp.yaml --set cluster.lamp=7
  argosy validate base.yaml production.yaml
  generate | argosy validate -`,
		Args: cobra.MinimumNArgs(1), ValidArgsFunction: completeManifests,
		RunE: func(_ *cobra.Command, args []string) error {
			spec, err := a.parseManifest(args, set.paths...)
			if err != nil {
				return err
			}
			return a.answer(spec, []string{spec.Name}, "%s is valid: app %s, %s, %s", strings.Join(args, ", "), spec.Name,
				contents(spec), plural(uint32(len(spec.Stacks)), "stack"))
		},
	}
	set.add(cmd)
	return cmd
}

// contents says how many containers and units an app has.
func contents(spec *argosyv1.AppSpec) string {
	containers, units := plural(uint32(len(spec.GetContainers())), "container"), plural(uint32(len(spec.GetUnits())), "unit")
	switch {
	case len(spec.GetUnits()) == 0:
		return containers
	case len(spec.GetContainers()) == 0:
		return units
	}
	return containers + ", " + units
}

func (a *app) schemaCmd() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the manifest's JSON Schema, for editors", Args: cobra.NoArgs,
		Example: "  argosy schema > argosy.schema.json",
		RunE: func(*cobra.Command, []string) error {
			switch {
			case a.yaml:
				return a.writeJSON(json.RawMessage(manifest.Schema()))
			case a.output == "name":
				return a.show(nil, nil, []string{manifest.SchemaID})
			}
			_, err := a.sys.Out.Write(manifest.Schema())
			return err
		},
	}
}

// parseManifest reads files as one app. Faults are shown as they are; the error then only carries the exit code.
func (a *app) parseManifest(names []string, set ...string) (*argosyv1.AppSpec, error) {
	files, err := manifest.ReadFiles(names, a.sys.In)
	if err != nil {
		return nil, err
	}
	spec, source, faults := manifest.Parse(files, manifest.Options{LookupEnv: a.sys.LookupEnv, ReadFile: manifest.FilesBelow, Set: set})
	style := a.faultStyle()
	if len(faults) == 0 {
		if notes := source.Notes(); len(notes) > 0 && a.output == "table" {
			if err := notes.Render(a.sys.Err, style); err != nil {
				return nil, err
			}
		}
		return spec, nil
	}
	if a.output == "json" {
		if err := a.writeJSON(map[string]any{"faults": faults}); err != nil {
			return nil, err
		}
		return nil, &exitError{code: exitFailed}
	}
	if err := faults.Render(a.sys.Err, style); err != nil {
		return nil, err
	}
	return nil, &exitError{code: exitFailed, msg: plural(uint32(len(faults)), "fault") + " in " + strings.Join(names, ", ")}
}

// faultStyle is how faults are painted on standard error.
func (a *app) faultStyle() manifest.Style {
	if !a.colorful(a.sys.Err) {
		return manifest.Style{}
	}
	return manifest.Style{Place: painter(bold), Message: painter(red), Caret: painter(green), Hint: painter(blue)}
}

func painter(s style) func(string) string {
	return func(text string) string { return string(s) + text + "\x1b[0m" }
}

func (a *app) planCmd() *cobra.Command {
	req := &argosyv1.PlanRequest{}
	var set setFlag
	cmd := &cobra.Command{
		Use:   "plan FILE...",
		Short: "Say what applying would change, where each replica would go, why, and what would follow",
		Long: `Say what applying a manifest would change, where each replica would go, and why. Nothing is changed.

A forecast says what would follow: for what does not fit, how much is missing on the nearest machine and the smallest change
that makes it fit (each was tried); what survives the loss of any one machine, and of all machines that share a label; and how
many more of each stack fit. -o json has every loss and every remedy.

Exit code 0: nothing to do. Exit code 2: applying would change something.`,
		Example: `  argosy plan lamp.yaml
  argosy plan lamp.yaml --loss-of rack
  argosy plan lamp.yaml --set cluster.lamp=7
  argosy plan lamp.yaml -o json`,
		Args: cobra.MinimumNArgs(1), ValidArgsFunction: completeManifests,
		RunE: func(cmd *cobra.Command, args []string) error {
			spec, err := a.parseManifest(args, set.paths...)
			if err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			req.Tenant, req.Spec = a.tenant, spec
			res, err := c.apps().Plan(cmd.Context(), connect.NewRequest(req))
			if err != nil {
				return err
			}
			if err := a.showPlan(spec, res.Msg); err != nil {
				return err
			}
			if res.Msg.Differs {
				return &exitError{code: exitChanges}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&req.Forecast, "forecast", true, "say also what would follow")
	cmd.Flags().StringSliceVar(&req.LossLabels, "loss-of", nil, "forecast also the loss of all machines with the same value of this `label`")
	set.add(cmd)
	return cmd
}

var changeMarks = map[argosyv1.ChangeKind]cell{
	argosyv1.ChangeKind_CHANGE_KIND_CREATE: {"+ create", green},
	argosyv1.ChangeKind_CHANGE_KIND_UPDATE: {"~ update", yellow},
	argosyv1.ChangeKind_CHANGE_KIND_REMOVE: {"- remove", red},
	argosyv1.ChangeKind_CHANGE_KIND_MOVE:   {"> move", yellow},
	argosyv1.ChangeKind_CHANGE_KIND_KEEP:   {"= keep", dim},
	argosyv1.ChangeKind_CHANGE_KIND_WAIT:   {"! wait", red},
}

func (a *app) showPlan(spec *argosyv1.AppSpec, p *argosyv1.PlanResponse) error {
	if a.output != "table" {
		var names []string
		for _, c := range p.Changes {
			if c.Kind != argosyv1.ChangeKind_CHANGE_KIND_KEEP {
				names = append(names, replicaName(c.Key))
			}
		}
		return a.show(p, nil, names)
	}
	out, colorful := a.sys.Out, a.colorful(a.sys.Out)
	switch {
	case !p.AppExists:
		fmt.Fprintf(out, "App %s is new.\n", spec.Name)
	case p.Differs:
		fmt.Fprintf(out, "App %s is at revision %d.\n", spec.Name, p.BaseRevision)
	}
	for _, s := range p.SpecChanges {
		fmt.Fprintf(out, "  %s\n", s)
	}
	t := &table{header: []string{"CHANGE", "REPLICA", "MACHINE", "WHY"}}
	counts := map[argosyv1.ChangeKind]int{}
	for _, c := range p.Changes {
		counts[c.Kind]++
		if c.Kind == argosyv1.ChangeKind_CHANGE_KIND_KEEP {
			continue
		}
		why := c.GetReason().GetSummary()
		if len(c.Details) > 0 {
			why = strings.Join(c.Details, "; ")
		}
		t.add(changeMarks[c.Kind], text(replicaName(c.Key)), text(changeMachine(c)), text(oneLine(why)))
	}
	if t.n > 0 {
		fmt.Fprintln(out)
		if err := t.write(out, colorful, false); err != nil {
			return err
		}
		fmt.Fprintln(out)
	}
	for _, w := range p.Warnings {
		a.note("warning: %s", w)
	}
	if !p.Differs {
		fmt.Fprintln(out, "Nothing to do: the cluster is asked for exactly this already.")
		return a.showForecast(p.Forecast)
	}
	var parts []string
	for _, k := range []argosyv1.ChangeKind{argosyv1.ChangeKind_CHANGE_KIND_CREATE, argosyv1.ChangeKind_CHANGE_KIND_UPDATE, argosyv1.ChangeKind_CHANGE_KIND_MOVE,
		argosyv1.ChangeKind_CHANGE_KIND_REMOVE, argosyv1.ChangeKind_CHANGE_KIND_KEEP, argosyv1.ChangeKind_CHANGE_KIND_WAIT} {
		if n := counts[k]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d to %s", n, strings.Fields(changeMarks[k].text)[1]))
		}
	}
	fmt.Fprintf(out, "%s.\n", strings.Join(parts, ", "))
	return a.showForecast(p.Forecast)
}

// changeMachine is where a change happens, or from where to where.
func changeMachine(c *argosyv1.Change) string {
	if c.FromMachine != "" && c.FromMachine != c.ToMachine && c.ToMachine != "" {
		return c.FromMachine + " → " + c.ToMachine
	}
	return orDash(cmp.Or(c.ToMachine, c.FromMachine))
}

func (a *app) applyCmd() *cobra.Command {
	var w waitFlags
	var set setFlag
	var revision uint64
	cmd := &cobra.Command{
		Use:   "apply FILE...",
		Short: "Make a manifest what the cluster is asked for",
		Long: `Make a manifest what the cluster is asked for.

Applying writes the app's next revision, unless nothing changed, and returns at once; the cluster does the rest. With --wait
it shows progress until every replica is ready. Ctrl-C then stops only the waiting.

` + setHelp + waitExit,
		Example: `  argosy apply lamp.yaml
  argosy apply lamp.yaml --set containers.apache.image=httpd:2.5
  argosy apply lamp.yaml --wait
  argosy apply base.yaml production.yaml --revision 7`,
		Args: cobra.MinimumNArgs(1), ValidArgsFunction: completeManifests,
		RunE: func(cmd *cobra.Command, args []string) error {
			spec, err := a.parseManifest(args, set.paths...)
			if err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			return a.apply(cmd.Context(), c, spec, revision, w)
		},
	}
	w.add(cmd)
	set.add(cmd)
	cmd.Flags().Uint64Var(&revision, "revision", 0, "refuse unless the app is at this revision")
	return cmd
}

// traced is a request that belongs to the trace that the environment names, if any, as programs that run others pass it on.
func traced[T any](a *app, m *T) *connect.Request[T] {
	r := connect.NewRequest(m)
	if parent := a.sys.Getenv("TRACEPARENT"); parent != "" {
		r.Header().Set("traceparent", parent)
	}
	return r
}

func (a *app) apply(ctx context.Context, c *connection, spec *argosyv1.AppSpec, revision uint64, w waitFlags) error {
	res, err := c.apps().Apply(ctx, traced(a, &argosyv1.ApplyRequest{
		Tenant: a.tenant, Spec: spec, ExpectedRevision: revision, IdempotencyKey: requestKey()}))
	if err != nil {
		return err
	}
	return a.applied(ctx, c, res.Msg, w)
}
