package cli

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

func (a *app) caCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "ca", Aliases: []string{"certificates", "certs"}, Short: "Show the authority that signs the cluster's certificates, and change to another",
		Long: `Show the certificate authority of the cluster, and change to another.

Certificates of servers, machines and people renew by themselves; there is nothing to do for that. The authority that signs them
lasts ten years. 'argosy ca rotate' makes the next one, to which everybody changes without anything being stopped: for when it is about to
end, and for when somebody may have its key, such as whoever has the disk of a server that was removed.`,
		Example: "  argosy ca\n  argosy ca rotate --wait\n  argosy ca finish --force",
		Args:    cobra.NoArgs, RunE: a.showCA,
	}
	cmd.AddCommand(
		&cobra.Command{Use: "show", Short: "Show the authority, and whom a change to another waits for", Args: cobra.NoArgs, RunE: a.showCA,
			Example: "  argosy ca show\n  argosy ca show -o json"},
		a.caRotateCmd(), a.caFinishCmd(),
	)
	return cmd
}

func (a *app) showCA(cmd *cobra.Command, _ []string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	res, err := c.cluster().GetAuthority(cmd.Context(), connect.NewRequest(&argosyv1.GetAuthorityRequest{}))
	if err != nil {
		return err
	}
	return a.showAuthority(res.Msg)
}

func (a *app) showAuthority(st *argosyv1.AuthorityStatus) error {
	t := &table{header: []string{"AUTHORITY", "STATE", "ENDS", "SHA-256"}}
	var names []string
	row := func(i *argosyv1.AuthorityInfo, state cell) {
		if i == nil {
			return
		}
		name := fmt.Sprint(i.Number)
		names = append(names, name)
		t.add(text(name), state, text(i.GetEnds().AsTime().UTC().Format("2006-01-02")), text(hex.EncodeToString(i.Digest)))
	}
	row(st.Current, cell{"issues", green})
	switch st.Phase {
	case argosyv1.RotationPhase_ROTATION_PHASE_SPREADING:
		row(st.Other, cell{"is to issue", yellow})
	case argosyv1.RotationPhase_ROTATION_PHASE_RENEWING:
		row(st.Other, cell{"until it is given up", yellow})
	}
	if err := a.show(st, t, names); err != nil || a.output != "table" {
		return err
	}
	for _, line := range rotationLines(st, time.Now()) {
		a.note("%s", line)
	}
	return nil
}

// rotationLines say how far a rotation is, and whom it waits for.
func rotationLines(st *argosyv1.AuthorityStatus, now time.Time) []string {
	var out []string
	switch st.Phase {
	case argosyv1.RotationPhase_ROTATION_PHASE_SPREADING:
		out = append(out, fmt.Sprintf("The servers learn authority %d. When all know it, it issues.", st.GetOther().GetNumber()))
	case argosyv1.RotationPhase_ROTATION_PHASE_RENEWING:
		out = append(out, fmt.Sprintf("%d of %d machines and users have certificates of authority %d. When all have, authority %d is given up.",
			st.Followed, st.Holders, st.GetCurrent().GetNumber(), st.GetOther().GetNumber()))
	}
	for _, f := range st.Waiting {
		out = append(out, fmt.Sprintf("%s %s: %s", f.Kind, f.Name, oneLine(f.Message)))
	}
	if st.Deadline != nil {
		left := st.Deadline.AsTime().Sub(now)
		switch {
		case left > 0:
			out = append(out, "Begun by "+st.By+"; whoever has not followed in "+span(left)+" is told of as overdue.")
		default:
			out = append(out, "Begun by "+st.By+"; overdue. 'argosy ca finish --force' leaves behind who is missing: they have to join, or log in, again.")
		}
	}
	return out
}

