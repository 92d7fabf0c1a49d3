package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/unitfile"
)

func (a *app) unitCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "unit",
		Aliases: []string{"units"},
		Short:   "Run systemd units that are submitted by themselves",
		Long: `Run systemd units that are submitted by themselves, as with fleet: a unit file, maybe with an [X-Fleet] section that says
where it may run. The cluster finds it a machine, and another one when that is lost.

Each is an app of its own that has the unit's name, so 'argosy ps', 'logs', 'explain', 'events' and 'rollback' work with it. Units
that belong together, or of which there are several, are better off in a manifest.

Exit code 1: a unit failed, or what was asked for cannot be. Exit code 3: it was not so in time; the cluster goes on by itself.`,
		Example: `  argosy unit verify web.service         # what is wrong with it, and where
  argosy unit start web.service          # submits the file, and starts it
  argosy unit submit worker@.service && argosy unit start worker@1 worker@2
  argosy unit status web.service
  argosy unit list`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.unitSubmitCmd(), a.unitStartCmd(), a.unitStopCmd(), a.unitRestartCmd(), a.unitUnloadCmd(), a.unitDestroyCmd(), a.unitListCmd(),
		a.unitStatusCmd(), a.unitCatCmd(), a.unitVerifyCmd())
	return cmd
}

// unitName is what a person means by a name without a type.
func unitName(s string) string {
	if !strings.Contains(filepath.Base(s), ".") {
		s += ".service"
	}
	return filepath.Base(s)
}

// units are those of that name, by name.
func (a *app) units(ctx context.Context, c *connection, names ...string) (map[string]*argosyv1.UnitStatus, error) {
	res, err := c.units().ListUnits(ctx, connect.NewRequest(&argosyv1.ListUnitsRequest{Tenant: a.tenant, Names: names}))
	if err != nil {
		return nil, err
	}
	out := map[string]*argosyv1.UnitStatus{}
	for _, u := range res.Msg.Units {
		out[u.Name] = u
	}
	return out, nil
}

// knownUnits are the names that a person gave, each of a unit that exists.
func (a *app) knownUnits(ctx context.Context, c *connection, args []string) ([]string, map[string]*argosyv1.UnitStatus, error) {
	names := make([]string, 0, len(args))
	for _, arg := range args {
		names = append(names, unitName(arg))
	}
	found, err := a.units(ctx, c, names...)
	if err != nil {
		return nil, nil, err
	}
	var errs []error
	for _, n := range names {
		if found[n] == nil {
			errs = append(errs, fmt.Errorf("there is no unit %s; see 'argosy unit list'", n))
		}
	}
	return names, found, errors.Join(errs...)
}

// submitted makes a unit of a file and says what that changed.
func (a *app) submitted(ctx context.Context, c *connection, path string, goal argosyv1.UnitGoal) (*argosyv1.SubmitUnitResponse, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return a.submittedAs(ctx, c, unitName(path), string(text), goal)
}

func (a *app) submittedAs(ctx context.Context, c *connection, name, content string, goal argosyv1.UnitGoal) (*argosyv1.SubmitUnitResponse, error) {
	res, err := c.units().SubmitUnit(ctx, connect.NewRequest(&argosyv1.SubmitUnitRequest{Tenant: a.tenant, Name: name,
		Content: content, Goal: goal, IdempotencyKey: requestKey()}))
	if err != nil {
		return nil, err
	}
	for _, w := range res.Msg.Warnings {
		a.note("warning: %s: %s", name, w)
	}
	return res.Msg, nil
}

