package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

func (a *app) backupCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "backup",
		Aliases: []string{"backups"},
		Short:   "Put the cluster into a file that it can come back from",
		Long: `Put the cluster into a file that it can come back from.

A backup has all that the servers know: apps, machines, secrets, logins, tokens, and the keys of the cluster. It is always
encrypted, with a passphrase or for keys as age makes them, before it leaves the server, which does not have what opens it.
Volumes' data is not in it. 'argosy server recover --from' makes a server out of one.`,
		Example: `  argosy backup create cluster.backup                        # asks for a passphrase
  argosy backup key backup.key                               # or make a key once, and keep it elsewhere
  argosy backup create cluster.backup --for age1…
  argosy backup verify cluster.backup --key backup.key
  argosy backup schedule --every 6h --to /mnt/backups --for age1…`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.backupCreateCmd(), a.backupVerifyCmd(), a.backupKeyCmd(), a.backupScheduleCmd(), a.backupListCmd())
	return cmd
}

// lockFlags say what opens a backup that is made.
type lockFlags struct {
	recipients     []string
	passphraseFile string
}

func (l *lockFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&l.recipients, "for", nil, "a public key (age1…) whose secret half opens it; may be repeated")
	cmd.Flags().StringVar(&l.passphraseFile, "passphrase-file", "", "a file with the passphrase that opens it, '-' for standard input")
	cmd.MarkFlagsMutuallyExclusive("for", "passphrase-file")
	_ = cmd.RegisterFlagCompletionFunc("for", none)
}

// lock makes what opens a backup. Without flags a person is asked for a passphrase.
func (a *app) lock(l lockFlags) (*argosyv1.BackupLock, error) {
	if len(l.recipients) > 0 {
		return &argosyv1.BackupLock{Recipients: l.recipients}, checkRecipients(l.recipients)
	}
	if l.passphraseFile == "" && !isTerminal(a.sys.In) {
		return nil, usageError("a backup is always encrypted: name a public key with --for ('argosy backup key' makes one), or a passphrase with --passphrase-file")
	}
	rooms, err := a.rooms()
	if err != nil {
		return nil, err
	}
	text, err := a.readSecret("Passphrase: ", l.passphraseFile, false)
	if err != nil {
		return nil, err
	}
	if l.passphraseFile == "" {
		again, err := a.readSecret("Again: ", "", false)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(text, again) {
			return nil, errors.New("the two passphrases differ: nothing was done")
		}
	}
	return rooms.LockBackup(text)
}

// checkRecipients keeps secret keys from being sent anywhere; the rest the server checks.
func checkRecipients(keys []string) error {
	for _, k := range keys {
		if strings.HasPrefix(strings.ToUpper(k), "AGE-SECRET-KEY-") {
			return usageError("this is a secret key, and a backup is made for the public one, which the key's file names, too")
		}
	}
	return nil
}

// keyFlags say what a backup is opened with.
type keyFlags struct{ key, passphraseFile, credentialsFile string }

func (k *keyFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&k.key, "key", "", "a file with the secret key that opens the backup")
	cmd.Flags().StringVar(&k.passphraseFile, "passphrase-file", "", "a file with the passphrase that opens the backup, '-' for standard input")
	cmd.Flags().StringVar(&k.credentialsFile, "credentials-file", "", "a file with ACCESS-KEY-ID:SECRET-KEY, for a backup in S3-compatible storage")
	cmd.MarkFlagsMutuallyExclusive("key", "passphrase-file")
}

func (k keyFlags) given() bool { return k.key != "" || k.passphraseFile != "" }

// keyFor is what opens a backup. Without flags a person is asked for a passphrase.
func (a *app) keyFor(k keyFlags) (BackupKey, error) {
	switch {
	case k.key != "":
		text, err := a.readSecret("", k.key, true)
		return BackupKey{File: text}, err
	case k.passphraseFile == "" && !isTerminal(a.sys.In):
		return BackupKey{}, usageError("say what opens the backup, with --key or --passphrase-file")
	}
	text, err := a.readSecret("Passphrase: ", k.passphraseFile, false)
	return BackupKey{Passphrase: text}, err
}

