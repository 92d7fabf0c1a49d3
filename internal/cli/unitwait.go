package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// unitGoal says whether a unit is as somebody waits for it to be. An error says that it will not be: it failed.
type unitGoal func(u *argosyv1.UnitStatus) (bool, error)

// unitRuns: everywhere it is to be, it runs as it is now, or has done what it was to do.
func unitRuns(u *argosyv1.UnitStatus) (bool, error) {
	if u.Goal != argosyv1.UnitGoal_UNIT_GOAL_LAUNCHED {
		return false, fmt.Errorf("%s is to be %s by now: somebody else changed it", u.Name, goalName(u.Goal))
	}
	for _, c := range u.Copies {
		if !c.UpToDate {
			return false, nil
		}
		switch c.State {
		case argosyv1.ReplicaState_REPLICA_STATE_READY, argosyv1.ReplicaState_REPLICA_STATE_COMPLETED:
		case argosyv1.ReplicaState_REPLICA_STATE_FAILED, argosyv1.ReplicaState_REPLICA_STATE_DEGRADED:
			return false, fmt.Errorf("%s failed on %s: %s\nSee 'argosy logs %s' and 'argosy unit status %s'", u.Name, c.MachineName, orDash(oneLine(c.Message)), u.Name, u.Name)
		default:
			return false, nil
		}
	}
	return len(u.Copies) > 0, nil
}

// unitStopped: no machine runs it.
func unitStopped(u *argosyv1.UnitStatus) (bool, error) {
	for _, c := range u.Copies {
		if o := c.Observation; !c.UpToDate || o == nil || o.ActiveState != "inactive" && o.ActiveState != "failed" {
			return false, nil
		}
	}
	return len(u.Copies) > 0, nil
}

// unitUnloaded: no machine has it.
func unitUnloaded(u *argosyv1.UnitStatus) (bool, error) { return len(u.Copies) == 0, nil }

// unitLook is how often waiting commands look.
const unitLook = 200 * time.Millisecond

// waitUnits waits until all units are as they are to be, and says so of each; of those that failed too, at the end.
func (a *app) waitUnits(ctx context.Context, c *connection, names []string, w unitWait, word string, done unitGoal) error {
	if w.noBlock {
		return a.showUnits(ctx, c, names, func(u *argosyv1.UnitStatus) string { return u.Name + " is to be " + goalName(u.Goal) })
	}
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	begun, waiting := time.Now(), names
	var failed []error
	for {
		found, err := a.units(ctx, c, waiting...)
		if err != nil && connect.CodeOf(err) != connect.CodeUnavailable && ctx.Err() == nil {
			return err
		}
		var still []string
		for _, name := range waiting {
			u := found[name]
			if err != nil || ctx.Err() != nil {
				still = append(still, name)
				continue
			}
			if u == nil {
				failed = append(failed, fmt.Errorf("%s is gone: somebody destroyed it", name))
				continue
			}
			switch ok, problem := done(u); {
			case problem != nil:
				failed = append(failed, problem)
			case ok:
				a.done("%s %s%s after %s", name, word, onMachines(u), span(time.Since(begun)))
			default:
				still = append(still, name)
			}
		}
		if waiting = still; len(waiting) == 0 {
			break
		}
		select {
		case <-ctx.Done():
			return a.unitsLate(ctx, c, waiting, failed)
		case <-time.After(unitLook):
		}
	}
	if len(failed) > 0 {
		return errors.Join(failed...)
	}
	if a.output == "json" || a.output == "name" {
		return a.showUnits(ctx, c, names, nil)
	}
	return nil
}

// unitsLate says what those that were waited for in vain wait for.
func (a *app) unitsLate(ctx context.Context, c *connection, waiting []string, failed []error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return &exitError{exitInterrupted, "interrupted: only the waiting has ended\nIt goes on by itself; look again with 'argosy unit status'."}
	}
	look, cancel := context.WithTimeout(context.WithoutCancel(ctx), serverTime)
	defer cancel()
	lines := []string{}
	for _, err := range failed {
		lines = append(lines, err.Error())
	}
	found, err := a.units(look, c, waiting...)
	for _, name := range waiting {
		u := found[name]
		why := "the server does not say how it is"
		switch {
		case err == nil && u != nil:
			why = unitText(u)
		case err == nil:
			why = "it is gone"
		}
		lines = append(lines, name+" is not there in time: "+why)
	}
	code := exitTimeout
	if len(failed) > 0 {
		code = exitFailed
	}
	return &exitError{code, strings.Join(lines, "\n") + "\nIt goes on by itself; look again with 'argosy unit status' or 'argosy explain'."}
}

// showUnits prints units after a command; line is what a person is told of each.
func (a *app) showUnits(ctx context.Context, c *connection, names []string, line func(*argosyv1.UnitStatus) string) error {
	found, err := a.units(ctx, c, names...)
	if err != nil {
		return err
	}
	res := &argosyv1.ListUnitsResponse{}
	for _, n := range names {
		if u := found[n]; u != nil {
			res.Units = append(res.Units, u)
		}
	}
	switch a.output {
	case "json":
		return a.printJSON(res)
	case "name":
		return a.show(nil, nil, names)
	}
	for _, u := range res.Units {
		a.done("%s", line(u))
	}
	return nil
}

func goalName(g argosyv1.UnitGoal) string {
	switch g {
	case argosyv1.UnitGoal_UNIT_GOAL_INACTIVE:
		return "inactive"
	case argosyv1.UnitGoal_UNIT_GOAL_LOADED:
		return "loaded"
	case argosyv1.UnitGoal_UNIT_GOAL_LAUNCHED:
		return "launched"
	}
	return "-"
}

