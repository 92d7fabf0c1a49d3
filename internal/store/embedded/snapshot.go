package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"

	"go.etcd.io/etcd/api/v3/version"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
)

// Version is the release of etcd that is embedded.
func Version() string { return version.Version }

// Snapshot writes the member's database as it is at one moment, with a digest at its end, and returns its size. Whatever was
// acknowledged before is in it.
func (m *Member) Snapshot(ctx context.Context, to io.Writer) (int64, error) {
	// What others acknowledged is here once this member has answered a read.
	if _, err := m.client.Get(ctx, "\x00"); err != nil {
		return 0, fmt.Errorf("catching up before the snapshot: %w", err)
	}
	res, err := m.client.SnapshotWithVersion(ctx)
	if err != nil {
		return 0, fmt.Errorf("taking a snapshot of the store: %w", err)
	}
	n, err := io.Copy(to, res.Snapshot)
	if err = errors.Join(err, res.Snapshot.Close()); err != nil {
		return n, fmt.Errorf("taking a snapshot of the store: %w", err)
	}
	return n, nil
}

// Restore makes the directory of a member out of a snapshot, which etcd of a release wrote: the only member of its cluster.
// The directory must hold nothing.
func Restore(c Config, file, etcd string) (err error) {
	if err := (stamp{Layout: layout, Etcd: etcd, Member: c.Name}).check(c.Dir, c.Name, version.Version); err != nil {
		return err
	}
	release, err := claimDir(c.Dir, c.Name)
	if err != nil {
		return err
	}
	defer release()
	failed := make(chan error, 1)
	done := make(chan struct{})
	go func() { // after a fatal message etcd's code ends its goroutine
		defer close(done)
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("etcd cannot use it: %v", r)
			}
		}()
		err = errors.New("etcd gave up without a word")
		peer := alonePeer()
		err = snapshot.NewV3(zapLogger(c.Log, func(err error) { failed <- err })).Restore(snapshot.RestoreConfig{
			SnapshotPath: file, Name: c.Name, OutputDataDir: filepath.Join(c.Dir, etcdDir), PeerURLs: []string{peer.String()},
			InitialCluster: c.Name + "=" + peer.String(), InitialClusterToken: "argosy",
		})
	}()
	<-done
	select {
	case err = <-failed:
	default:
	}
	if err != nil {
		return fmt.Errorf("restoring the store's snapshot: %w", err)
	}
	return nil
}

// alonePeer is the address of a member that has no others. Nobody dials it; when a second server joins, the member is given
// its real one.
func alonePeer() url.URL { return url.URL{Scheme: "https", Host: "alone.argosy.invalid:1"} }