// openBackup opens a file, or standard input, with its size where that is known.
func (a *app) openBackup(ctx context.Context, name string, k keyFlags) (io.ReadCloser, int64, error) {
	if strings.HasPrefix(name, "s3:") {
		return a.fetchBackup(ctx, name, k)
	}
	if k.credentialsFile != "" {
		return nil, 0, usageError("--credentials-file opens S3-compatible storage, and %s is none", name)
	}
	if name == "-" {
		if k.passphraseFile == "-" || k.key == "-" || !k.given() {
			return nil, 0, usageError("standard input is the backup: say with --key or --passphrase-file which file opens it")
		}
		return io.NopCloser(a.sys.In), 0, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, st.Size(), nil
}

// fetchBackup opens a backup in S3-compatible storage.
func (a *app) fetchBackup(ctx context.Context, name string, k keyFlags) (io.ReadCloser, int64, error) {
	if k.credentialsFile == "" {
		return nil, 0, usageError("S3-compatible storage asks who this is: name a file with ACCESS-KEY-ID:SECRET-KEY with --credentials-file")
	}
	credentials, err := a.readSecret("", k.credentialsFile, false)
	if err != nil {
		return nil, 0, err
	}
	rooms, err := a.rooms()
	if err != nil {
		return nil, 0, err
	}
	return rooms.FetchBackup(ctx, name, credentials)
}

// metered tells how far reading is.
type metered struct {
	in   io.Reader
	told func(int64)
	n    int64
}

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.in.Read(p)
	m.n += int64(n)
	m.told(m.n)
	return n, err
}

// progress shows a person how far something is.
func (a *app) progress(what string) (show func(part string, bytes, total int64), end func()) {
	if !isTerminal(a.sys.Err) {
		return func(string, int64, int64) {}, func() {}
	}
	last, drawn := time.Time{}, false
	show = func(part string, bytes, total int64) {
		if time.Since(last) < 100*time.Millisecond {
			return
		}
		last, drawn = time.Now(), true
		of := ""
		if total > 0 {
			of = " of " + size(total)
		}
		if part != "" {
			part += ", "
		}
		fmt.Fprintf(a.sys.Err, "\r\x1b[K%s: %s%s%s", what, part, size(bytes), of)
	}
	return show, func() {
		if drawn {
			fmt.Fprint(a.sys.Err, "\r\x1b[K")
			drawn = false
		}
	}
}

