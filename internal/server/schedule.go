package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/backup"
	"github.com/argosy-cluster/argosy/internal/backup/schedule"
	"github.com/argosy-cluster/argosy/internal/backup/target"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/store"
)

// scheduleEvery is how often the schedule is looked at if not earlier, and listTime how long a listing of what is at the target may take.
const (
	scheduleEvery = 20 * time.Second
	listTime      = 20 * time.Second
	backupTime    = 6 * time.Hour
)

// keepSchedule makes backups when they are due, for as long as this server leads.
func (s *Server) keepSchedule(ctx context.Context) error {
	for {
		if err := s.scheduled(ctx, time.Now()); err != nil && ctx.Err() == nil {
			s.log.Warn("the outcome of a scheduled backup could not be kept", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(s.untilBackup(time.Now())):
		case <-s.scheduleSet:
		}
	}
}

// untilBackup is how long to wait before the schedule is looked at again.
func (s *Server) untilBackup(now time.Time) time.Duration {
	sched, last, err := s.backups()
	if err != nil || sched.GetEvery() == nil {
		return scheduleEvery
	}
	if next := schedule.Next(sched, last).Sub(now); next > 0 {
		return min(next, scheduleEvery)
	}
	return scheduleEvery
}

// backups are the schedule and how the last one went; an error says that another server leads.
func (s *Server) backups() (sched *argosyv1.BackupSchedule, st *argosyv1.BackupState, err error) {
	err = s.leader.Read(func(_ time.Time, v *leader.View) { sched, st = v.Backups() })
	return sched, st, err
}

// scheduled makes a backup if one is due.
func (s *Server) scheduled(ctx context.Context, now time.Time) error {
	sched, last, err := s.backups()
	if err != nil || !schedule.Due(now, sched, last) {
		return nil
	}
	next := &argosyv1.BackupState{AttemptedAt: timestamppb.New(now), SucceededAt: last.GetSucceededAt(), File: last.GetFile(), Size: last.GetSize(), Server: last.GetServer()}
	size, err := s.backUp(ctx, sched, now)
	if ctx.Err() != nil {
		return nil // whoever leads next makes it
	}
	if err != nil {
		s.log.Error("a scheduled backup could not be made", "to", sched.GetTo(), "error", err)
		next.Error = brieflyOf(err)
	} else {
		next.SucceededAt, next.File, next.Size, next.Server = timestamppb.New(now), schedule.Name(s.cluster.ID(), now), size, s.cfg.Name
		s.log.Info("a scheduled backup is made", "file", next.File, "size", size)
	}
	return s.leader.Propose(ctx, func(_ time.Time, v *leader.View) (leader.Proposal, error) {
		ops, err := puts(record{store.BackupKey, next})
		p := leader.Proposal{Ops: ops}
		_, was := v.Backups()
		// Of many that fail in a row, and of many that do not, the first is told.
		if next.Error != "" && was.GetError() != next.Error {
			p.Transitions = append(p.Transitions, &argosyv1.Transition{Kind: argosyv1.TransitionKind_TRANSITION_KIND_SECURITY, To: "backup failed", Cause: next.Error})
		}
		if next.Error == "" && (was.GetError() != "" || was == nil) {
			p.Transitions = append(p.Transitions, &argosyv1.Transition{Kind: argosyv1.TransitionKind_TRANSITION_KIND_SECURITY, To: "backup made", Cause: next.File + " in " + sched.GetTo()})
		}
		return p, err
	})
}

// mostError is how much of an error is kept with the schedule, in bytes.
const mostError = 400

func brieflyOf(err error) string {
	text := plainError(err)
	return strings.ToValidUTF8(text[:min(len(text), mostError)], "")
}

// backUp makes a backup where the schedule says and removes those that are too many.
func (s *Server) backUp(ctx context.Context, sched *argosyv1.BackupSchedule, now time.Time) (size int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, backupTime)
	defer cancel()
	to, err := s.target(sched)
	if err != nil {
		return 0, err
	}
	b := backing{s: s, lock: lockOf(sched.GetLock()), images: sched.GetImages(), history: !sched.GetWithoutHistory()}
	var sum backup.Summary
	err = to.Put(ctx, schedule.Name(s.cluster.ID(), now), func(w io.Writer) (err error) {
		sum, err = b.write(ctx, w)
		return err
	})
	if err != nil {
		return 0, err
	}
	files, err := to.List(ctx)
	if err != nil {
		return sum.Size, fmt.Errorf("the backup is made, and old ones cannot be listed: %w", err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name)
	}
	var errs []error
	for _, name := range schedule.Surplus(s.cluster.ID(), names, int(sched.GetKeep())) {
		errs = append(errs, to.Remove(ctx, name))
	}
	if err := errors.Join(errs...); err != nil {
		return sum.Size, fmt.Errorf("the backup is made, and old ones cannot be removed: %w", err)
	}
	return sum.Size, nil
}

