package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/cli/live"
	"github.com/argosy-cluster/argosy/internal/cli/words"
)

func (a *app) psCmd() *cobra.Command {
	var members, all, watch bool
	var machine, at string
	cmd := &cobra.Command{
		Use:   "ps [APP[/STACK[.NUMBER]]]",
		Short: "Show replicas: what is wanted, what was seen, and how long ago",
		Long: `Show replicas: what is wanted and what was seen.

STATE is what an agent saw, AGE how long ago that was confirmed. A replica that nobody has seen lately is 'unknown', never
'running'.

With --watch the table is live on a terminal, with the keys of 'argosy top' (? shows them). Elsewhere there is a line for
each change, until it is interrupted.

With --at it says from history what ran where at some time, and since when; 'argosy explain --at' says why.`,
		Example: `  argosy ps
  argosy ps shop/lamp
  argosy ps --members shop/lamp.3
  argosy ps --watch shop
  argosy ps shop --at 03:12
  argosy ps -o json`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeReplicas,
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := a.replicaRequest(args, machine, all)
			if err != nil {
				return err
			}
			if at != "" && (watch || members) {
				return usageError("--at tells of replicas as they were: give it without --watch and --members")
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			if at != "" {
				return a.psAt(cmd.Context(), c, req, at)
			}
			s := &liveSource{a: a, c: c, req: req}
			switch {
			case watch && a.output == "table" && a.interactive():
				m := live.New(live.Options{Title: "argosy ps", Target: first(args), Tenants: all, Color: a.colorful(a.sys.Out),
					Plain: true, Members: members})
				return live.Run(cmd.Context(), s, a.sys.In, a.sys.Out, a.environment(), m)
			case watch:
				return a.watchLines(cmd.Context(), s, members, all)
			}
			if a.output == "name" || a.output == "table" && !a.wide && !members {
				done, err := a.showRows(cmd.Context(), c, req, all)
				if done || err != nil {
					return err
				}
			}
			res, err := c.apps().ListReplicas(cmd.Context(), connect.NewRequest(req))
			if err != nil {
				return err
			}
			return a.showReplicas(res.Msg, members, all)
		},
	}
	cmd.Flags().BoolVarP(&members, "members", "m", false, "show the members of each replica")
	cmd.Flags().BoolVarP(&all, "all-tenants", "A", false, "show the replicas of all tenants")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on with what changes")
	cmd.Flags().StringVar(&machine, "machine", "", "only replicas on this machine")
	cmd.Flags().StringVar(&at, "at", "", "what ran where at some time: 03:12, 2026-11-27T03:12, or how long ago, 2h")
	_ = cmd.RegisterFlagCompletionFunc("machine", a.completeMachineFlag)
	return cmd
}

func (a *app) showReplicas(res *argosyv1.ListReplicasResponse, members, all bool) error {
	t := replicaTable(all)
	t.wide = []string{"INCARNATION", "RUNS", "RESTARTS", "ADDRESSES", "CONTAINER", "IMAGE"}
	names := make([]string, 0, len(res.Replicas))
	for _, r := range res.Replicas {
		name := replicaName(r.GetReplica().GetKey())
		names = append(names, name)
		t.add(replicaCells(nil, r, name, age(r.Age), all)...)
		if a.wide {
			t.also(replicaColumns(r)...)
		}
		if !members {
			continue
		}
		for _, m := range r.GetObservation().GetMembers() {
			row := []cell{text("  " + m.Name), text(""), memberCell(m, r.State), text(orDash(m.Address)), text(""), text(oneLine(memberMessage(m)))}
			if all {
				row = append([]cell{text("")}, row...)
			}
			t.add(row...)
			t.also(text(""), text(""), text(fmt.Sprint(m.Restarts)), text(orDash(m.Address)), text(orDash(shortDigest(m.ContainerId))), text(orDash(shortDigest(m.ImageId))))
		}
	}
	return a.showTable(res, t, names)
}

