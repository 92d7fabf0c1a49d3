package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// machinePrefix tells a machine from an app.
const machinePrefix = "machine/"

func (a *app) waitCmd() *cobra.Command {
	var what string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "wait APP[/STACK[.NUMBER]]|machine/NAME",
		Short: "Wait until an app, a stack, a replica or a machine is as it should be",
		Long: `Wait until an app, a stack, a replica or a machine is as it should be, showing progress.

--for ready    every replica that is wanted is ready at the current revision; a machine is ready
--for updated  every replica is at the current revision, ready or not
--for gone     nothing of it is left; the machine is no longer part of the cluster
--for drained  of a machine that is being drained: nothing is left on it
--for state=S  every replica is in the state S, or the machine in the condition S, as 'argosy ps' and 'argosy machines' say it

Exit code 0: it is so. Exit code 3: it did not become so in time; the sentence says what is in the way.`,
		Example: `  argosy wait shop
  argosy wait shop/lamp.3 --for state=failed --timeout 1m
  argosy wait machine/m2 --for ready
  argosy wait machine/m2 --for drained
  argosy wait shop --for gone`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeWaitable,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			if name, ok := strings.CutPrefix(args[0], machinePrefix); ok {
				ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
				defer cancel()
				return a.waitForMachine(ctx, c, name, what)
			}
			return a.waitForReplicas(cmd.Context(), c, args[0], what, timeout)
		},
	}
	cmd.Flags().StringVar(&what, "for", "ready", "what to wait for: ready, updated, gone, drained or state=STATE")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "give up after this long (exit code 3)")
	_ = cmd.RegisterFlagCompletionFunc("for", completeGoals)
	return cmd
}

func (a *app) waitForReplicas(ctx context.Context, c *connection, name, what string, timeout time.Duration) error {
	t, err := parseTarget(name)
	if err != nil {
		return err
	}
	if t.member != "" {
		return usageError("%q: a replica is ready or not as a whole; leave out /%s", name, t.member)
	}
	done, holdsUp, err := replicaGoal(what)
	if err != nil {
		return err
	}
	if what != "gone" {
		if err := a.exists(ctx, c, t); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	p := &progress{app: t.app, of: t, holdsUp: holdsUp}
	if err := a.followPart(ctx, c, name, p, done); err != nil || a.output == "table" {
		return err
	}
	return a.show(&argosyv1.ListReplicasResponse{Replicas: p.sorted()}, nil, []string{name})
}

// exists refuses to wait for what nobody has asked the cluster for.
func (a *app) exists(ctx context.Context, c *connection, t target) error {
	res, err := c.apps().GetApp(ctx, connect.NewRequest(&argosyv1.GetAppRequest{Tenant: a.tenant, App: t.app}))
	if err != nil || t.stack == "" {
		return err
	}
	for _, s := range res.Msg.GetStatus().GetStacks() {
		if s.Stack == t.stack {
			return nil
		}
	}
	return fmt.Errorf("app %s has no stack %s; see 'argosy apps'", t.app, t.stack)
}

// replicaGoal is when replicas are as wanted, and which of them are not yet.
func replicaGoal(what string) (done goal, holdsUp func(*argosyv1.ReplicaStatus) bool, err error) {
	every := func(fits func(*argosyv1.ReplicaStatus) bool) (goal, func(*argosyv1.ReplicaStatus) bool, error) {
		return func(p *progress) bool {
			for _, r := range p.replicas {
				if !fits(r) {
					return false
				}
			}
			return p.known && len(p.replicas) == int(p.wanted)
		}, func(r *argosyv1.ReplicaStatus) bool { return !fits(r) }, nil
	}
	state, isState := strings.CutPrefix(what, "state=")
	switch {
	case what == "ready":
		return goalReady, nil, nil
	case what == "gone":
		return goalGone, func(*argosyv1.ReplicaStatus) bool { return true }, nil
	case what == "updated":
		return every(func(r *argosyv1.ReplicaStatus) bool { return r.UpToDate })
	case isState:
		if !slices.Contains(states(), state) {
			return nil, nil, usageError("--for %q: there is no such state: it is one of %s", what, strings.Join(states(), ", "))
		}
		return every(func(r *argosyv1.ReplicaStatus) bool { return stateCell(r).text == state })
	}
	return nil, nil, usageError("--for %q is not known: use ready, updated, gone or state=STATE", what)
}

// states are the words for replicas' states.
func states() []string {
	var out []string
	for n := range argosyv1.ReplicaState_name {
		out = append(out, stateCell(&argosyv1.ReplicaStatus{State: argosyv1.ReplicaState(n)}).text)
	}
	slices.Sort(out)
	return out
}

// lookAgain is how often a machine is looked at while somebody waits for it.
const lookAgain = 500 * time.Millisecond

func (a *app) waitForMachine(ctx context.Context, c *connection, name, what string) error {
	fits, err := machineGoal(what)
	if err != nil {
		return err
	}
	started, last, before := time.Now(), "", ""
	for {
		res, err := c.machines().ListMachines(ctx, connect.NewRequest(&argosyv1.ListMachinesRequest{Machine: name}))
		switch {
		case ctx.Err() == nil && err != nil && connect.CodeOf(err) != connect.CodeNotFound && connect.CodeOf(err) != connect.CodeUnavailable:
			return err
		case err == nil || connect.CodeOf(err) == connect.CodeNotFound:
			var m *argosyv1.MachineStatus
			if err == nil && len(res.Msg.Machines) == 1 {
				m = res.Msg.Machines[0]
			}
			is := "not part of the cluster"
			if m != nil {
				is = standing(m).text
				if m.Message != "" {
					is += " (" + oneLine(m.Message) + ")"
				}
			}
			shown := strings.Join(append([]string{is}, remainingLines(m, mostRemaining)...), "; ")
			if shown != before {
				a.done("%4s  machine %s is %s", seconds(time.Since(started)), name, is)
				a.showRemaining(m)
			}
			if last, before = is, shown; fits(m) {
				return a.answer(m, []string{machinePrefix + name}, "machine %s: done after %s", name, span(time.Since(started)))
			}
			if what == "drained" {
				if err := neverDrained(name, m); err != nil {
					return err
				}
			}
		case last == "":
			last = "not known: " + a.explainError(err)
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return &exitError{exitInterrupted, "interrupted: only the waiting has ended"}
			}
			return &exitError{exitTimeout, fmt.Sprintf("machine %s did not become %s in time: it is %s", name, strings.TrimPrefix(what, "state="), last)}
		case <-time.After(lookAgain):
		}
	}
}