func (a *app) backupCreateCmd() *cobra.Command {
	var lock lockFlags
	var images, noHistory, force bool
	cmd := &cobra.Command{
		Use: "create FILE|-", Aliases: []string{"make"}, Short: "Make a backup now", Args: cobra.ExactArgs(1),
		Long: `Make a backup now, of all that was acknowledged until now.

It is written to a file that only you can read, or to standard output ('-'). What happened ('argosy events') is in it, the
images that were sent with 'argosy image load' only with --images. A file is there only once it is whole.`,
		Example: `  argosy backup create cluster.backup
  argosy backup create cluster.backup --for age1… --images
  argosy backup create - --passphrase-file pass | ssh store 'cat > cluster.backup'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := os.Lstat(args[0]); args[0] != "-" && err == nil && !force {
				return usageError("%s is there already: name another file, or replace it with --force", args[0])
			}
			if args[0] == "-" && isTerminal(a.sys.Out) {
				return usageError("standard output is a terminal, and a backup is no text: name a file")
			}
			l, err := a.lock(lock)
			if err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			req := &argosyv1.CreateBackupRequest{Lock: l, Images: images, WithoutHistory: noHistory}
			began := time.Now()
			info, err := a.writeBackup(cmd.Context(), c, req, args[0])
			if err != nil {
				return err
			}
			if args[0] == "-" {
				a.note("backup of cluster %s: %s in %s", info.ClusterId, size(info.Size), span(time.Since(began)))
				return nil
			}
			return a.answer(info, args, "backup of cluster %s in %s: %s in %s", info.ClusterId, args[0], size(info.Size), span(time.Since(began)))
		},
	}
	lock.add(cmd)
	cmd.Flags().BoolVar(&images, "images", false, "also the images that the cluster keeps")
	cmd.Flags().BoolVar(&noHistory, "no-history", false, "without what happened (argosy events)")
	cmd.Flags().BoolVar(&force, "force", false, "replace a file that is there")
	return cmd
}

// writeBackup has a backup made and writes it to a file, which is there as a whole or not at all.
func (a *app) writeBackup(ctx context.Context, c *connection, req *argosyv1.CreateBackupRequest, name string) (*argosyv1.BackupInfo, error) {
	if name == "-" {
		return a.receiveBackup(ctx, c, req, a.sys.Out)
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*") // mode 0600
	if err != nil {
		return nil, err
	}
	info, err := a.receiveBackup(ctx, c, req, f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(f.Name()))
	}
	return info, nil
}

// receiveBackup writes what a server sends, if it is whole.
func (a *app) receiveBackup(ctx context.Context, c *connection, req *argosyv1.CreateBackupRequest, out io.Writer) (*argosyv1.BackupInfo, error) {
	show, end := a.progress("backup")
	defer end()
	stream, err := c.backups().CreateBackup(ctx, connect.NewRequest(req))
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	var info *argosyv1.BackupInfo
	var n int64
	for info == nil && stream.Receive() {
		switch m := stream.Msg().GetMessage().(type) {
		case *argosyv1.CreateBackupResponse_Data:
			if _, err := out.Write(m.Data); err != nil {
				return nil, err
			}
			n += int64(len(m.Data))
		case *argosyv1.CreateBackupResponse_Progress:
			show(m.Progress.Part, m.Progress.Bytes, m.Progress.Total)
		case *argosyv1.CreateBackupResponse_Done:
			info = m.Done
		}
	}
	switch {
	case stream.Err() != nil:
		return nil, stream.Err()
	case info == nil || info.Size != n:
		return nil, fmt.Errorf("the server went away before the backup was whole: try again")
	}
	return info, nil
}

func (a *app) backupVerifyCmd() *cobra.Command {
	var keys keyFlags
	cmd := &cobra.Command{
		Use: "verify FILE|-", Aliases: []string{"check"}, Short: "See whether a backup is whole, and what is in it", Args: cobra.ExactArgs(1),
		Long: `See whether a backup is whole, and what is in it.

Without a key, this finds whether the file was cut or has rotted. With --key or --passphrase-file it is decrypted and read to
its end, as a restore would read it, and nobody can have put anything else in its place. It needs no server.`,
		Example: `  argosy backup verify cluster.backup
  argosy backup verify cluster.backup --key backup.key`,
		RunE: func(cmd *cobra.Command, args []string) error {
			rooms, err := a.rooms()
			if err != nil {
				return err
			}
			in, total, err := a.openBackup(cmd.Context(), args[0], keyFlags{key: cmp.Or(keys.key, "none"), passphraseFile: keys.passphraseFile, credentialsFile: keys.credentialsFile})
			if err != nil {
				return err
			}
			defer in.Close()
			var key *BackupKey
			if keys.given() {
				k, err := a.keyFor(keys)
				if err != nil {
					return err
				}
				key = &k
			}
			name := spoken(args[0])
			show, end := a.progress("reading " + name)
			defer end()
			b, err := rooms.VerifyBackup(&metered{in: in, told: func(n int64) { show("", n, total) }}, key)
			end()
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if !b.Opened {
				return a.told(b, args, "%s is whole: cluster %s, made %s ago by %s (%s), %s\nWhat is in it was not read: that takes --key or --passphrase-file.",
					name, b.Cluster, span(time.Since(b.Made)), b.Server, b.Version, size(b.Size))
			}
			return a.told(b, args, "%s is whole and opens: cluster %s, made %s ago by %s (%s), generation %d, revision %d, %s, with %s",
				name, b.Cluster, span(time.Since(b.Made)), b.Server, b.Version, b.Generation, b.Revision, size(b.Size), partsOf(b))
		},
	}
	keys.add(cmd)
	return cmd
}

// spoken is what a person calls a file.
func spoken(name string) string {
	if name == "-" {
		return "standard input"
	}
	return name
}

func partsOf(b *BackupFacts) string {
	out := "the store"
	if b.History {
		out += ", history"
	}
	if b.Images {
		out += ", images"
	}
	return out
}

func (a *app) backupKeyCmd() *cobra.Command {
	return &cobra.Command{
		Use: "key FILE", Short: "Make a key that opens backups, and print its public half", Args: cobra.ExactArgs(1),
		Long: `Make a key that opens backups, and print its public half, which backups are made for with --for.

Keep the file where backups are not, and not only on the cluster's own hosts: whoever has both has every secret of the cluster,
and without it a backup is worthless. It is a key of age, and age-keygen makes the same.`,
		Example: "  argosy backup key backup.key",
		RunE: func(_ *cobra.Command, args []string) error {
			rooms, err := a.rooms()
			if err != nil {
				return err
			}
			text, public, err := rooms.NewBackupKey()
			if err != nil {
				return err
			}
			f, err := os.OpenFile(args[0], os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
			if err != nil {
				return err
			}
			_, err = f.Write(text)
			if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
				return err
			}
			return a.told(map[string]string{"public": public, "file": args[0]}, []string{public}, "%s", public)
		},
	}
}