func (a *app) caRotateCmd() *cobra.Command {
	var deadline time.Duration
	var w waitFlags
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Change to a new authority, with every server, machine and login following",
		Long: `Change to a new authority. Everybody follows without more, and no container notices.

First the servers learn the new one, each opening its store anew in turn, while all answer. Then it issues: machines that are connected renew within
seconds, those that are away when they are back, logins with their next command; meanwhile both authorities are trusted. When all have
followed, the earlier one is given up with its key. Until then 'argosy ca' says for whom it is kept, and 'argosy status' that it is.

Nobody is left behind unasked: 'argosy ca finish --force' gives the earlier one up although some have not followed, and they have to join, or
log in, again. The deadline only says from when on that is called overdue. Tokens made before work until then.` + waitExit,
		Example: "  argosy ca rotate --wait\n  argosy ca rotate --deadline 168h",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if deadline < 0 {
				return usageError("--deadline %s is past: say how long from now", deadline)
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			req := &argosyv1.RotateAuthorityRequest{IdempotencyKey: requestKey()}
			if deadline > 0 {
				req.Deadline = durationpb.New(deadline)
			}
			res, err := c.cluster().RotateAuthority(cmd.Context(), connect.NewRequest(req))
			if err != nil {
				return err
			}
			st := res.Msg
			if w.wait {
				ctx, cancel := context.WithTimeout(cmd.Context(), w.timeout)
				defer cancel()
				if st, err = a.awaitAuthority(ctx, c, st); err != nil {
					return err
				}
			}
			return a.answerAuthority(st)
		},
	}
	cmd.Flags().DurationVar(&deadline, "deadline", 0, "call it overdue after this long (default 30 days)")
	w.add(cmd)
	return cmd
}

const authorityLook = 500 * time.Millisecond

// awaitAuthority tells what changes until the rotation is over.
func (a *app) awaitAuthority(ctx context.Context, c *connection, st *argosyv1.AuthorityStatus) (*argosyv1.AuthorityStatus, error) {
	begin, said := time.Now(), ""
	for st.Phase != argosyv1.RotationPhase_ROTATION_PHASE_NONE || len(st.Waiting) > 0 {
		if lines := strings.Join(rotationLines(&argosyv1.AuthorityStatus{Phase: st.Phase, Current: st.Current, Other: st.Other, Holders: st.Holders,
			Followed: st.Followed, Waiting: st.Waiting}, begin), "\n      "); lines != said {
			said = lines
			a.note("%4s  %s", span(time.Since(begin)), lines)
		}
		select {
		case <-ctx.Done():
			return nil, &exitError{code: exitTimeout, msg: "the change to another authority goes on, and is not over yet; see 'argosy ca'"}
		case <-time.After(authorityLook):
		}
		res, err := c.cluster().GetAuthority(ctx, connect.NewRequest(&argosyv1.GetAuthorityRequest{}))
		switch {
		case err == nil:
			st = res.Msg
		case connect.CodeOf(err) != connect.CodeUnavailable && ctx.Err() == nil:
			return nil, err
		}
	}
	return st, nil
}

func (a *app) answerAuthority(st *argosyv1.AuthorityStatus) error {
	name := []string{fmt.Sprint(st.GetCurrent().GetNumber())}
	if st.Phase == argosyv1.RotationPhase_ROTATION_PHASE_NONE {
		return a.answer(st, name, "authority %s is the only one", name[0])
	}
	return a.answer(st, name, "the change from authority %d to %d is under way; 'argosy ca' says how far it is",
		min(st.GetCurrent().GetNumber(), st.GetOther().GetNumber()), max(st.GetCurrent().GetNumber(), st.GetOther().GetNumber()))
}

func (a *app) caFinishCmd() *cobra.Command {
	var force, yes bool
	cmd := &cobra.Command{
		Use:   "finish",
		Short: "Give up the authority from before, although some may still need it",
		Long: `Give up the authority from before. That happens by itself when everybody has followed; who has not is named.

With --force those are left behind: machines go on running what they run, and have to join again, people to log in again, each with a new token.
Servers are never left behind: start those that are away, or remove them.`,
		Example: "  argosy ca finish\n  argosy ca finish --force --yes",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if force && !yes {
				if err := a.confirm("Leave behind all machines and users that have not followed?"); err != nil {
					return err
				}
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			res, err := c.cluster().FinishRotation(cmd.Context(), connect.NewRequest(&argosyv1.FinishRotationRequest{Force: force, IdempotencyKey: requestKey()}))
			if err != nil {
				return err
			}
			return a.answerAuthority(res.Msg)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "also when machines or users need it")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}
