package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/backup"
	"github.com/argosy-cluster/argosy/internal/history"
	"github.com/argosy-cluster/argosy/internal/image"
	"github.com/argosy-cluster/argosy/internal/image/blobs"
	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/embedded"
	"github.com/argosy-cluster/argosy/internal/store/etcd"
	"github.com/argosy-cluster/argosy/internal/store/external"
)

// restoringDir holds what is being restored, within the data directory, until all of it is there. A server does not start
// beside one.
const restoringDir = "restoring"

// maxKeys bounds the servers' key file in a backup, in bytes.
const maxKeys = 4 << 10

// Restore makes a server out of a backup, in an empty data directory: the only one of its cluster, in its next generation. The
// store is its own, or below an empty prefix of the external etcd that is given. It either leaves all of it or nothing, except
// that an interrupted one may leave records in an external etcd, which the next one names.
func Restore(ctx context.Context, dataDir string, in io.Reader, key backup.Key, to external.Config, log *slog.Logger) (*Recovered, error) {
	if err := errors.Join(checkEmpty(dataDir), to.Check()); err != nil {
		return nil, err
	}
	var out *external.Etcd
	if to.Given() {
		var err error
		if out, err = openEmpty(ctx, to, log); err != nil {
			return nil, err
		}
		defer out.Stop()
	}
	stage := filepath.Join(dataDir, restoringDir)
	if err := os.MkdirAll(stage, 0o700); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	re := &restoring{dir: stage, log: log, out: out}
	r, err := re.run(ctx, in, key)
	if err == nil {
		err = settle(stage, dataDir)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(stage))
	}
	return r, nil
}

// checkEmpty lets only a directory pass that holds nothing, or does not exist.
func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("reading the data directory: %w", err)
	}
	for _, e := range entries {
		switch e.Name() {
		case "lost+found":
		case restoringDir:
			return fmt.Errorf("an earlier restore into %s was interrupted: empty the directory first", dir)
		default:
			return fmt.Errorf("%s is not empty (it holds %s): a backup is restored into an empty directory. Name another with --data-dir, or move what is there away", dir, e.Name())
		}
	}
	return nil
}

// settle moves what was restored to where a server looks for it.
func settle(stage, dir string) error {
	entries, err := os.ReadDir(stage)
	for _, e := range entries {
		if err == nil {
			err = os.Rename(filepath.Join(stage, e.Name()), filepath.Join(dir, e.Name()))
		}
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err == nil {
		err = os.Remove(stage)
	}
	if err = errors.Join(err, syncDir(dir)); err != nil {
		return fmt.Errorf("putting what was restored in its place: %w", err)
	}
	return nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// checkRestored refuses a data directory in which a restore was interrupted.
func checkRestored(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, restoringDir)); err == nil {
		return fmt.Errorf("a restore into %s was interrupted: empty the directory and repeat 'argosy server recover --from'", dir)
	}
	return nil
}

// restoring is a restore under way.
type restoring struct {
	dir    string
	log    *slog.Logger
	out    *external.Etcd // where the store goes, nil for one of the server's own
	images *blobs.Store
	seen   map[string]bool // parts of which there is one
}

func (re *restoring) path(name string) string { return filepath.Join(re.dir, name) }

const (
	snapshotFile = "snapshot"
	chunksFile   = "history-chunks"
)

func (re *restoring) run(ctx context.Context, in io.Reader, key backup.Key) (*Recovered, error) {
	sum, err := re.unpack(ctx, in, key)
	if err != nil {
		return nil, err
	}
	id, err := serverID(re.path("server-id"))
	if err != nil {
		return nil, err
	}
	c := embedded.Config{Dir: re.path("etcd"), Name: id, Log: re.log}
	if err := embedded.Restore(c, re.path(snapshotFile), sum.Contents.Etcd); err != nil {
		return nil, err
	}
	member, err := embedded.Start(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("starting the store: %w", err)
	}
	defer member.Stop()
	var r *Recovered
	err = store.While(ctx, member.Failed(), func(ctx context.Context) (err error) {
		r, err = re.fill(ctx, member, id, sum)
		return err
	})
	if err != nil {
		return nil, err
	}
	if re.out != nil {
		member.Stop()
		if err := os.RemoveAll(c.Dir); err != nil {
			return nil, fmt.Errorf("removing the store that was copied: %w", err)
		}
	}
	return r, errors.Join(os.Remove(re.path(snapshotFile)), os.RemoveAll(re.path(chunksFile)))
}

// fill makes the restored store this cluster's, and moves it out if it is to be elsewhere.
func (re *restoring) fill(ctx context.Context, member *embedded.Member, id string, sum *backup.Summary) (*Recovered, error) {
	if err := member.Disarm(ctx); err != nil {
		return nil, err
	}
	s := etcd.New(member.Client())
	r, err := takeOver(ctx, s, id, "restored from the backup of "+sum.Head.Made.UTC().Format(time.RFC3339), time.Now())
	if err != nil {
		return nil, err
	}
	r.Backup, r.Server = sum, ""
	if err := re.fits(ctx, s, sum); err != nil {
		return nil, err
	}
	if err := re.remember(ctx, s); err != nil {
		return nil, err
	}
	if re.out == nil {
		return r, nil
	}
	return r, re.moveOut(ctx, s, re.out)
}

