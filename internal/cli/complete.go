package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/image/registry"
	"github.com/argosy-cluster/argosy/internal/manifest"
)

// completionTime is how long a shell may be kept waiting for live names.
const completionTime = time.Second

type completion = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective)

// none completes nothing, file names neither.
func none(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// names completes with names that the cluster has. A cluster that does not answer has none, and nothing is said of it:
// somebody is in the middle of typing.
func (a *app) names(ctx context.Context, ask func(context.Context, *connection) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(ctx, completionTime)
	defer cancel()
	// Where a shell asks, cobra has not run the check of the flags.
	if a.checkFlags() != nil {
		return none(nil, nil, "")
	}
	c, err := a.connect()
	if err != nil {
		return none(nil, nil, "")
	}
	found, err := ask(ctx, c)
	if err != nil {
		return none(nil, nil, "")
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

// live completes the first argument; what comes after is as rest says.
func (a *app) live(rest cobra.ShellCompDirective, ask func(context.Context, *connection) ([]string, error)) completion {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, rest
		}
		return a.names(cmd.Context(), ask)
	}
}

// first completes the first argument, and nothing after it.
func (a *app) first(ask func(context.Context, *connection) ([]string, error)) completion {
	return a.live(cobra.ShellCompDirectiveNoFileComp, ask)
}

// each completes every argument, with what does not stand there yet.
func (a *app) each(ask func(context.Context, *connection) ([]string, error)) completion {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		found, directive := a.names(cmd.Context(), ask)
		return slices.DeleteFunc(found, func(s string) bool { return slices.Contains(args, s) }), directive
	}
}

// targets are the live apps, stacks, replicas and their members, as far down as is asked for.
func (a *app) targets(depth int) func(context.Context, *connection) ([]string, error) {
	return func(ctx context.Context, c *connection) ([]string, error) {
		seen := map[string]bool{}
		var found []string
		offer := func(level int, s string) {
			if level <= depth && !seen[s] {
				seen[s] = true
				found = append(found, s)
			}
		}
		apps, err := c.apps().ListApps(ctx, connect.NewRequest(&argosyv1.ListAppsRequest{Tenant: a.tenant}))
		if err != nil {
			return nil, err
		}
		for _, s := range apps.Msg.Apps {
			offer(ofApp, s.GetApp().GetName())
			for _, st := range s.Stacks {
				offer(ofStack, s.GetApp().GetName()+"/"+st.Stack)
			}
		}
		if depth < ofReplica {
			return found, nil
		}
		res, err := c.apps().ListReplicas(ctx, connect.NewRequest(&argosyv1.ListReplicasRequest{Tenant: a.tenant, Brief: true}))
		if err != nil {
			return nil, err
		}
		for _, r := range res.Msg.Replicas {
			k := r.GetReplica().GetKey()
			offer(ofReplica, replicaName(k))
			for _, m := range r.GetObservation().GetMembers() {
				offer(ofMember, replicaName(k)+"/"+m.Name)
			}
		}
		return found, nil
	}
}

// How far down targets are offered.
const (
	ofApp = iota
	ofStack
	ofReplica
	ofMember
)

// completeTargets offers everything that can be named, once; what comes after is the shell's, as in `exec`.
func (a *app) completeTargets(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	return a.live(cobra.ShellCompDirectiveDefault, a.targets(ofMember))(cmd, args, word)
}

func (a *app) completeApps(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	return a.first(a.targets(ofApp))(cmd, args, word)
}

func (a *app) completeReplicas(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	return a.first(a.targets(ofReplica))(cmd, args, word)
}

// completeScales offers stacks with the equals sign behind them, so that the number can be typed at once.
func (a *app) completeScales(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	found, directive := a.names(cmd.Context(), a.targets(ofStack))
	var out []string
	for _, s := range found {
		if strings.Contains(s, "/") && !slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, s+"=") }) {
			out = append(out, s+"=")
		}
	}
	return out, directive | cobra.ShellCompDirectiveNoSpace
}

