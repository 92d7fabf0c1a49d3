package cli

import (
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/cli/words"
)

func (a *app) psCmd() *cobra.Command {
	var members, all bool
	var machine string
	cmd := &cobra.Command{
		Use:   "ps [APP[/STACK[.NUMBER]]]",
		Short: "Show replicas: what is wanted, what was seen, and how long ago",
		Long: `Show replicas: what is wanted and what was seen.

STATE is what an agent saw, AGE how long ago that was confirmed. A replica that nobody has seen lately is 'unknown', never
'running'.`,
		Example: `  argosy ps
  argosy ps shop/lamp
  argosy ps --members shop/lamp.3
  argosy ps -o json`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeTargets,
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &argosyv1.ListReplicasRequest{Tenant: a.tenant, AllTenants: all, Machine: machine}
			if len(args) == 1 {
				t, err := parseTarget(args[0])
				if err != nil {
					return err
				}
				req.App, req.Stack, req.Number = t.app, t.stack, t.number
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			res, err := c.apps.ListReplicas(cmd.Context(), connect.NewRequest(req))
			if err != nil {
				return err
			}
			return a.showReplicas(res.Msg, members, all)
		},
	}
	cmd.Flags().BoolVarP(&members, "members", "m", false, "show the members of each replica")
	cmd.Flags().BoolVarP(&all, "all-tenants", "A", false, "show the replicas of all tenants")
	cmd.Flags().StringVar(&machine, "machine", "", "only replicas on this machine")
	_ = cmd.RegisterFlagCompletionFunc("machine", a.completeMachines)
	return cmd
}

func (a *app) showReplicas(res *argosyv1.ListReplicasResponse, members, all bool) error {
	t := &table{header: []string{"REPLICA", "WANTED", "STATE", "MACHINE", "AGE", "MESSAGE"}}
	if all {
		t.header = append([]string{"TENANT"}, t.header...)
	}
	var names []string
	for _, r := range res.Replicas {
		name := replicaName(r.GetReplica().GetKey())
		names = append(names, name)
		row := []cell{text(name), text(wanted(r)), stateCell(r), text(orDash(r.MachineName)), text(age(r.Age)), text(oneLine(r.Message))}
		if all {
			row = append([]cell{text(r.Replica.Key.Tenant)}, row...)
		}
		t.add(row...)
		if !members {
			continue
		}
		for _, m := range r.GetObservation().GetMembers() {
			row := []cell{text("  " + m.Name), text(""), memberCell(m, r.State), text(orDash(m.Address)), text(""), text(oneLine(memberMessage(m)))}
			if all {
				row = append([]cell{text("")}, row...)
			}
			t.add(row...)
		}
	}
	if len(res.Replicas) == 0 && a.output == "table" {
		a.note("Nothing is wanted here. Apply a manifest: argosy apply FILE")
		return nil
	}
	return a.show(res, t, names)
}

func wanted(r *argosyv1.ReplicaStatus) string { return words.Wanted(r.GetReplica()) }

func stateCell(r *argosyv1.ReplicaStatus) cell {
	name, style := words.State(r.GetState())
	return cell{name, style}
}

func memberCell(m *argosyv1.MemberObservation, of argosyv1.ReplicaState) cell {
	name, style := words.Member(m, of)
	return cell{name, style}
}

func memberMessage(m *argosyv1.MemberObservation) string { return words.MemberMessage(m) }

func oneLine(s string) string { return words.OneLine(s) }

