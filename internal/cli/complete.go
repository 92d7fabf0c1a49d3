package cli

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// completionTime is how long a shell may be kept waiting for live names.
const completionTime = 2 * time.Second

// completeTargets offers the live apps, stacks, replicas and their members.
func (a *app) completeTargets(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	c, err := a.completionConnection()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	res, err := c.apps.ListReplicas(ctx, connect.NewRequest(&argosyv1.ListReplicasRequest{Tenant: a.tenant}))
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
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
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeMachines offers the names of machines.
func (a *app) completeMachines(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	c, err := a.completionConnection()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	res, err := c.machines.ListMachines(ctx, connect.NewRequest(&argosyv1.ListMachinesRequest{}))
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, m := range res.Msg.Machines {
		names = append(names, m.GetMachine().GetName())
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completionConnection is connect for completion, where cobra has not run the check of the flags.
func (a *app) completionConnection() (*connection, error) {
	if err := a.checkFlags(); err != nil {
		return nil, err
	}
	return a.connect()
}
