package cli

import (
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

func (a *app) backupScheduleCmd() *cobra.Command {
	var lock lockFlags
	var s argosyv1.BackupSchedule
	var every time.Duration
	var off bool
	cmd := &cobra.Command{
		Use: "schedule", Short: "Have the servers make backups by themselves, or see how that goes", Args: cobra.NoArgs,
		Long: `Have the servers make backups by themselves, or without flags see how that goes.

Whichever server leads makes them: into a directory of its own host, which should be a file system that all servers mount
from elsewhere, or into S3-compatible storage. The directory or bucket has to be there. The credentials for S3 are a secret of
the tenant default, ACCESS-KEY-ID:SECRET-KEY. A backup that fails is tried again after ten minutes; 'argosy status' and
'argosy events' say so.

A schedule is made for a public key (--for), so that no server can open what it makes. With --keep the newest so many stay, and
of other files none is touched. Setting a schedule makes a backup at once.`,
		Example: `  argosy backup key backup.key
  argosy backup schedule --every 6h --to /mnt/backups --keep 28 --for age1…
  echo ID:KEY | argosy secret set backup-s3 --file -
  argosy backup schedule --every 24h --to 's3://bucket/shop?endpoint=https://s3.example' --credentials backup-s3 --for age1…
  argosy backup schedule
  argosy backup schedule --off`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			flags := cmd.Flags()
			asks := flags.Changed("every") || flags.Changed("to") || len(lock.recipients) > 0 || lock.passphraseFile != ""
			switch {
			case off && asks:
				return usageError("--off ends the schedule: give it alone")
			case asks && (every == 0 || s.To == "" || len(lock.recipients) == 0 && lock.passphraseFile == ""):
				return usageError("a schedule says how often, where to and for which key: --every 6h --to /mnt/backups --for age1…")
			case !asks && !off && flags.NFlag() > 0 && (flags.Changed("keep") || flags.Changed("images") || flags.Changed("no-history") || flags.Changed("credentials")):
				return usageError("a schedule is set as a whole: give --every, --to and --for, too")
			}
			if !asks && !off {
				return a.showSchedule(cmd, false)
			}
			req := &argosyv1.SetScheduleRequest{IdempotencyKey: requestKey()}
			if asks {
				l, err := a.lock(lock)
				if err != nil {
					return err
				}
				s.Every, s.Lock = durationpb.New(every), l
				req.Schedule = &s
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			res, err := c.backups().SetSchedule(cmd.Context(), connect.NewRequest(req))
			if err != nil {
				return err
			}
			if off {
				return a.answer(res.Msg, nil, "the servers make no backups by themselves any more; those that were made stay")
			}
			return a.answer(res.Msg, []string{s.To}, "the servers make a backup every %s to %s, the first one now: 'argosy backup list' shows them", span(every), s.To)
		},
	}
	cmd.Flags().DurationVar(&every, "every", 0, "how often, 5m to 744h")
	cmd.Flags().StringVar(&s.To, "to", "", "a directory of the servers, or s3://BUCKET/PREFIX?endpoint=https://HOST&region=REGION")
	cmd.Flags().Uint32Var(&s.Keep, "keep", 0, "how many of the newest stay; 0 keeps all")
	cmd.Flags().StringVar(&s.Credentials, "credentials", "", "name of the secret with ACCESS-KEY-ID:SECRET-KEY for S3")
	cmd.Flags().BoolVar(&s.Images, "images", false, "also the images that the cluster keeps")
	cmd.Flags().BoolVar(&s.WithoutHistory, "no-history", false, "without what happened (argosy events)")
	cmd.Flags().BoolVar(&off, "off", false, "end the schedule")
	lock.add(cmd)
	return cmd
}

func (a *app) backupListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the backups that are where the schedule puts them", Args: cobra.NoArgs,
		Long: `List the backups of this cluster that are where the schedule puts them, the newest first.

In a directory they are those that the leading server sees.`,
		Example: `  argosy backup list
  argosy backup list -o name`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.showSchedule(cmd, true) },
	}
}

func (a *app) showSchedule(cmd *cobra.Command, files bool) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	res, err := c.backups().GetSchedule(cmd.Context(), connect.NewRequest(&argosyv1.GetScheduleRequest{Files: files}))
	if err != nil {
		return err
	}
	m := res.Msg
	if m.Schedule == nil && a.output == "table" {
		a.note("The servers make no backups by themselves. Have them: argosy backup schedule --every 6h --to /mnt/backups --for age1…")
		return nil
	}
	if m.FilesError != "" {
		return fmt.Errorf("%s cannot be read: %s", m.Schedule.GetTo(), m.FilesError)
	}
	if files {
		t := &table{header: []string{"BACKUP", "AGE", "SIZE"}, wide: []string{"BEGUN"}}
		var names []string
		for _, f := range m.Files {
			names = append(names, f.Name)
			t.add(text(f.Name), text(since(f.BegunAt, time.Now())), text(size(f.Size)))
			t.also(text(f.BegunAt.AsTime().Local().Format(time.DateTime)))
		}
		if len(names) == 0 && a.output == "table" {
			a.note("There is no backup in %s yet; 'argosy backup schedule' says how that goes.", m.Schedule.GetTo())
			return nil
		}
		return a.show(m, t, names)
	}
	t := &table{header: []string{"TO", "EVERY", "KEEP", "NEXT", "LAST", "STATE"}, wide: []string{"FILE", "SIZE", "SERVER", "SET BY", "FOR"}}
	if s := m.Schedule; s != nil {
		keep := "all"
		if s.Keep > 0 {
			keep = fmt.Sprint(s.Keep)
		}
		last := "-"
		if m.State.GetSucceededAt() != nil {
			last = since(m.State.SucceededAt, time.Now()) + " ago"
		}
		state := cell{"well", green}
		switch {
		case m.State.GetError() != "":
			state = cell{oneLine(m.State.Error), red}
		case m.State == nil:
			state = text("none was made yet")
		}
		t.add(text(s.To), text(span(s.Every.AsDuration())), text(keep), text(due(m.NextAt.AsTime())), text(last), state)
		t.also(text(orDash(m.State.GetFile())), text(size(m.State.GetSize())), text(orDash(m.State.GetServer())), text(orDash(s.Author)), text(strings.Join(s.Lock.GetRecipients(), ",")))
	}
	return a.show(m, t, []string{m.Schedule.GetTo()})
}

// due is when something comes.
func due(t time.Time) string {
	if wait := time.Until(t); wait > 0 {
		return "in " + span(wait)
	}
	return "now"
}

// backupWord is how the servers' backups go.
func backupWord(m *argosyv1.GetClusterResponse) string {
	last := "none was made yet"
	if m.BackupAt != nil {
		last = "last " + since(m.BackupAt, time.Now()) + " ago"
	}
	if m.BackupError != "" {
		return "failed: " + oneLine(m.BackupError) + "; " + last
	}
	return last
}