// target opens where the schedule puts backups, with the credentials that its secret holds.
func (s *Server) target(sched *argosyv1.BackupSchedule) (target.Target, error) {
	var c target.Credential
	if target.IsS3(sched.GetTo()) {
		text, err := s.revealed(auth.DefaultTenant, sched.GetCredentials())
		if err != nil {
			return nil, err
		}
		if c, err = target.ParseCredential(text); err != nil {
			return nil, fmt.Errorf("secret %s: %w", sched.GetCredentials(), err)
		}
	}
	return target.Open(sched.GetTo(), c)
}

// revealed opens a secret for the server's own use.
func (s *Server) revealed(tenant, name string) (text string, err error) {
	readErr := s.leader.Read(func(_ time.Time, v *leader.View) {
		sec := v.Secret(tenant, name)
		if sec == nil {
			err = fmt.Errorf("tenant %s has no secret %q: set one with 'argosy secret set'", tenant, clip(name))
			return
		}
		value, openErr := s.cluster.Keyring().Decrypt(sec.Encrypted, auth.SecretContext(auth.KindSecret, tenant, name, sec.Version))
		text, err = string(value.Reveal()), openErr
	})
	return text, errors.Join(readErr, err)
}

func (s backupService) SetSchedule(ctx context.Context, r *connect.Request[argosyv1.SetScheduleRequest]) (*connect.Response[argosyv1.GetScheduleResponse], error) {
	sched := proto.CloneOf(r.Msg.GetSchedule())
	if sched != nil {
		if err := checkSchedule(sched); err != nil {
			return nil, connectInvalid(err)
		}
	}
	res := &argosyv1.GetScheduleResponse{}
	err := s.change(ctx, change{
		rpc: "SetSchedule", tenant: auth.DefaultTenant, key: r.Msg.IdempotencyKey, request: r.Msg, response: res,
		decide: func(now time.Time, v *leader.View) (leader.Proposal, error) {
			old, st := v.Backups()
			res.State = st
			event := &argosyv1.Transition{Kind: argosyv1.TransitionKind_TRANSITION_KIND_SECURITY, Actor: actorOf(ctx)}
			if sched == nil {
				if old == nil {
					return leader.Proposal{}, nil
				}
				event.To, event.Cause = "backups end", "to "+old.GetTo()
				return leader.Proposal{Ops: []store.Op{store.Delete(store.ScheduleKey)}, Transitions: []*argosyv1.Transition{event}}, nil
			}
			if target.IsS3(sched.GetTo()) && v.Secret(auth.DefaultTenant, sched.GetCredentials()) == nil {
				return leader.Proposal{}, notFound("tenant %s has no secret %q: set one with 'argosy secret set' first", auth.DefaultTenant, clip(sched.GetCredentials()))
			}
			sched.SetAt, sched.Author = timestamppb.New(now), actorOf(ctx)
			res.Schedule, res.NextAt = sched, timestamppb.New(schedule.Next(sched, st))
			event.To, event.Cause = "backups every "+sched.GetEvery().AsDuration().String(), "to "+sched.GetTo()
			ops, err := puts(record{store.ScheduleKey, sched})
			return leader.Proposal{Ops: ops, Transitions: []*argosyv1.Transition{event}}, err
		},
	})
	select {
	case s.scheduleSet <- struct{}{}:
	default:
	}
	return respond(res, err)
}

func checkSchedule(sched *argosyv1.BackupSchedule) error {
	if err := errors.Join(schedule.Check(sched), target.Check(sched.GetTo()), lockOf(sched.GetLock()).Check()); err != nil {
		return err
	}
	if target.IsS3(sched.GetTo()) != (sched.GetCredentials() != "") {
		return errors.New("s3 takes the name of a secret with ACCESS-KEY-ID:SECRET-KEY, and a directory takes none")
	}
	return nil
}

func (s backupService) GetSchedule(ctx context.Context, r *connect.Request[argosyv1.GetScheduleRequest]) (*connect.Response[argosyv1.GetScheduleResponse], error) {
	sched, st, err := s.backups()
	if err != nil {
		return nil, rpcError(err)
	}
	res := &argosyv1.GetScheduleResponse{Schedule: sched, State: st}
	if sched == nil {
		return connect.NewResponse(res), nil
	}
	res.NextAt = timestamppb.New(schedule.Next(sched, st))
	if !r.Msg.Files {
		return connect.NewResponse(res), nil
	}
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	to, err := s.target(sched)
	var files []target.File
	if err == nil {
		files, err = to.List(ctx)
	}
	if err != nil {
		res.FilesError = plainError(err)
	}
	for _, f := range files {
		if begun, ok := schedule.Parse(s.cluster.ID(), f.Name); ok {
			res.Files = append(res.Files, &argosyv1.BackupFile{Name: f.Name, Size: f.Size, BegunAt: timestamppb.New(begun)})
		}
	}
	slices.SortFunc(res.Files, func(a, b *argosyv1.BackupFile) int { return b.BegunAt.AsTime().Compare(a.BegunAt.AsTime()) })
	return connect.NewResponse(res), nil
}
