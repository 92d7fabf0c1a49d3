package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

func (a *app) tokenCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make, list and revoke tokens to join machines and servers and log in users",
		Example: `  argosy token create                    # for a machine: argosy join TOKEN
  argosy token create --user ana --role operator   # for a person: argosy login TOKEN
  argosy token list`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.tokenCreateCmd(), a.tokenListCmd(), a.tokenRevokeCmd())
	return cmd
}

func (a *app) tokenCreateCmd() *cobra.Command {
	var user, role string
	var server bool
	var expires time.Duration
	cmd := &cobra.Command{
		Use: "create", Short: "Make a token: it works once and expires in an hour", Args: cobra.NoArgs,
		Long: `Make a token. It works once and expires in an hour, carries the servers' addresses, the cluster's id and the digest of its
certificate authority, and is kept by the cluster only as a hash: it is shown now and never again.`,
		Example: `  argosy token create
  argosy token create --user ana --role viewer --expires 24h
  argosy token create --for-server`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			req := &argosyv1.CreateTokenRequest{
				Purpose: argosyv1.TokenPurpose_TOKEN_PURPOSE_MACHINE, ExpiresIn: durationpb.New(expires), IdempotencyKey: requestKey(),
			}
			if server && user != "" {
				return usageError("a token is for a server or for a person: give --for-server or --user")
			}
			if server {
				req.Purpose = argosyv1.TokenPurpose_TOKEN_PURPOSE_SERVER
			}
			if user != "" {
				req.Purpose, req.User, req.Role, req.Tenant = argosyv1.TokenPurpose_TOKEN_PURPOSE_USER, user, role, a.tenant
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			res, err := c.cluster().CreateToken(cmd.Context(), connect.NewRequest(req))
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(res.Msg)
			}
			if a.output == "name" {
				return a.show(nil, nil, []string{res.Msg.Info.GetId()})
			}
			// The token alone on standard output, so that scripts can take it as it is.
			fmt.Fprintln(a.sys.Out, res.Msg.Token)
			if isTerminal(a.sys.Out) {
				use := "argosy join"
				if user != "" {
					use = "argosy login"
				}
				if server {
					use = "argosy join --server"
				}
				a.note("Works once, until %s: %s TOKEN", res.Msg.Info.ExpiresAt.AsTime().Local().Format("15:04:05 on 2 Jan"), use)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&server, "for-server", false, "make a token for a server of the control plane, which gets the cluster's keys")
	cmd.Flags().StringVar(&user, "user", "", "make a token for this person to log in with")
	cmd.Flags().StringVar(&role, "role", "operator", "with --user: admin, operator, viewer, or monitor for metrics alone")
	_ = cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions([]string{"admin", "operator", "viewer", "monitor"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().DurationVar(&expires, "expires", time.Hour, "how long it may be used")
	return cmd
}

func (a *app) tokenListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List tokens: for what, and who used them", Args: cobra.NoArgs,
		Example: "  argosy token list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			res, err := c.cluster().ListTokens(cmd.Context(), connect.NewRequest(&argosyv1.ListTokensRequest{}))
			if err != nil {
				return err
			}
			t := &table{header: []string{"TOKEN", "FOR", "STATE"}, wide: []string{"EXPIRES", "TENANT"}}
			var names []string
			now := time.Now()
			for _, k := range res.Msg.Tokens {
				names = append(names, k.Id)
				purpose := strings.ToLower(strings.TrimPrefix(k.Purpose.String(), "TOKEN_PURPOSE_"))
				if k.User != "" {
					purpose = fmt.Sprintf("user %s (%s)", k.User, k.Role)
				}
				state := text("usable for " + span(k.ExpiresAt.AsTime().Sub(now)))
				if k.UsedAt != nil {
					state = cell{fmt.Sprintf("used by %s %s ago", k.UsedBy, since(k.UsedAt, now)), dim}
				} else if now.After(k.ExpiresAt.AsTime()) {
					state = cell{"expired", dim}
				}
				t.add(text(k.Id), text(purpose), state)
				t.also(text(k.ExpiresAt.AsTime().Local().Format("2006-01-02 15:04:05")), text(orDash(k.Tenant)))
			}
			return a.show(res.Msg, t, names)
		},
	}
}

func (a *app) tokenRevokeCmd() *cobra.Command {
	return &cobra.Command{
		Use: "revoke ID", Short: "Make a token useless", Args: cobra.ExactArgs(1),
		Example: "  argosy token revoke 3f2a90c1d8e4b756", ValidArgsFunction: a.completeTokens,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			res, err := c.cluster().RevokeToken(cmd.Context(), connect.NewRequest(&argosyv1.RevokeTokenRequest{Id: args[0], IdempotencyKey: requestKey()}))
			if err != nil {
				return err
			}
			return a.answer(res.Msg, args, "token %s can no longer be used", args[0])
		},
	}
}

func (a *app) statusCmd() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the cluster: id, servers, leader, counts", Example: "  argosy status\n  argosy status -o json", Args: cobra.NoArgs,
		Long: `Show the cluster: id, servers, leader, counts.

A server that has no leader to ask says so and what it knows itself; the exit code is then 1. Machines keep what they run.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			res, err := c.cluster().GetCluster(cmd.Context(), connect.NewRequest(&argosyv1.GetClusterRequest{}))
			if err != nil {
				return err
			}
			m := res.Msg
			var away error
			if m.Leader == "" {
				away = &exitError{exitFailed, "no server leads now: nothing can be changed or placed until one does, and machines keep what they run"}
			}
			if a.output != "table" {
				return errors.Join(a.show(m, nil, []string{m.GetSettings().GetClusterId()}), away)
			}
			line := func(name, format string, args ...any) {
				fmt.Fprintf(a.sys.Out, "%-9s %s\n", name, fmt.Sprintf(format, args...))
			}
			line("Cluster", "%s", m.GetSettings().GetClusterId())
			line("Servers", "%s", strings.Join(m.Servers, ", "))
			if away == nil {
				line("Leader", "%s since term %d, generation %d", m.Leader, m.Term, m.Generation)
				line("Machines", "%d", m.Machines)
				if m.Rotation != "" {
					line("", "%s", oneLine(m.Rotation))
				}
				if m.Paused != "" {
					line("", "%s", oneLine(m.Paused))
				}
				line("Apps", "%d", m.Apps)
			} else {
				line("Leader", "none")
			}
			line("Network", "%s, names under %s", m.GetSettings().GetNetworkRange(), m.GetSettings().GetDomain())
			line("Lost", "after %s without a sign", m.GetSettings().GetLiveness().AsDuration())
			full := ""
			if m.StoreFull {
				full = ": it is full and takes no changes; see 'argosy servers'"
			}
			line("Store", "%s of %s%s", size(m.StoreSize), size(m.StoreQuota), full)
			if m.HistorySince != nil {
				line("History", "since %s%s", m.HistorySince.AsTime().Local().Format(time.DateTime), historyWord(m))
			}
			if m.BackupEvery != nil {
				line("Backups", "every %s, %s", span(m.BackupEvery.AsDuration()), backupWord(m))
			}
			line("Version", "%s", m.Version)
			return away
		},
	}
}

// historyWord says how long a server keeps what happened.
func historyWord(m *argosyv1.GetClusterResponse) string {
	if m.HistoryAge == nil {
		return ""
	}
	return ", kept for " + span(m.HistoryAge.AsDuration())
}
