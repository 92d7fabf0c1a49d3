package cli

import (
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
		ValidArgsFunction: a.completeTargets,
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
			stream, err := c.cluster.ListEvents(cmd.Context(), connect.NewRequest(req))
			if err != nil {
				return err
			}
			defer stream.Close()
			for stream.Receive() {
				for _, e := range stream.Msg().Events {
					if err := a.showEvent(e); err != nil {
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
	_ = cmd.RegisterFlagCompletionFunc("machine", a.completeMachines)
	return cmd
}

func (a *app) showEvent(e *argosyv1.Transition) error {
	switch a.output {
	case "json":
		return a.printJSONLine(e)
	case "name":
		_, err := fmt.Fprintln(a.sys.Out, e.Seq)
		return err
	}
	line := fmt.Sprintf("%s  %s", e.At.AsTime().Local().Format("2006-01-02 15:04:05.000"), what(e))
	if e.Cause != "" {
		line += ": " + oneLine(e.Cause)
	}
	_, err := fmt.Fprintln(a.sys.Out, line)
	return err
}

// what says what changed into what, without the cause.
func what(e *argosyv1.Transition) string {
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
		b.WriteString("machine " + shortID(e.Machine))
	}
	if e.From != "" {
		fmt.Fprintf(&b, " %s →", e.From)
	}
	b.WriteString(" " + e.To)
	if e.ExitCode != 0 {
		fmt.Fprintf(&b, " (exit code %d)", e.ExitCode)
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
