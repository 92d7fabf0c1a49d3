package localcluster

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/encoding/protojson"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// membership is in a machine once it has joined.
const membership = agentDir + "/membership.json"

// ensureMembers runs the server on m1, makes machines 1 to n members, and waits
// until the server has heard from all of them.
func (l *Local) ensureMembers(ctx context.Context, n int) error {
	if err := l.ensureServer(ctx); err != nil {
		return err
	}
	for number := 2; number <= l.opts.Servers; number++ {
		if err := l.ensurePeer(ctx, machineName(number)); err != nil {
			return err
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	for number := 1; number <= n; number++ {
		g.Go(func() error { return l.ensureMember(gctx, machineName(number)) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return l.waitReady(ctx, n)
}

// ensureServer starts the server and waits until it answers on its socket.
func (l *Local) ensureServer(ctx context.Context) error {
	server := machineName(1)
	if _, err := l.askServer(ctx); err == nil {
		return nil
	}
	return l.step(server, "start the server", func() error {
		if _, err := l.Exec(ctx, server, "systemctl", "enable", "--now", "--quiet", serverUnit); err != nil {
			return err
		}
		err := poll(ctx, 30*time.Second, func(ctx context.Context) error {
			if _, err := l.askServer(ctx); err != nil {
				return notYet("%w", err)
			}
			return nil
		})
		if err != nil {
			return l.withJournal(ctx, server, serverUnit, err)
		}
		return nil
	})
}

// askServer returns the machines that the server knows.
func (l *Local) askServer(ctx context.Context) ([]*argosyv1.MachineStatus, error) {
	out, err := l.Exec(ctx, machineName(1), lightPath, "machines", "--output", "json")
	if err != nil {
		return nil, err
	}
	var res argosyv1.ListMachinesResponse
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(out, &res); err != nil {
		return nil, fmt.Errorf("read the server's list of machines: %w", err)
	}
	return res.Machines, nil
}

// ensurePeer has one more server join unless it has, and waits until it has a vote.
func (l *Local) ensurePeer(ctx context.Context, machine string) error {
	_, err := l.Exec(ctx, machine, "test", "-e", serverDir+"/membership.json")
	var exit *ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	if err == nil {
		_, err := l.Exec(ctx, machine, "systemctl", "enable", "--now", "--quiet", serverUnit)
		return err
	}
	return l.step(machine, "join as a server", func() error {
		token, err := l.Exec(ctx, machineName(1), lightPath, "token", "create", "--for-server")
		if err != nil {
			return err
		}
		_, err = l.Exec(ctx, machine, lightPath, "join", "--server", "--data-dir", serverDir, "--name", machine, strings.TrimSpace(string(token)))
		if errors.As(err, &exit) {
			exit.Command = []string{"argosy", "join", "--server"} // the token is nobody's business
		}
		if err != nil {
			return err
		}
		if _, err := l.Exec(ctx, machine, "systemctl", "enable", "--now", "--quiet", serverUnit); err != nil {
			return err
		}
		err = poll(ctx, 60*time.Second, func(ctx context.Context) error { return l.votes(ctx, machine) })
		if err != nil {
			return l.withJournal(ctx, machine, serverUnit, err)
		}
		return nil
	})
}

// votes returns errNotYet until a machine's server has a vote.
func (l *Local) votes(ctx context.Context, machine string) error {
	out, err := l.Exec(ctx, machineName(1), lightPath, "servers", "--output", "json")
	if err != nil {
		return notYet("%w", err)
	}
	var res argosyv1.ListServersResponse
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(out, &res); err != nil {
		return fmt.Errorf("read the list of servers: %w", err)
	}
	for _, s := range res.Servers {
		if s.GetName() == machine && s.GetRole() == argosyv1.ServerRole_SERVER_ROLE_VOTER && s.GetHealthy() {
			return nil
		}
	}
	return notYet("the server on %s has no vote", machine)
}

// ensureMember joins one machine unless it is a member, and sees to it that its
// agent runs.
func (l *Local) ensureMember(ctx context.Context, machine string) error {
	_, err := l.Exec(ctx, machine, "test", "-e", membership)
	var exit *ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	if err == nil {
		_, err := l.Exec(ctx, machine, "systemctl", "enable", "--now", "--quiet", agentUnit)
		return err
	}
	return l.step(machine, "join", func() error {
		token, err := l.Exec(ctx, machineName(1), lightPath, "token", "create")
		if err != nil {
			return err
		}
		// The kernel shows every machine the whole host, so what each may use is
		// said here.
		join := []string{lightPath, "join", "--data-dir", agentDir, "--name", machine, "--memory", strconv.FormatInt(l.opts.Memory, 10)}
		if l.opts.CPUs != "" {
			join = append(join, "--cpus", l.opts.CPUs)
		}
		_, err = l.Exec(ctx, machine, append(join, strings.TrimSpace(string(token)))...)
		if errors.As(err, &exit) {
			exit.Command = []string{"argosy", "join"} // the token is nobody's business
		}
		if err != nil {
			return err
		}
		_, err = l.Exec(ctx, machine, "systemctl", "enable", "--now", "--quiet", agentUnit)
		return err
	})
}

// waitReady returns when the server calls machines 1 to n ready.
func (l *Local) waitReady(ctx context.Context, n int) error {
	var late string // a machine that is not ready
	err := poll(ctx, 60*time.Second, func(ctx context.Context) error {
		known, err := l.askServer(ctx)
		if err != nil {
			return notYet("%w", err)
		}
		ready := map[string]bool{}
		for _, m := range known {
			ready[m.GetMachine().GetName()] = m.GetCondition() == argosyv1.MachineCondition_MACHINE_CONDITION_READY
		}
		for number := 1; number <= n; number++ {
			if late = machineName(number); !ready[late] {
				return notYet("the server does not call machine %s ready", late)
			}
		}
		return nil
	})
	if err != nil && late != "" {
		return l.withJournal(ctx, late, agentUnit, err)
	}
	return err
}

// withJournal adds the last words of a unit to err.
func (l *Local) withJournal(ctx context.Context, machine, unit string, err error) error {
	words, journalErr := l.Exec(ctx, machine, "journalctl", "--unit", unit, "--lines", "10", "--output", "cat", "--no-pager")
	if journalErr != nil || len(words) == 0 {
		return err
	}
	return fmt.Errorf("%w; the last words of %s on %s:\n%s", err, unit, machine, strings.TrimSpace(string(words)))
}
