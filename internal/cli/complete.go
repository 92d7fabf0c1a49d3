package cli

import (
	"context"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/image/registry"
)

// completionTime is how long a shell may be kept waiting for live names.
const completionTime = 2 * time.Second

type completion = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective)

// live completes the first argument with names that the cluster has. A cluster that does not answer has none.
func (a *app) live(rest cobra.ShellCompDirective, names func(context.Context, *connection) ([]string, error)) completion {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, rest
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
		defer cancel()
		// Where a shell asks, cobra has not run the check of the flags.
		if a.checkFlags() != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		c, err := a.connect()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		found, err := names(ctx, c)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeTargets offers the live apps, stacks, replicas and their members.
func (a *app) completeTargets(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	return a.live(cobra.ShellCompDirectiveDefault, func(ctx context.Context, c *connection) ([]string, error) {
		res, err := c.apps.ListReplicas(ctx, connect.NewRequest(&argosyv1.ListReplicasRequest{Tenant: a.tenant}))
		if err != nil {
			return nil, err
		}
		seen := map[string]bool{}
		var names []string
		offer := func(s string) {
			if !seen[s] {
				seen[s] = true
				names = append(names, s)
			}
		}
		for _, r := range res.Msg.Replicas {
			k := r.GetReplica().GetKey()
			offer(k.GetApp())
			offer(k.GetApp() + "/" + k.GetStack())
			offer(replicaName(k))
			for _, m := range r.GetObservation().GetMembers() {
				offer(replicaName(k) + "/" + m.Name)
			}
		}
		return names, nil
	})(cmd, args, word)
}

// completeCopy offers containers, to be followed by a path, and leaves local files to the shell.
func (a *app) completeCopy(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 1 || strings.Contains(word, ":") {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	if strings.HasPrefix(word, ".") || strings.HasPrefix(word, "/") || len(args) == 1 && strings.Contains(args[0], ":") {
		return nil, cobra.ShellCompDirectiveDefault
	}
	targets, _ := a.completeTargets(cmd, nil, word)
	var names []string
	for _, t := range targets {
		if strings.Count(t, "/") == 2 {
			names = append(names, t+":/")
		}
	}
	return names, cobra.ShellCompDirectiveNoSpace
}

// completeMachines offers the names of machines.
func (a *app) completeMachines(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	return a.live(cobra.ShellCompDirectiveNoFileComp, func(ctx context.Context, c *connection) (names []string, err error) {
		res, err := c.machines.ListMachines(ctx, connect.NewRequest(&argosyv1.ListMachinesRequest{}))
		if err != nil {
			return nil, err
		}
		for _, m := range res.Msg.Machines {
			names = append(names, m.GetMachine().GetName())
		}
		return names, nil
	})(cmd, args, word)
}

// completeSecrets offers the names of secrets.
func (a *app) completeSecrets(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	return a.live(cobra.ShellCompDirectiveNoFileComp, a.secretNames)(cmd, args, word)
}

func (a *app) secretNames(ctx context.Context, c *connection) (names []string, err error) {
	res, err := c.secrets.ListSecrets(ctx, connect.NewRequest(&argosyv1.ListSecretsRequest{Tenant: a.tenant}))
	if err != nil {
		return nil, err
	}
	for _, s := range res.Msg.Secrets {
		names = append(names, s.Name)
	}
	return names, nil
}

// completeTokens offers the ids of tokens.
func (a *app) completeTokens(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	return a.live(cobra.ShellCompDirectiveNoFileComp, func(ctx context.Context, c *connection) (names []string, err error) {
		res, err := c.cluster.ListTokens(ctx, connect.NewRequest(&argosyv1.ListTokensRequest{}))
		if err != nil {
			return nil, err
		}
		for _, t := range res.Msg.Tokens {
			names = append(names, t.Id)
		}
		return names, nil
	})(cmd, args, word)
}

// completeImages offers the names of images that the cluster keeps.
func (a *app) completeImages(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	return a.live(cobra.ShellCompDirectiveNoFileComp, func(ctx context.Context, c *connection) (names []string, err error) {
		images, err := registry.NewClient(c.base, c.http).Images(ctx, a.imageTenant())
		for _, i := range images {
			names = append(names, i.Name+":"+i.Tag)
		}
		return names, err
	})(cmd, args, word)
}
