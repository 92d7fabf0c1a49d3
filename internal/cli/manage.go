package cli

import (
	"bufio"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// waitFlags are shared by the commands that can wait until what they asked for is so.
type waitFlags struct {
	wait    bool
	timeout time.Duration
}

// waitExit is what commands with waitFlags say of their exit codes.
const waitExit = "\n\nExit code 3: --wait ran out of time; the cluster goes on by itself."

func (w *waitFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&w.wait, "wait", false, "wait until it is so, showing progress")
	cmd.Flags().DurationVar(&w.timeout, "timeout", 10*time.Minute, "with --wait: give up after this long (exit code 3)")
}

func (a *app) scaleCmd() *cobra.Command {
	var w waitFlags
	var revision uint64
	cmd := &cobra.Command{
		Use:   "scale APP/STACK=COUNT...",
		Short: "Change how many replicas of a stack the cluster keeps",
		Long: `Change how many replicas of a stack the cluster keeps.

Scaling writes a revision, as applying does. Scaling down drops the highest numbers and keeps their volumes; scaling up
takes them again.` + waitExit,
		Example: `  argosy scale shop/lamp=7
  argosy scale shop/lamp=7 shop/balancer=3 --wait`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeScales,
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := scaleRequest(args)
			if err != nil {
				return err
			}
			req.Tenant, req.ExpectedRevision, req.IdempotencyKey = a.tenant, revision, requestKey()
			c, err := a.connect()
			if err != nil {
				return err
			}
			res, err := c.apps().Scale(cmd.Context(), traced(a, req))
			if err != nil {
				return err
			}
			return a.applied(cmd.Context(), c, res.Msg, w)
		},
	}
	w.add(cmd)
	cmd.Flags().Uint64Var(&revision, "revision", 0, "refuse unless the app is at this revision")
	return cmd
}

func scaleRequest(args []string) (*argosyv1.ScaleRequest, error) {
	req := &argosyv1.ScaleRequest{Counts: map[string]uint32{}}
	for _, arg := range args {
		name, count, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, usageError("%q has no count: write %s=3", arg, arg)
		}
		n, err := strconv.ParseUint(count, 10, 32)
		if err != nil {
			return nil, usageError("%q: %q is not a number of replicas", arg, count)
		}
		t, err := parseTarget(name)
		if err != nil {
			return nil, err
		}
		if t.stack == "" || t.number != 0 || t.member != "" {
			return nil, usageError("%q is not a stack: write app/stack=count, for example shop/lamp=7", arg)
		}
		if req.App != "" && req.App != t.app {
			return nil, usageError("one scale changes one app, and this names %s and %s: run it once for each", req.App, t.app)
		}
		if _, twice := req.Counts[t.stack]; twice {
			return nil, usageError("%s is given twice", name)
		}
		req.App = t.app
		req.Counts[t.stack] = uint32(n)
	}
	return req, nil
}

func (a *app) restartCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restart APP[/STACK[.NUMBER]]",
		Short: "Restart the containers of replicas, one replica of each stack at a time",
		Example: `  argosy restart shop/lamp
  argosy restart shop/lamp.3`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeReplicas,
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := parseTarget(args[0])
			if err != nil {
				return err
			}
			if t.member != "" {
				return usageError("%q: a replica is restarted as a whole; leave out /%s", args[0], t.member)
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			res, err := c.apps().Restart(cmd.Context(), connect.NewRequest(&argosyv1.RestartRequest{
				Tenant: a.tenant, App: t.app, Stack: t.stack, Number: t.number, IdempotencyKey: requestKey()}))
			if err != nil {
				return err
			}
			return a.answer(res.Msg, []string{args[0]}, "%s: %s will restart, one of each stack at a time. Watch: argosy events -f %s",
				args[0], plural(res.Msg.Replicas, "replica"), t.app)
		},
	}
	return cmd
}

func (a *app) deleteCmd() *cobra.Command {
	var w waitFlags
	var volumes, yes bool
	cmd := &cobra.Command{
		Use:   "delete APP",
		Short: "Delete an app: stop and remove all its replicas",
		Long: `Delete an app: stop and remove all its replicas.

Volumes stay and are taken again when the app is applied anew, unless --volumes is given.` + waitExit,
		Example: `  argosy delete shop
  argosy delete shop --volumes --yes --wait`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := parseTarget(args[0])
			if err != nil {
				return err
			}
			if t.stack != "" {
				return usageError("only whole apps are deleted; to drop replicas, scale: argosy scale %s/%s=0", t.app, t.stack)
			}
			if volumes && !yes {
				if err := a.confirm(fmt.Sprintf("Delete %s and all data in its volumes?", t.app)); err != nil {
					return err
				}
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			res, err := c.apps().DeleteApp(cmd.Context(), connect.NewRequest(&argosyv1.DeleteAppRequest{
				Tenant: a.tenant, App: t.app, Volumes: volumes, IdempotencyKey: requestKey()}))
			if err != nil {
				return err
			}
			if err := a.answer(res.Msg, []string{t.app}, "%s: %s being removed", t.app, plural(res.Msg.Replicas, "replica")); err != nil || !w.wait {
				return err
			}
			return a.waitGone(cmd.Context(), c, t.app, w.timeout)
		},
	}
	w.add(cmd)
	cmd.Flags().BoolVar(&volumes, "volumes", false, "delete the data in the app's volumes too")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// confirm asks a person; where nobody can answer, the flag that says yes is demanded.
func (a *app) confirm(question string) error {
	if !isTerminal(a.sys.In) {
		return usageError("this cannot be undone: add --yes to do it without being asked")
	}
	fmt.Fprintf(a.sys.Err, "%s [y/N] ", question)
	line, _ := bufio.NewReader(a.sys.In).ReadString('\n')
	if s := strings.ToLower(strings.TrimSpace(line)); s != "y" && s != "yes" {
		return &exitError{code: exitFailed, msg: "nothing was deleted"}
	}
	return nil
}

func plural(n uint32, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

func (a *app) waitGone(ctx context.Context, c *connection, app string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return a.follow(ctx, c, app, goalGone)
}
