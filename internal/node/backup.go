package node

import (
	"bytes"
	"context"
	"io"
	"log/slog"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/backup"
	"github.com/argosy-cluster/argosy/internal/backup/target"
	"github.com/argosy-cluster/argosy/internal/cli"
	"github.com/argosy-cluster/argosy/internal/server"
)

func restoreServer(ctx context.Context, dir string, in io.Reader, key cli.BackupKey, to cli.StoreOptions, log *slog.Logger) (*cli.Recovered, error) {
	opener, err := opener(key)
	if err != nil {
		return nil, err
	}
	r, err := server.Restore(ctx, dir, in, opener, externalStore(to), log)
	return recovered(r), err
}

func fetchBackup(ctx context.Context, from string, credentials []byte) (io.ReadCloser, int64, error) {
	at, name, err := target.Split(from)
	if err != nil {
		return nil, 0, err
	}
	c, err := target.ParseCredential(string(credentials))
	if err != nil {
		return nil, 0, err
	}
	to, err := target.Open(at, c)
	if err != nil {
		return nil, 0, err
	}
	return to.Get(ctx, name)
}

func recovered(r *server.Recovered) *cli.Recovered {
	if r == nil {
		return nil
	}
	out := &cli.Recovered{Cluster: r.Cluster, Server: r.Server, Generation: r.Generation, Revision: r.Revision, Given: r.Given, Kept: r.Kept}
	if r.Backup != nil {
		out.Backup = facts(*r.Backup)
	}
	return out
}

func opener(key cli.BackupKey) (backup.Key, error) {
	if key.File != nil {
		return backup.ReadKey(bytes.NewReader(key.File))
	}
	return backup.Passphrase(key.Passphrase), nil
}

func lockBackup(passphrase []byte) (*argosyv1.BackupLock, error) {
	lock, err := backup.ForPassphrase(passphrase)
	return &argosyv1.BackupLock{Recipients: lock.Recipients, LockedIdentity: lock.Locked}, err
}

func verifyBackup(in io.Reader, key *cli.BackupKey) (*cli.BackupFacts, error) {
	if key == nil {
		head, size, err := backup.Check(in)
		if err != nil {
			return nil, err
		}
		out := facts(backup.Summary{Head: head, Size: size})
		out.Opened = false
		return out, nil
	}
	opener, err := opener(*key)
	if err != nil {
		return nil, err
	}
	sum, err := backup.Verify(in, opener)
	if err != nil {
		return nil, err
	}
	return facts(sum), nil
}

func facts(s backup.Summary) *cli.BackupFacts {
	return &cli.BackupFacts{ID: s.Head.ID, Cluster: s.Head.Cluster, Made: s.Head.Made, Server: s.Head.Server, Version: s.Head.Release,
		Recipients: s.Head.Recipients, Passphrase: len(s.Head.Locked) > 0, Size: s.Size, Opened: true, Generation: s.Contents.Generation,
		Revision: s.Contents.Revision, Content: s.Bytes, History: s.Contents.History, Images: s.Contents.Images}
}
