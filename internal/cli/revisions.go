package cli

import (
	"fmt"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

func (a *app) revisionsCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "revisions APP",
		Short: "List an app's revisions: when, by whom and why",
		Long: `List an app's revisions: when, by whom and why.

The last 50 are kept, and those that replicas still run. With -o json each has the whole specification.`,
		Example: `  argosy revisions shop
  argosy revisions shop -o json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := parseTarget(args[0])
			if err != nil {
				return err
			}
			if t.stack != "" {
				return usageError("%q: revisions are those of a whole app: write %s", args[0], t.app)
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			res, err := c.apps().GetApp(cmd.Context(), connect.NewRequest(&argosyv1.GetAppRequest{Tenant: a.tenant, App: t.app, AllRevisions: true}))
			if err != nil {
				return err
			}
			rows := &table{header: []string{"REVISION", "CREATED", "AUTHOR", "CAUSE", ""}, wide: []string{"AT", "CONTAINERS", "STACKS"}}
			var names []string
			now := time.Now()
			for _, r := range res.Msg.Revisions {
				names = append(names, fmt.Sprint(r.Number))
				current := text("")
				if r.Number == res.Msg.GetStatus().GetApp().GetRevision() {
					current = cell{"current", green}
				}
				rows.add(text(fmt.Sprint(r.Number)), text(since(r.CreatedAt, now)+" ago"), text(orDash(r.Author)), text(oneLine(r.Cause)), current)
				rows.also(text(r.CreatedAt.AsTime().Local().Format("2006-01-02 15:04:05")), text(fmt.Sprint(len(r.GetSpec().GetContainers()))), text(fmt.Sprint(len(r.GetSpec().GetStacks()))))
			}
			return a.show(res.Msg, rows, names)
		},
	}
}

func (a *app) rollbackCmd() *cobra.Command {
	var w waitFlags
	var to, revision uint64
	cmd := &cobra.Command{
		Use:   "rollback APP",
		Short: "Make an earlier revision of an app the next one",
		Long: `Make an earlier revision of an app the next one: the one before the current, or the one that --to names.

Everything comes back as it was applied then, counts of replicas and images by their digests included; data in volumes stays
as it is. 'argosy revisions' lists what there is, 'argosy diff APP' how the current one differs from the one before.` + waitExit,
		Example: `  argosy rollback shop --wait
  argosy rollback shop --to 12`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := parseTarget(args[0])
			if err != nil {
				return err
			}
			if t.stack != "" {
				return usageError("%q: a whole app is rolled back: write %s", args[0], t.app)
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			res, err := c.apps().Rollback(cmd.Context(), traced(a, &argosyv1.RollbackRequest{Tenant: a.tenant, App: t.app, Revision: to,
				ExpectedRevision: revision, IdempotencyKey: requestKey()}))
			if err != nil {
				return err
			}
			return a.applied(cmd.Context(), c, res.Msg, w)
		},
	}
	w.add(cmd)
	cmd.Flags().Uint64Var(&to, "to", 0, "the revision that comes back; default the one before the current")
	cmd.Flags().Uint64Var(&revision, "revision", 0, "refuse unless the app is at this revision")
	return cmd
}
