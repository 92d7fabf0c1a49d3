package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// drainFlags are what can be said of a drain, on a machine and from afar.
type drainFlags struct {
	deadline       time.Duration
	reason         string
	stop, stopData bool
}

func (d *drainFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.DurationVar(&d.deadline, "deadline", 0, "tell clearly what is left after this long (default: never)")
	flags.StringVar(&d.reason, "reason", "", "why, for those who look")
	flags.BoolVar(&d.stop, "stop-at-deadline", false, "stop what is left at the deadline, whether it runs elsewhere or not")
	flags.BoolVar(&d.stopData, "stop-data", false, "stop replicas whose data is on the machine; they wait for it")
}

// wish checks the flags and says the deadline as the protocol does.
func (d *drainFlags) wish() (*durationpb.Duration, error) {
	switch {
	case d.deadline < 0:
		return nil, usageError("--deadline %s is past: say how long from now", d.deadline)
	case d.deadline == 0 && d.stop:
		return nil, usageError("--stop-at-deadline needs a --deadline")
	case d.deadline == 0:
		return nil, nil
	}
	return durationpb.New(d.deadline), nil
}

func (a *app) machineDrainCmd() *cobra.Command {
	var d drainFlags
	var w waitFlags
	cmd := &cobra.Command{
		Use:   "drain MACHINE",
		Short: "Empty a machine: it takes nothing new, and what runs there goes elsewhere",
		Long: `Empty a machine, for maintenance or for good. It takes nothing new until 'argosy machines activate'.

Replicas without local data start elsewhere first, one of a stack at a time, and end here once they are ready there; those
that fit nowhere else stay and say why. Stacks with one replica on each machine end here. Replicas whose data is on the
machine stay and say so; with --stop-data they are stopped, keep their data, and wait for the machine.

At the deadline what is left is told; with --stop-at-deadline it is stopped. Drain again to change the deadline or to
choose otherwise.` + waitExit,
		Example: `  argosy machines drain m2 --reason "new kernel" --wait
  argosy machines drain m2 --deadline 10m --stop-at-deadline
  argosy machines drain m2 --stop-data --wait`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeMachines,
		RunE: func(cmd *cobra.Command, args []string) error {
			deadline, err := d.wish()
			if err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			res, err := c.machines().DrainMachine(cmd.Context(), connect.NewRequest(&argosyv1.DrainMachineRequest{
				Machine: args[0], Reason: d.reason, Deadline: deadline, StopAtDeadline: d.stop, StopData: d.stopData, IdempotencyKey: requestKey()}))
			if err != nil {
				return err
			}
			m := res.Msg
			if w.wait {
				ctx, cancel := context.WithTimeout(cmd.Context(), w.timeout)
				defer cancel()
				return a.waitForMachine(ctx, c, m.GetMachine().GetName(), "drained")
			}
			if err := a.answer(m, []string{m.GetMachine().GetName()}, "%s %s", m.GetMachine().GetName(), oneLine(m.Message)); err != nil || a.output != "table" {
				return err
			}
			a.showRemaining(m)
			return nil
		},
	}
	d.add(cmd)
	w.add(cmd)
	return cmd
}

// mostRemaining is how many replicas are named that are left on a machine.
const mostRemaining = 20

// showRemaining lists what is left on a machine that is being drained.
func (a *app) showRemaining(m *argosyv1.MachineStatus) {
	for _, l := range remainingLines(m, mostRemaining) {
		a.done("      %s", l)
	}
}

// remainingLines says what is left on a machine and what it waits for.
func remainingLines(m *argosyv1.MachineStatus, most int) []string {
	var out []string
	others, more := uint32(0), uint32(0)
	for _, l := range m.GetRemaining() {
		switch {
		case l.Key == nil:
			others++
		case len(out) == most:
			more++
		default:
			out = append(out, replicaName(l.Key)+": "+oneLine(l.Why))
		}
	}
	if more > 0 {
		out = append(out, fmt.Sprintf("and %s more", plural(more, "replica")))
	}
	if others > 0 {
		out = append(out, plural(others, "replica")+" of other tenants")
	}
	return out
}

func (a *app) machineActivateCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "activate MACHINE",
		Aliases: []string{"undrain"},
		Short:   "Let a drained machine take replicas again",
		Long: `Let a machine that was drained, or is being drained, take replicas again.

What has moved stays where it is. What waits for the machine's data goes on there.`,
		Example: "  argosy machines activate m2",
		Args:    cobra.ExactArgs(1), ValidArgsFunction: a.completeMachines,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			res, err := c.machines().ActivateMachine(cmd.Context(), connect.NewRequest(&argosyv1.ActivateMachineRequest{
				Machine: args[0], IdempotencyKey: requestKey()}))
			if err != nil {
				return err
			}
			name := res.Msg.GetMachine().GetName()
			return a.answer(res.Msg, []string{name}, "%s takes replicas again", name)
		},
	}
}

func (a *app) machineLostCmd() *cobra.Command {
	var reason string
	var yes bool
	cmd := &cobra.Command{
		Use:   "lost MACHINE...",
		Short: "Say of silent machines that they are gone, so that nobody waits for them",
		Long: `Say of silent machines that they are gone, so that what ran there runs elsewhere.

While more than half of the machines are silent at once, nothing is moved: the fault is probably not theirs, and what they
run would run twice. Whoever knows that they are gone says so here; whatever is moved counts on that. Replicas whose data
is on such a machine go on waiting for it; 'argosy machines remove --force' gives the data up.

A machine that returns nevertheless stops what was moved before anything else.`,
		Example: "  argosy machines lost m4 m5 m6 --reason \"rack r2 burnt\"",
		Args:    cobra.MinimumNArgs(1), ValidArgsFunction: a.completeMachines,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes {
				if err := a.confirm(fmt.Sprintf("Have everything without local data that ran on %s run elsewhere?", strings.Join(args, ", "))); err != nil {
					return err
				}
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			res, err := c.machines().DeclareLost(cmd.Context(), connect.NewRequest(&argosyv1.DeclareLostRequest{
				Machines: args, Reason: reason, IdempotencyKey: requestKey()}))
			if err != nil {
				return err
			}
			var names []string
			for _, m := range res.Msg.Machines {
				names = append(names, m.GetMachine().GetName())
			}
			return a.answer(res.Msg, names, "declared lost: %s", strings.Join(names, ", "))
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who look")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// stuckDrain reports whether a drain's deadline has passed and what is left stays.
func stuckDrain(d *argosyv1.Drain) bool { return d.GetOverdue() && !d.GetStopAtDeadline() }
