package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

func (a *app) eventsCmd() *cobra.Command {
	var follow bool
	var tail uint32
	var machine string
	var ago time.Duration
	cmd := &cobra.Command{
		Use:     "events [APP[/STACK.NUMBER]]",
		Aliases: []string{"history"},
		Short:   "Show what happened: when, to what, and why",
		Example: `  argosy events
  argosy events -f shop
  argosy events shop/lamp.3 --since 1h
  argosy events --machine m2 -o json`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeReplicas,
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &argosyv1.ListEventsRequest{Tenant: a.tenant, Follow: follow, Tail: tail, Machine: machine}
			if ago > 0 {
				req.Since = timestamppb.New(time.Now().Add(-ago))
			}
			if len(args) == 1 {
				t, err := parseTarget(args[0])
				if err != nil {
					return err
				}
				req.App = t.app
				if t.number > 0 {
					req.Replica = a.key(t)
				} else if t.stack != "" {
					return usageError("%q: give an app or one replica, for example %s.1", args[0], args[0])
				}
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			stream, err := c.cluster().ListEvents(cmd.Context(), connect.NewRequest(req))
			if err != nil {
				return err
			}
			defer stream.Close()
			names := a.machineNames(cmd.Context(), c)
			for stream.Receive() {
				for _, e := range stream.Msg().Events {
					if err := a.showEvent(e, names); err != nil {
						return err
					}
				}
			}
			return stream.Err()
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens")
	cmd.Flags().Uint32VarP(&tail, "tail", "n", 100, "how many past events to begin with")
	cmd.Flags().StringVar(&machine, "machine", "", "only events of this machine")
	cmd.Flags().DurationVar(&ago, "since", 0, "only events of the last DURATION, for example 10m")
	_ = cmd.RegisterFlagCompletionFunc("machine", a.completeMachineFlag)
	return cmd
}

func (a *app) showEvent(e *argosyv1.Transition, machines map[string]string) error {
	switch a.output {
	case "json":
		return a.printJSONLine(e)
	case "name":
		_, err := fmt.Fprintln(a.sys.Out, e.Seq)
		return err
	}
	line := fmt.Sprintf("%s  %s", e.At.AsTime().Local().Format("2006-01-02 15:04:05.000"), what(e, machines))
	if e.Cause != "" {
		line += ": " + oneLine(e.Cause)
	}
	_, err := fmt.Fprintln(a.sys.Out, line)
	return err
}

// machineNames maps machines' ids to their names, as far as they are known: history is of use without them, too.
func (a *app) machineNames(ctx context.Context, c *connection) map[string]string {
	if a.output != "table" {
		return nil
	}
	names := map[string]string{}
	res, err := c.machines().ListMachines(ctx, connect.NewRequest(&argosyv1.ListMachinesRequest{}))
	if err != nil {
		return names
	}
	for _, m := range res.Msg.Machines {
		names[m.GetMachine().GetId()] = m.GetMachine().GetName()
	}
	return names
}

func machineName(names map[string]string, id string) string {
	if name := names[id]; name != "" {
		return name
	}
	return shortID(id)
}

// what says what changed into what and where, without the cause.
func what(e *argosyv1.Transition, machines map[string]string) string {
	var b strings.Builder
	switch {
	case e.Replica != nil:
		b.WriteString(replicaName(e.Replica))
		if e.Member != "" {
			b.WriteString("/" + e.Member)
		}
	case e.App != "":
		b.WriteString("app " + e.App)
	case e.Machine != "":
		b.WriteString("machine " + machineName(machines, e.Machine))
	case e.Kind == argosyv1.TransitionKind_TRANSITION_KIND_MACHINE:
		b.WriteString("cluster:")
	}
	if e.From != "" {
		fmt.Fprintf(&b, " %s →", e.From)
	}
	b.WriteString(" " + e.To)
	var notes []string
	if e.Replica != nil && e.Machine != "" {
		// An earlier incarnation may end on one machine while the next is ready on another.
		if name := machineName(machines, e.Machine); e.To == "assigned" {
			b.WriteString(" to " + name)
		} else {
			notes = append(notes, name)
		}
	}
	if e.ExitCode != 0 {
		notes = append(notes, fmt.Sprintf("exit code %d", e.ExitCode))
	}
	if len(notes) > 0 {
		fmt.Fprintf(&b, " (%s)", strings.Join(notes, ", "))
	}
	if e.Actor != "" {
		fmt.Fprintf(&b, " by %s", e.Actor)
	}
	return strings.TrimSpace(b.String())
}

func shortID(id string) string {
	if len(id) == 32 {
		return id[:8]
	}
	return id
}
