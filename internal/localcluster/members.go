package localcluster

import (
	"context"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// ensureMembers runs the server on m1 and makes every machine a member.
func (l *Local) ensureMembers(ctx context.Context, n int) error {
	if err := l.ensureServer(ctx); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	for number := 1; number <= n; number++ {
		g.Go(func() error { return l.ensureMember(gctx, machineName(number)) })
	}
	return g.Wait()
}

// ensureServer starts the server and waits until it answers on its socket.
func (l *Local) ensureServer(ctx context.Context) error {
	if _, err := l.Exec(ctx, "m1", "systemctl", "enable", "--now", serverUnit); err != nil {
		return err
	}
	return poll(ctx, 30*time.Second, func(ctx context.Context) error {
		if _, err := l.Exec(ctx, "m1", binaryPath, "machines"); err != nil {
			return notYet("the server does not answer: %w", err)
		}
		return nil
	})
}

// ensureMember joins one machine unless it is a member, and starts its agent.
func (l *Local) ensureMember(ctx context.Context, machine string) error {
	if _, err := l.Exec(ctx, machine, "test", "-e", "/var/lib/argosy/agent/identity"); err == nil {
		_, err := l.Exec(ctx, machine, "systemctl", "enable", "--now", agentUnit)
		return err
	}
	return l.step(machine, "join", func() error {
		token, err := l.Exec(ctx, "m1", binaryPath, "token", "create")
		if err != nil {
			return err
		}
		if _, err := l.Exec(ctx, machine, binaryPath, "join", strings.TrimSpace(string(token))); err != nil {
			return err
		}
		_, err = l.Exec(ctx, machine, "systemctl", "enable", "--now", agentUnit)
		return err
	})
}
