package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/defaults"
	"github.com/argosy-cluster/argosy/internal/join"
	"github.com/argosy-cluster/argosy/internal/protocol"
	"github.com/argosy-cluster/argosy/internal/version"
)

// leaving is one run of `argosy leave`.
type leaving struct {
	a         *app
	drain     drainFlags
	force     bool
	dir, unit string
	member    *join.Membership
	http      *http.Client
}

func (a *app) leaveCmd() *cobra.Command {
	l := &leaving{a: a}
	var yes bool
	cmd := &cobra.Command{
		Use:   "leave",
		Short: "Empty this machine and take it out of its cluster",
		Long: `Empty this machine, as 'argosy machines drain' does, then take it out of its cluster, disable its agent and delete what the
agent kept. Stopping the agent alone stops no container and takes nothing out of the cluster.

Replicas whose data is on this machine keep it from leaving. With --force they are stopped and begin elsewhere with empty
volumes; their data stays on this machine's disk, in Docker volumes.

Interrupted, the machine goes on being drained: run it again, or take it back with 'argosy machines activate'.

Exit code 3: the deadline has passed and something is left; the machine is still in the cluster.`,
		Example: `  argosy leave
  argosy leave --deadline 10m --stop-at-deadline
  argosy leave --force`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot("argosy leave"); err != nil {
				return err
			}
			if l.force && !yes {
				if err := a.confirm("Leave, and give up the data of replicas that is on this machine?"); err != nil {
					return err
				}
			}
			return l.run(cmd.Context())
		},
	}
	l.drain.add(cmd)
	cmd.Flags().BoolVar(&l.force, "force", false, "also when replicas have data here, which is given up")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().StringVar(&l.dir, "data-dir", defaults.AgentDir, "directory for everything that the agent keeps")
	cmd.Flags().StringVar(&l.unit, "unit", "argosy-agent.service", "the agent's systemd unit, to be disabled; empty for none")
	return cmd
}

func (l *leaving) run(ctx context.Context) error {
	if err := l.open(); err != nil {
		return err
	}
	if err := l.emptied(ctx); err != nil {
		return err
	}
	if err := l.depart(ctx); err != nil {
		return err
	}
	if err := l.end(ctx); err != nil {
		return fmt.Errorf("this machine is no longer part of the cluster, but %w", err)
	}
	m := l.member
	return l.a.told(map[string]string{"machine": m.Name, "cluster": m.Cluster}, []string{m.Name},
		"%s is no longer a machine of cluster %s", m.Name, m.Cluster)
}

// open reads what joining left.
func (l *leaving) open() error {
	m, err := join.Load(l.dir)
	if errors.Is(err, os.ErrNotExist) {
		return errors.New("this host is not a machine of any cluster")
	}
	if err != nil {
		return err
	}
	cred, err := auth.Files{Dir: l.dir}.Load()
	if err != nil {
		return err
	}
	verifier, err := cred.Verifier()
	if err != nil {
		return err
	}
	l.member, l.http = m, &http.Client{Transport: join.NewTransport(auth.ClientTLS(auth.NewSource(cred), verifier))}
	return nil
}

// anyServer asks one server after another, until one answers.
func (l *leaving) anyServer(ask func(c argosyv1connect.AgentServiceClient) error) error {
	err := errors.New("no server is known")
	for _, server := range l.member.Servers {
		err = ask(argosyv1connect.NewAgentServiceClient(l.http, "https://"+server, protocol.Client(version.Version)))
		if c := connect.CodeOf(err); err == nil || c != connect.CodeUnavailable && c != connect.CodeDeadlineExceeded {
			return err
		}
	}
	return fmt.Errorf("no server of the cluster answers, and it cannot be left without them: %w", err)
}