// completeWaitable offers replicas and what holds them, and machines.
func (a *app) completeWaitable(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	return a.first(func(ctx context.Context, c *connection) ([]string, error) {
		found, err := a.targets(ofReplica)(ctx, c)
		machines, machinesErr := a.machinesKnown(ctx, c)
		for _, m := range machines {
			found = append(found, machinePrefix+m)
		}
		if err == nil || len(found) > 0 {
			return found, nil
		}
		return nil, machinesErr
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

func (a *app) machinesKnown(ctx context.Context, c *connection) (found []string, err error) {
	res, err := c.machines().ListMachines(ctx, connect.NewRequest(&argosyv1.ListMachinesRequest{}))
	if err != nil {
		return nil, err
	}
	for _, m := range res.Msg.Machines {
		found = append(found, m.GetMachine().GetName())
	}
	return found, nil
}

// completeMachines offers the names of machines.
func (a *app) completeMachines(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	return a.first(a.machinesKnown)(cmd, args, word)
}

// completeMachineFlag is completeMachines for a flag, whatever arguments there are.
func (a *app) completeMachineFlag(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.names(cmd.Context(), a.machinesKnown)
}

// completeLabels offers machines, then the labels of the one that was named, to change or to remove.
func (a *app) completeLabels(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return a.completeMachines(cmd, args, word)
	}
	found, directive := a.names(cmd.Context(), func(ctx context.Context, c *connection) (out []string, err error) {
		res, err := c.machines().ListMachines(ctx, connect.NewRequest(&argosyv1.ListMachinesRequest{Machine: args[0]}))
		if err != nil {
			return nil, err
		}
		for _, m := range res.Msg.Machines {
			for k := range m.GetMachine().GetLabels() {
				out = append(out, k+"=", k+"-")
			}
		}
		slices.Sort(out)
		return out, nil
	})
	return found, directive | cobra.ShellCompDirectiveNoSpace
}

// completeSecrets offers the names of secrets.
func (a *app) completeSecrets(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	return a.first(a.secretNames)(cmd, args, word)
}

func (a *app) secretNames(ctx context.Context, c *connection) (names []string, err error) {
	res, err := c.secrets().ListSecrets(ctx, connect.NewRequest(&argosyv1.ListSecretsRequest{Tenant: a.tenant}))
	if err != nil {
		return nil, err
	}
	for _, s := range res.Msg.Secrets {
		names = append(names, s.Name)
	}
	return names, nil
}

// completeRegistries offers the registries that there are credentials for.
func (a *app) completeRegistries(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	return a.first(func(ctx context.Context, c *connection) (found []string, err error) {
		res, err := c.secrets().ListRegistryCredentials(ctx, connect.NewRequest(&argosyv1.ListRegistryCredentialsRequest{Tenant: a.tenant}))
		if err != nil {
			return nil, err
		}
		for _, r := range res.Msg.Credentials {
			found = append(found, r.Registry)
		}
		return found, nil
	})(cmd, args, word)
}

// completeTokens offers the ids of tokens.
func (a *app) completeTokens(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	return a.first(func(ctx context.Context, c *connection) (found []string, err error) {
		res, err := c.cluster().ListTokens(ctx, connect.NewRequest(&argosyv1.ListTokensRequest{}))
		if err != nil {
			return nil, err
		}
		for _, t := range res.Msg.Tokens {
			found = append(found, t.Id)
		}
		return found, nil
	})(cmd, args, word)
}

// completeImages offers the names of images that the cluster keeps.
func (a *app) completeImages(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	return a.each(func(ctx context.Context, c *connection) (found []string, err error) {
		images, err := registry.NewClient(c.base, c.http).Images(ctx, a.imageTenant())
		for _, i := range images {
			found = append(found, i.Name+":"+i.Tag)
		}
		return found, err
	})(cmd, args, word)
}

// completeRevisions offers the revisions of the app that was named, or of the app in the files that were, newest first.
func (a *app) completeRevisions(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return none(cmd, nil, "")
	}
	app := args[0]
	if !isApp(args[:1]) {
		files, err := manifest.ReadFiles(args, strings.NewReader(""))
		if err != nil {
			return none(cmd, nil, "")
		}
		spec, _, _ := manifest.Parse(files, manifest.Options{LookupEnv: a.sys.LookupEnv, ReadFile: manifest.FilesBelow})
		if app = spec.GetName(); app == "" {
			return none(cmd, nil, "")
		}
	}
	found, directive := a.names(cmd.Context(), func(ctx context.Context, c *connection) (out []string, err error) {
		res, err := c.apps().GetApp(ctx, connect.NewRequest(&argosyv1.GetAppRequest{Tenant: a.tenant, App: app, AllRevisions: true}))
		if err != nil {
			return nil, err
		}
		for _, r := range slices.Backward(res.Msg.Revisions) {
			out = append(out, fmt.Sprintf("%d\t%s, %s ago", r.Number, oneLine(r.Cause), since(r.CreatedAt, time.Now())))
		}
		return out, nil
	})
	return found, directive | cobra.ShellCompDirectiveKeepOrder
}

// completeManifests leaves it to the shell to find files, and to show only those that can be manifests.
func completeManifests(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
}

// completeManifestsOrApps offers apps beside the manifests in the directory that the word leads to.
func (a *app) completeManifestsOrApps(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || strings.ContainsAny(word, "/.") {
		return completeManifests(cmd, args, word)
	}
	found, directive := a.names(cmd.Context(), a.targets(ofApp))
	for _, pattern := range []string{"*.yaml", "*.yml"} {
		files, _ := filepath.Glob(pattern) // only a pattern that is none fails
		found = append(found, files...)
	}
	return found, directive
}

// completeLogins offers the clusters that somebody logged in to on this host.
func (a *app) completeLogins(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	found := []string{defaultSocket}
	if dir, err := a.loginsDir(); err == nil {
		entries, _ := os.ReadDir(dir) // who never logged in has none
		for _, e := range entries {
			if e.IsDir() && validLogin(e.Name()) {
				found = append(found, e.Name())
			}
		}
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

// completeSet offers the paths of manifests, one step at a time.
func completeSet(_ *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if strings.Contains(word, "=") {
		return none(nil, nil, "")
	}
	files, err := manifest.ReadFiles(args, strings.NewReader(""))
	if err != nil {
		files = nil // paths of the language are of use without files too
	}
	return manifest.CompletePath(files, word), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}