func (a *app) appsCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "apps",
		Aliases: []string{"ls"},
		Short:   "List apps with their revisions and counts",
		Example: "  argosy apps",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			res, err := c.apps.ListApps(cmd.Context(), connect.NewRequest(&argosyv1.ListAppsRequest{Tenant: a.tenant}))
			if err != nil {
				return err
			}
			t := &table{header: []string{"APP", "REVISION", "READY", "STACKS", "CREATED"}}
			var names []string
			for _, s := range res.Msg.Apps {
				names = append(names, s.App.Name)
				var stacks []string
				for _, st := range s.Stacks {
					stacks = append(stacks, fmt.Sprintf("%s %d/%d", st.Stack, st.Ready, st.Wanted))
				}
				ready := cell{fmt.Sprintf("%d/%d", s.Ready, s.Wanted), green}
				if s.Ready < s.Wanted {
					ready.style = yellow
				}
				name := s.App.Name
				if s.App.Deleting {
					name += " (being deleted)"
				}
				t.add(text(name), text(fmt.Sprint(s.App.Revision)), ready, text(strings.Join(stacks, ", ")), text(since(s.App.CreatedAt, time.Now())))
			}
			if len(res.Msg.Apps) == 0 && a.output == "table" {
				a.note("No apps yet. Apply a manifest: argosy apply FILE")
				return nil
			}
			return a.show(res.Msg, t, names)
		},
	}
}

func (a *app) explainCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "explain APP/STACK.NUMBER",
		Short: "Say why a replica is where it is, or why it is nowhere",
		Example: `  argosy explain shop/lamp.3
  argosy explain shop/lamp.3 -o json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeTargets,
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := parseReplica(args[0])
			if err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			res, err := c.apps.Explain(cmd.Context(), connect.NewRequest(&argosyv1.ExplainRequest{Key: a.key(t)}))
			if err != nil {
				return err
			}
			if a.output != "table" {
				return a.show(res.Msg, nil, []string{replicaName(a.key(t))})
			}
			return a.explain(res.Msg, a.machineNames(cmd.Context(), c))
		},
	}
}

func (a *app) explain(e *argosyv1.ExplainResponse, machines map[string]string) error {
	out, colorful, now := a.sys.Out, a.colorful(a.sys.Out), time.Now()
	paint := func(c cell) string {
		if !colorful || c.style == plain {
			return c.text
		}
		return string(c.style) + c.text + "\x1b[0m"
	}
	r := e.Status.GetReplica()
	where, seen := " on no machine", "never seen"
	if e.Status.MachineName != "" {
		where = " on " + e.Status.MachineName
	}
	if e.Status.Age != nil {
		seen = "seen " + age(e.Status.Age) + " ago"
	}
	fmt.Fprintf(out, "%s is %s%s (incarnation %d, revision %d; %s)\n", paint(cell{replicaName(r.GetKey()), bold}),
		paint(stateCell(e.Status)), where, r.GetIncarnation(), r.GetRevision(), seen)
	if e.Status.Message != "" {
		fmt.Fprintf(out, "  %s\n", e.Status.Message)
	}
	if d := e.Decided; d != nil {
		fmt.Fprintf(out, "\nDecided %s ago: %s\n", since(d.At, now), d.Summary)
	}
	for _, m := range e.Status.GetObservation().GetMembers() {
		fmt.Fprintf(out, "  %s: %s", m.Name, paint(memberCell(m, e.Status.State)))
		if msg := memberMessage(m); msg != "" {
			fmt.Fprintf(out, " (%s)", oneLine(msg))
		}
		fmt.Fprintln(out)
	}
	for _, v := range e.Volumes {
		fmt.Fprintf(out, "  volume %s: on %s since %s ago\n", v.Name, orDash(machineName(machines, v.Machine)), since(v.CreatedAt, now))
	}
	if len(e.Now) > 0 {
		fmt.Fprintln(out, "\nEach machine as it stands now:")
		t := &table{header: []string{"MACHINE", "FITS", "WHY"}}
		for _, v := range e.Now {
			fits := cell{"no", red}
			if v.Fits {
				fits = cell{"yes", green}
			}
			t.add(text(v.Machine), fits, text(strings.TrimPrefix(v.Detail, "no: "))) // the column says no already
		}
		if err := t.write(out, colorful); err != nil {
			return err
		}
	}
	if len(e.History) > 0 {
		fmt.Fprintln(out, "\nWhat happened:")
		t := &table{header: []string{"WHEN", "WHAT", "CAUSE"}}
		for _, tr := range e.History {
			t.add(text(since(tr.At, now)+" ago"), text(what(tr, machines)), text(oneLine(tr.Cause)))
		}
		return t.write(out, colorful)
	}
	return nil
}