// showRows shows what a table or a list of names needs, as the parts of the list come in. It says that nothing is done when the
// server cannot list in parts, or went away between two: whoever asks for the whole in one piece asks again by itself.
func (a *app) showRows(ctx context.Context, c *connection, req *argosyv1.ListReplicasRequest, all bool) (done bool, err error) {
	stream, err := c.apps().ListReplicaRows(ctx, connect.NewRequest(req))
	if err != nil {
		return false, err
	}
	defer stream.Close()
	t := replicaTable(all)
	var names []string
	var cells []cell
	// One replica after another is put into the same message: what is kept of them are words.
	key := &argosyv1.ReplicaKey{}
	r := &argosyv1.ReplicaStatus{Replica: &argosyv1.Replica{Key: key}}
	for stream.Receive() {
		for _, s := range stream.Msg().Stacks {
			key.Tenant, key.App, key.Stack = s.Tenant, s.App, s.Stack
			for _, row := range s.Rows {
				key.Number, r.Replica.Goal, r.Replica.Revision = row.Number, row.Goal, row.Revision
				r.MachineName, r.State, r.Message = row.MachineName, row.State, row.Message
				seen := "-"
				if row.Seen {
					seen = span(time.Duration(row.Age))
				}
				if name := replicaName(key); a.output == "name" {
					names = append(names, name)
				} else {
					cells = replicaCells(cells[:0], r, name, seen, all)
					t.add(cells...)
				}
			}
		}
	}
	switch err := stream.Err(); connect.CodeOf(err) {
	case connect.CodeUnavailable, connect.CodeUnimplemented:
		return false, nil
	default:
		if err != nil {
			return false, err
		}
	}
	return true, a.showTable(nil, t, names)
}

// replicaTable is the table of replicas, without any; all says whose each is.
func replicaTable(all bool) *table {
	t := &table{header: []string{"REPLICA", "WANTED", "STATE", "MACHINE", "AGE", "MESSAGE"}}
	if all {
		t.header = append([]string{"TENANT"}, t.header...)
	}
	return t
}

// replicaCells appends what a row of the table of replicas has; seen is how long ago the replica was.
func replicaCells(row []cell, r *argosyv1.ReplicaStatus, name, seen string, all bool) []cell {
	if all {
		row = append(row, text(r.Replica.Key.Tenant))
	}
	return append(row, text(name), text(wanted(r)), stateCell(r), text(orDash(r.MachineName)), text(seen), text(oneLine(r.Message)))
}

// showTable shows replicas, or what to do while there are none.
func (a *app) showTable(m proto.Message, t *table, names []string) error {
	if t.n == 0 && a.output == "table" {
		a.note("Nothing is wanted here. Apply a manifest: argosy apply FILE")
		return nil
	}
	return a.show(m, t, names)
}

// replicaColumns are what is wide about a replica: which copy it is, the revision seen, restarts and addresses of all its
// members.
func replicaColumns(r *argosyv1.ReplicaStatus) []cell {
	o := r.GetObservation()
	runs, restarts, addresses := "-", uint32(0), []string(nil)
	if o.GetRevision() != 0 {
		runs = fmt.Sprintf("r%d", o.GetRevision())
	}
	for _, m := range o.GetMembers() {
		restarts += m.Restarts
		if m.Address != "" {
			addresses = append(addresses, m.Address)
		}
	}
	return []cell{text(fmt.Sprint(r.GetReplica().GetIncarnation())), text(runs), text(fmt.Sprint(restarts)), text(orDash(strings.Join(addresses, ",")))}
}

// shortDigest is as much of an id or digest as tells it from others.
func shortDigest(s string) string {
	s = strings.TrimPrefix(s, "sha256:")
	return s[:min(len(s), 12)]
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
			res, err := c.apps().ListApps(cmd.Context(), connect.NewRequest(&argosyv1.ListAppsRequest{Tenant: a.tenant}))
			if err != nil {
				return err
			}
			t := &table{header: []string{"APP", "REVISION", "READY", "STACKS", "CREATED"}, wide: []string{"UPDATED", "TENANT", "ID"}}
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
				updated := uint32(0)
				for _, st := range s.Stacks {
					updated += st.Updated
				}
				t.also(text(fmt.Sprintf("%d/%d", updated, s.Wanted)), text(s.App.Tenant), text(shortID(s.App.Uid)))
			}
			if len(res.Msg.Apps) == 0 && a.output == "table" {
				a.note("No apps yet. Apply a manifest: argosy apply FILE")
				return nil
			}
			return a.show(res.Msg, t, names)
		},
	}
}