func onMachines(u *argosyv1.UnitStatus) string {
	switch n := len(u.Copies); {
	case n == 0:
		return ""
	case n == 1:
		return " on " + u.Copies[0].MachineName
	default:
		return fmt.Sprintf(" on %d machines", n)
	}
}

// unitText is how a unit is in one line.
func unitText(u *argosyv1.UnitStatus) string {
	if len(u.Copies) == 0 {
		return orDash(oneLine(u.Message))
	}
	var parts []string
	for _, c := range u.Copies {
		s := systemdState(c).text + " on " + c.MachineName
		if c.Message != "" {
			s += " (" + oneLine(c.Message) + ")"
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, "; ")
}

// systemdState is a copy's state in systemd's words.
func systemdState(c *argosyv1.UnitCopy) cell {
	o := c.Observation
	switch {
	case o == nil && c.State == argosyv1.ReplicaState_REPLICA_STATE_UNSPECIFIED:
		return cell{"unknown", yellow}
	case o == nil:
		return cell{"pending", yellow}
	}
	s := cell{o.ActiveState + "/" + o.SubState, blue}
	switch o.ActiveState {
	case "active":
		s.style = green
	case "failed":
		s.style = red
	case "inactive":
		s.style = plain
	}
	return s
}

func (a *app) unitListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List units that were submitted by themselves", Example: "  argosy unit list", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			res, err := c.units().ListUnits(cmd.Context(), connect.NewRequest(&argosyv1.ListUnitsRequest{Tenant: a.tenant, Brief: a.output != "json"}))
			if err != nil {
				return err
			}
			return a.listUnits(res.Msg)
		},
	}
}

func (a *app) listUnits(res *argosyv1.ListUnitsResponse) error {
	t := &table{header: []string{"UNIT", "GOAL", "STATE", "MACHINE", "AGE", "MESSAGE"}, wide: []string{"LOADED", "HASH"}}
	var names []string
	for _, u := range res.Units {
		names = append(names, u.Name)
		if len(u.Copies) == 0 {
			state := cell{"-", plain}
			if u.Goal != argosyv1.UnitGoal_UNIT_GOAL_INACTIVE {
				state = cell{"pending", yellow}
			}
			t.add(text(u.Name), text(goalName(u.Goal)), state, text("-"), text("-"), text(oneLine(u.Message)))
			t.also(text("-"), text(u.Hash[:min(7, len(u.Hash))]))
		}
		for _, c := range u.Copies {
			t.add(text(u.Name), text(goalName(u.Goal)), systemdState(c), text(c.MachineName), text(age(c.Age)), text(oneLine(c.Message)))
			t.also(text(orDash(c.GetObservation().GetLoadState())), text(u.Hash[:min(7, len(u.Hash))]))
		}
	}
	if len(names) == 0 && a.output == "table" {
		a.note("No units yet. Submit one: argosy unit start FILE")
		return nil
	}
	return a.show(res, t, names)
}

func (a *app) unitStatusCmd() *cobra.Command {
	var lines uint32
	cmd := &cobra.Command{
		Use: "status NAME...", Short: "Say how units are, in systemd's words, and what they wrote last",
		Example: `  argosy unit status web.service
  argosy unit status -n 50 web.service
  argosy unit status -n 0 web.service db.service`,
		Long: `Say how units are, in systemd's words, and what they wrote last, as their machines' journals have it. Of a machine that does not
answer within 3 s that is left out, and said. Exit code 1: one that is to run does not.`,
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
			res := &argosyv1.ListUnitsResponse{}
			well := true
			for _, n := range names {
				res.Units = append(res.Units, found[n])
				if found[n].Goal == argosyv1.UnitGoal_UNIT_GOAL_LAUNCHED {
					runs, _ := unitRuns(found[n])
					well = well && runs
				}
			}
			switch a.output {
			case "json":
				err = a.printJSON(res)
			case "name":
				err = a.show(nil, nil, names)
			default:
				a.tellUnits(cmd.Context(), c, res.Units, lines)
			}
			if err == nil && !well {
				return &exitError{code: exitFailed}
			}
			return err
		},
	}
	cmd.Flags().Uint32VarP(&lines, "lines", "n", 10, "how many lines to show of what each wrote last; 0 is none")
	return cmd
}

// tellUnits says all that is known of units.
func (a *app) tellUnits(ctx context.Context, c *connection, units []*argosyv1.UnitStatus, lines uint32) {
	ctx, cancel := context.WithTimeout(ctx, unitLogTime)
	defer cancel()
	for i, log := range a.unitLogs(ctx, c, units, lines) {
		a.tellUnit(units[i], log)
		for _, note := range log.notes {
			a.note("argosy: %s", note)
		}
	}
}

// tellUnit says all that is known of a unit.
func (a *app) tellUnit(u *argosyv1.UnitStatus, log unitLog) {
	w := a.sys.Out
	fmt.Fprintf(w, "%s: to be %s, at revision %d\n", u.Name, goalName(u.Goal), u.Revision)
	if len(u.Copies) == 0 && u.Message != "" {
		fmt.Fprintf(w, "  on no machine: %s\n", oneLine(u.Message))
	}
	for _, c := range u.Copies {
		fmt.Fprintf(w, "  on %s, seen %s ago: %s\n", c.MachineName, age(c.Age), systemdState(c).text)
		if o := c.Observation; o != nil {
			fmt.Fprintf(w, "    loaded: %s; result: %s; started again by systemd: %d times", orDash(o.LoadState), orDash(o.Result), o.Restarts)
			if o.MainPid != 0 {
				fmt.Fprintf(w, "; main process: %d", o.MainPid)
			}
			fmt.Fprintln(w)
		}
		if c.Message != "" {
			fmt.Fprintf(w, "    %s\n", oneLine(c.Message))
		}
		log.tell(w, c.Number)
	}
}