func (a *app) unitSubmitCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "submit FILE...",
		Short: "Give the cluster unit files, without running them",
		Long: `Give the cluster unit files. A new unit is kept and runs nowhere until it is started; one that exists gets the new content, and is
restarted with it where it runs. The unit is called as the file is.`,
		Example: "  argosy unit submit web.service worker@.service",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			for _, path := range args {
				res, err := a.submitted(cmd.Context(), c, path, argosyv1.UnitGoal_UNIT_GOAL_UNSPECIFIED)
				if err != nil {
					return err
				}
				name, what := unitName(path), "is unchanged"
				switch {
				case res.Created:
					what = "is kept, and runs nowhere yet: argosy unit start " + name
				case res.Changed:
					what = fmt.Sprintf("is now at revision %d", res.Revision)
				}
				if err := a.answer(res, []string{name}, "%s %s", name, what); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// unitExit is what commands with unitWait say of their exit codes.
const unitExit = "\n\nExit code 1: a unit failed. Exit code 3: it was not so in time; the cluster goes on by itself."

// unitWait are the flags of commands that wait unless told not to.
type unitWait struct {
	noBlock bool
	timeout time.Duration
}

func (w *unitWait) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&w.noBlock, "no-block", false, "do not wait until it is so")
	cmd.Flags().DurationVar(&w.timeout, "timeout", 2*time.Minute, "give up waiting after this long (exit code 3)")
}

func (a *app) unitStartCmd() *cobra.Command {
	var w unitWait
	cmd := &cobra.Command{
		Use:   "start NAME|FILE...",
		Short: "Start units, and wait until they run",
		Long: `Start units, and wait until they run. What is a file here is submitted first; an instance, web@1, of which only the template is known is
made from that.` + unitExit,
		Example: `  argosy unit start web.service
  argosy unit start worker@1 worker@2 worker@3`,
		Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var names []string
			for _, arg := range args {
				if err := a.startUnit(cmd.Context(), c, arg); err != nil {
					return err
				}
				names = append(names, unitName(arg))
			}
			return a.waitUnits(cmd.Context(), c, names, w, "started", unitRuns)
		},
	}
	w.add(cmd)
	return cmd
}

// startUnit has one unit started: that of a file, one that is known, or an instance of a template that is.
func (a *app) startUnit(ctx context.Context, c *connection, arg string) error {
	const launched = argosyv1.UnitGoal_UNIT_GOAL_LAUNCHED
	if info, err := os.Stat(arg); err == nil && !info.IsDir() {
		_, err := a.submitted(ctx, c, arg, launched)
		return err
	}
	name := unitName(arg)
	parsed, err := unitfile.ParseName(name)
	if err != nil {
		return err
	}
	template, asked := parsed.Template(), []string{name}
	if template != "" {
		asked = append(asked, template)
	}
	found, err := a.units(ctx, c, asked...)
	switch {
	case err != nil:
		return err
	case found[name] != nil:
		return a.setGoal(ctx, c, name, launched)
	case found[template] != nil:
		_, err := a.submittedAs(ctx, c, name, found[template].Content, launched)
		return err
	case template != "":
		return fmt.Errorf("there is neither a unit %s nor its template %s, here or in the cluster; see 'argosy unit list'", name, template)
	}
	return fmt.Errorf("there is no unit %s, here or in the cluster; see 'argosy unit list'", name)
}

func (a *app) setGoal(ctx context.Context, c *connection, name string, goal argosyv1.UnitGoal) error {
	_, err := c.units().SetUnitGoal(ctx, connect.NewRequest(&argosyv1.SetUnitGoalRequest{Tenant: a.tenant, Name: name, Goal: goal, IdempotencyKey: requestKey()}))
	return err
}

func (a *app) unitStopCmd() *cobra.Command {
	return a.unitGoalCmd("stop NAME...", "Stop units; they stay on their machines", "stopped", argosyv1.UnitGoal_UNIT_GOAL_LOADED, unitStopped)
}

func (a *app) unitUnloadCmd() *cobra.Command {
	return a.unitGoalCmd("unload NAME...", "Stop units and take them off their machines; the cluster keeps them", "unloaded", argosyv1.UnitGoal_UNIT_GOAL_INACTIVE, unitUnloaded)
}