// machineGoal is when a machine is as wanted; one that is not part of the cluster is nil.
func machineGoal(what string) (func(*argosyv1.MachineStatus) bool, error) {
	state, isState := strings.CutPrefix(what, "state=")
	switch {
	case what == "ready":
		state = "ready"
	case what == "gone":
		return func(m *argosyv1.MachineStatus) bool { return m == nil }, nil
	case what == "drained":
		return func(m *argosyv1.MachineStatus) bool { return m.GetDrained() }, nil
	case !isState || !slices.Contains(conditions(), state):
		return nil, usageError("--for %q is not known of a machine: use ready, drained, gone or state=CONDITION, which is one of %s", what, strings.Join(conditions(), ", "))
	}
	return func(m *argosyv1.MachineStatus) bool { return m != nil && conditionCell(m.Condition).text == state }, nil
}

// neverDrained ends waiting for what does not come by itself.
func neverDrained(name string, m *argosyv1.MachineStatus) error {
	switch d := m.GetMachine().GetDrain(); {
	case m == nil:
		return fmt.Errorf("machine %s is not part of the cluster", name)
	case d == nil:
		return fmt.Errorf("nobody drains machine %s: 'argosy machines drain %s' does", name, name)
	case stuckDrain(d):
		return &exitError{exitTimeout, fmt.Sprintf("machine %s is not drained, and its deadline has passed: %s", name, strings.Join(remainingLines(m, mostRemaining), "; "))}
	}
	return nil
}

func conditions() []string {
	var out []string
	for n := range argosyv1.MachineCondition_name {
		out = append(out, conditionCell(argosyv1.MachineCondition(n)).text)
	}
	slices.Sort(out)
	return out
}

func completeGoals(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	words, named := []string{"ready", "gone"}, states()
	if len(args) > 0 && strings.HasPrefix(args[0], machinePrefix) {
		named = conditions()
		words = append(words, "drained")
	} else {
		words = append(words, "updated")
	}
	for _, s := range named {
		words = append(words, "state="+s)
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}