// unpack writes the parts of a backup beside each other, and returns once all of it was read and is right.
func (re *restoring) unpack(ctx context.Context, in io.Reader, key backup.Key) (*backup.Summary, error) {
	r, err := backup.Open(in, key)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	defer func() {
		if re.images != nil {
			_ = re.images.Close() // its lock goes with the file
		}
	}()
	re.seen = map[string]bool{}
	sum := &backup.Summary{Head: r.Head(), Contents: r.Contents()}
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		if err := re.take(p); err != nil {
			return nil, err
		}
		sum.Parts, sum.Bytes = sum.Parts+1, sum.Bytes+p.Size
	}
	for _, name := range []string{keysPart, storePart} {
		if !re.seen[name] {
			return nil, fmt.Errorf("%w: it has no part %s", backup.ErrDamaged, name)
		}
	}
	return sum, nil
}

// take keeps one part. Of what this release does not know, it cannot know whether the cluster can do without.
func (re *restoring) take(p *backup.Part) error {
	switch {
	case re.seen[p.Name]:
		return fmt.Errorf("%w: it has two parts %s", backup.ErrDamaged, p.Name)
	case p.Name == keysPart && p.Size <= maxKeys:
		re.seen[p.Name] = true
		text, err := io.ReadAll(p.Body)
		if err != nil {
			return err
		}
		return auth.WriteFile(re.path("keys"), text)
	case p.Name == storePart:
		re.seen[p.Name] = true
		return keepPart(re.path(snapshotFile), os.O_EXCL, p.Body)
	case strings.HasPrefix(p.Name, historyPart):
		return keepPart(re.path(chunksFile), os.O_APPEND, p.Body)
	case strings.HasPrefix(p.Name, blobsPart+"/"), strings.HasPrefix(p.Name, manifestsPart+"/"):
		return re.takeImage(p)
	}
	return fmt.Errorf("%w: it has a part %s, which this release does not know", backup.ErrNewer, p.Name)
}

func keepPart(path string, how int, r io.Reader) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|how, 0o600)
	if err != nil {
		return fmt.Errorf("restoring: %w", err)
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// takeImage keeps a part of an image, if it is what its name says.
func (re *restoring) takeImage(p *backup.Part) (err error) {
	if re.images == nil {
		if re.images, err = blobs.Open(re.path("images"), blobs.Options{}); err != nil {
			return err
		}
	}
	words := strings.Split(p.Name, "/")
	if len(words) != 4 {
		return fmt.Errorf("%w: %s names no part of an image", backup.ErrDamaged, p.Name)
	}
	tenant := words[2]
	d, err := image.ParseDigest("sha256:" + words[3])
	if err != nil {
		return fmt.Errorf("%w: %s names no part of an image", backup.ErrDamaged, p.Name)
	}
	if strings.HasPrefix(p.Name, blobsPart) {
		return re.images.Import(tenant, d, p.Body)
	}
	if p.Size > image.MaxManifest {
		return fmt.Errorf("%w: %s is too large", backup.ErrDamaged, p.Name)
	}
	raw, err := io.ReadAll(p.Body)
	if err != nil {
		return err
	}
	if got := image.Sum(raw); got != d {
		return fmt.Errorf("%w: %s is not what its name says", backup.ErrDamaged, p.Name)
	}
	_, err = re.images.PutManifest(tenant, "restored", "", "", raw)
	return err
}

// fits makes sure that the parts belong together: the key opens the cluster, which is the one that the head names.
func (re *restoring) fits(ctx context.Context, s store.Store, sum *backup.Summary) error {
	snap, err := s.Get(ctx, store.ClusterKey)
	if err != nil {
		return err
	}
	record := &storev1.Cluster{}
	for _, kv := range snap.KVs {
		if _, err := auth.LoadCluster(kv.Value, re.path("keys")); err != nil {
			return err
		}
		if err := store.Decode(kv, record); err != nil {
			return err
		}
	}
	if id := record.GetSettings().GetClusterId(); id != sum.Head.Cluster {
		return fmt.Errorf("%w: it holds the store of cluster %s and calls itself one of %s", backup.ErrDamaged, id, sum.Head.Cluster)
	}
	return nil
}

// remember makes the history of what was in the backup, up to what the store was at when it was set aside: what is later
// would stand where the cluster's next life writes.
func (re *restoring) remember(ctx context.Context, s store.Store) error {
	f, err := os.Open(re.path(chunksFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("restoring history: %w", err)
	}
	defer f.Close()
	snap, err := s.List(ctx, store.History)
	if err != nil {
		return err
	}
	last := &argosyv1.Transition{}
	if n := len(snap.KVs); n > 0 {
		if err := store.Decode(snap.KVs[n-1], last); err != nil {
			return err
		}
	}
	db, err := history.Open(re.path("history.db"))
	if err != nil {
		return err
	}
	return errors.Join(db.Import(bufio.NewReaderSize(f, 1<<20), last.Seq), db.Close())
}