func (a *app) unitGoalCmd(use, short, word string, goal argosyv1.UnitGoal, done unitGoal) *cobra.Command {
	var w unitWait
	verb, _, _ := strings.Cut(use, " ")
	cmd := &cobra.Command{
		Use: use, Short: short, Long: short + "." + unitExit, Example: "  argosy unit " + verb + " web.service", Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			names, _, err := a.knownUnits(cmd.Context(), c, args)
			if err != nil {
				return err
			}
			for _, name := range names {
				if err := a.setGoal(cmd.Context(), c, name, goal); err != nil {
					return err
				}
			}
			return a.waitUnits(cmd.Context(), c, names, w, word, done)
		},
	}
	w.add(cmd)
	return cmd
}

func (a *app) unitRestartCmd() *cobra.Command {
	var w unitWait
	cmd := &cobra.Command{
		Use: "restart NAME...", Short: "Restart units, and wait until they run again", Long: "Restart units, and wait until they run again." + unitExit, Example: "  argosy unit restart web.service",
		Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			names, found, err := a.knownUnits(cmd.Context(), c, args)
			if err != nil {
				return err
			}
			for _, name := range names {
				if g := found[name].Goal; g != argosyv1.UnitGoal_UNIT_GOAL_LAUNCHED {
					return fmt.Errorf("%s is to be %s, so there is nothing to restart: argosy unit start %s", name, goalName(g), name)
				}
			}
			for _, name := range names {
				if _, err := c.apps().Restart(cmd.Context(), connect.NewRequest(&argosyv1.RestartRequest{Tenant: a.tenant, App: name, IdempotencyKey: requestKey()})); err != nil {
					return err
				}
			}
			return a.waitUnits(cmd.Context(), c, names, w, "restarted", unitRuns)
		},
	}
	w.add(cmd)
	return cmd
}

func (a *app) unitDestroyCmd() *cobra.Command {
	var w unitWait
	cmd := &cobra.Command{
		Use: "destroy NAME...", Aliases: []string{"delete"}, Short: "Stop units and forget them", Long: "Stop units and forget them." + unitExit, Example: "  argosy unit destroy web.service",
		Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			names, _, err := a.knownUnits(cmd.Context(), c, args)
			if err != nil {
				return err
			}
			for _, name := range names {
				if _, err := c.apps().DeleteApp(cmd.Context(), connect.NewRequest(&argosyv1.DeleteAppRequest{Tenant: a.tenant, App: name, IdempotencyKey: requestKey()})); err != nil {
					return err
				}
			}
			if !w.noBlock {
				for _, name := range names {
					if err := a.waitGone(cmd.Context(), c, name, w.timeout); err != nil {
						return err
					}
				}
			}
			return a.told(struct {
				Destroyed []string `json:"destroyed"`
			}{names}, names, "%s destroyed", strings.Join(names, ", "))
		},
	}
	w.add(cmd)
	return cmd
}

func (a *app) unitCatCmd() *cobra.Command {
	return &cobra.Command{
		Use: "cat NAME...", Short: "Print unit files as they were submitted", Example: "  argosy unit cat web.service", Args: cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			names, found, err := a.knownUnits(cmd.Context(), c, args)
			if err != nil {
				return err
			}
			switch a.output {
			case "json":
				res := &argosyv1.ListUnitsResponse{}
				for _, n := range names {
					res.Units = append(res.Units, found[n])
				}
				return a.printJSON(res)
			case "name":
				return a.show(nil, nil, names)
			}
			for _, n := range names {
				fmt.Fprint(a.sys.Out, found[n].Content)
				if !strings.HasSuffix(found[n].Content, "\n") {
					fmt.Fprintln(a.sys.Out)
				}
			}
			return nil
		},
	}
}

func (a *app) completeUnits(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	return a.each(func(ctx context.Context, c *connection) ([]string, error) {
		res, err := c.units().ListUnits(ctx, connect.NewRequest(&argosyv1.ListUnitsRequest{Tenant: a.tenant, Brief: true}))
		if err != nil {
			return nil, err
		}
		var names []string
		for _, u := range res.Msg.Units {
			names = append(names, u.Name)
		}
		return names, nil
	})(cmd, args, word)
}