// emptied has the machine drained and waits until nothing is left.
func (l *leaving) emptied(ctx context.Context) error {
	deadline, err := l.drain.wish()
	if err != nil {
		return err
	}
	req := &argosyv1.LeaveRequest{Reason: l.drain.reason, Deadline: deadline, StopAtDeadline: l.drain.stop, StopData: l.drain.stopData || l.force}
	if req.Reason == "" {
		req.Reason = "leaves the cluster"
	}
	started, last := time.Now(), []string{""}
	for {
		var res *argosyv1.LeaveResponse
		err := l.anyServer(func(c argosyv1connect.AgentServiceClient) error {
			r, err := c.Leave(ctx, connect.NewRequest(req))
			if err == nil {
				res = r.Msg
			}
			return err
		})
		switch c := connect.CodeOf(err); {
		case ctx.Err() != nil:
			return &exitError{exitInterrupted, "interrupted: the machine goes on being drained; 'argosy machines activate' takes that back"}
		case c == connect.CodeUnauthenticated || c == connect.CodePermissionDenied || c == connect.CodeNotFound:
			return l.goneAlready(err)
		case err != nil && last[0] == "":
			return err
		case err == nil:
			if done, err := l.stands(res, time.Since(started), &last); done || err != nil {
				return err
			}
			req.Deadline, req.StopAtDeadline = nil, false // said once
		}
		select {
		case <-ctx.Done():
		case <-time.After(lookAgain):
		}
	}
}

// stands tells how far it is, once for each change, and whether that is far enough.
func (l *leaving) stands(res *argosyv1.LeaveResponse, took time.Duration, last *[]string) (done bool, err error) {
	line := fmt.Sprintf("%s: %s left", res.Name, plural(uint32(len(res.Remaining)), "replica"))
	if now := append([]string{line}, res.Remaining...); !slices.Equal(now, *last) {
		*last = now
		l.a.done("%4s  %s", seconds(took), line)
		for _, r := range res.Remaining[:min(len(res.Remaining), mostRemaining)] {
			l.a.done("      %s", oneLine(r))
		}
	}
	switch {
	case res.Drained && len(res.Volumes) > 0 && !l.force:
		return false, fmt.Errorf("nothing runs here any more, but the data of %s is here (%s): --force gives it up, 'argosy machines activate %s' takes the machine back",
			plural(uint32(len(res.Volumes)), "volume"), strings.Join(res.Volumes[:min(len(res.Volumes), 3)], ", "), res.Name)
	case res.Drained:
		return true, nil
	case stuckDrain(res.Drain):
		return false, &exitError{exitTimeout, fmt.Sprintf("the deadline has passed, and %s left on %s, which stays in the cluster: %s",
			plural(uint32(len(res.Remaining)), "replica"), res.Name, strings.Join(res.Remaining[:min(len(res.Remaining), 3)], "; "))}
	}
	return false, nil
}

// goneAlready judges a refusal: a machine that the cluster does not know has nothing to leave.
func (l *leaving) goneAlready(err error) error {
	return fmt.Errorf("the cluster does not know this machine (any more): %w; if it was removed there, stop its agent and delete %s", err, l.dir)
}

func (l *leaving) depart(ctx context.Context) error {
	req := &argosyv1.DepartRequest{Force: l.force, IdempotencyKey: requestKey()}
	return l.anyServer(func(c argosyv1connect.AgentServiceClient) error {
		_, err := c.Depart(ctx, connect.NewRequest(req))
		return err
	})
}

// end disables the agent and deletes what it kept.
func (l *leaving) end(ctx context.Context) error {
	if l.unit != "" {
		if out, err := exec.CommandContext(ctx, "systemctl", "disable", "--now", l.unit).CombinedOutput(); err != nil {
			return fmt.Errorf("its agent's unit %s could not be disabled (%w: %s): stop the agent by hand and delete %s", l.unit, err, oneLine(string(out)), l.dir)
		}
	}
	if err := os.RemoveAll(l.dir); err != nil {
		return fmt.Errorf("what its agent kept could not be deleted: %w", err)
	}
	return nil
}
