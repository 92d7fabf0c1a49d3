package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/backup"
	"github.com/argosy-cluster/argosy/internal/image"
	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/embedded"
	"github.com/argosy-cluster/argosy/internal/version"
)

// The parts of a cluster's backup.
const (
	keysPart      = "keys"         // the servers' key file
	storePart     = "store.db"     // etcd's snapshot
	historyPart   = "history/"     // and a number: chunks of transitions
	blobsPart     = "images/blobs" // /tenant/digest
	manifestsPart = "images/manifests"
)

// backupChunk is how much of a file one message carries, and progressEvery how often a caller is told how far it is.
const (
	backupChunk   = 256 << 10
	progressEvery = 200 * time.Millisecond
)

// backupService answers argosy.v1.BackupService.
type backupService struct{ *Server }

func (s backupService) CreateBackup(ctx context.Context, r *connect.Request[argosyv1.CreateBackupRequest], out *connect.ServerStream[argosyv1.CreateBackupResponse]) error {
	b := backing{s: s.Server, lock: lockOf(r.Msg.Lock), images: r.Msg.Images, history: !r.Msg.WithoutHistory}
	if err := b.lock.Check(); err != nil {
		return connectInvalid(err)
	}
	s.log.Info("a backup is made", "for", auth.IdentityFrom(ctx).String())
	var told time.Time
	b.told = func(p *argosyv1.BackupProgress) error {
		if now := time.Now(); now.Sub(told) >= progressEvery {
			told = now
			return out.Send(&argosyv1.CreateBackupResponse{Message: &argosyv1.CreateBackupResponse_Progress{Progress: p}})
		}
		return nil
	}
	sent := &chunks{size: backupChunk, send: func(data []byte) error {
		return out.Send(&argosyv1.CreateBackupResponse{Message: &argosyv1.CreateBackupResponse_Data{Data: data}})
	}}
	sum, err := b.write(ctx, sent)
	if err == nil {
		err = sent.flush()
	}
	if err != nil {
		return rpcError(err)
	}
	return out.Send(&argosyv1.CreateBackupResponse{Message: &argosyv1.CreateBackupResponse_Done{Done: backupInfo(sum)}})
}

func lockOf(l *argosyv1.BackupLock) backup.Lock {
	return backup.Lock{Recipients: l.GetRecipients(), Locked: l.GetLockedIdentity()}
}

func backupInfo(s backup.Summary) *argosyv1.BackupInfo {
	return &argosyv1.BackupInfo{
		Id: s.Head.ID, ClusterId: s.Head.Cluster, MadeAt: timestamppb.New(s.Head.Made), Server: s.Head.Server, Version: s.Head.Release,
		Generation: s.Contents.Generation, Revision: s.Contents.Revision, Size: s.Size, ContentSize: s.Bytes,
		History: s.Contents.History, Images: s.Contents.Images,
		Lock: &argosyv1.BackupLock{Recipients: s.Head.Recipients, LockedIdentity: s.Head.Locked},
	}
}

// chunks gathers what is written into messages of one size.
type chunks struct {
	size int
	send func([]byte) error
	buf  []byte
}

func (c *chunks) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		take := min(len(p), c.size-len(c.buf))
		c.buf = append(c.buf, p[:take]...)
		p = p[take:]
		if len(c.buf) == c.size {
			if err := c.flush(); err != nil {
				return n - len(p), err
			}
		}
	}
	return n, nil
}

func (c *chunks) flush() error {
	if len(c.buf) == 0 {
		return nil
	}
	data := c.buf
	c.buf = make([]byte, 0, c.size)
	return c.send(data)
}

// backing is a backup that is being made.
type backing struct {
	s               *Server
	lock            backup.Lock
	images, history bool
	// told is told how far it is; an error ends the whole. May be nil.
	told func(*argosyv1.BackupProgress) error
}

// write makes a backup of what this server has. Whatever anybody was acknowledged before is in it. The store is set aside
// first, so that however slowly the file is taken, the store is held up by nothing.
func (b *backing) write(ctx context.Context, out io.Writer) (backup.Summary, error) {
	set, err := os.CreateTemp(b.s.cfg.DataDir, ".backup-*")
	if err != nil {
		return backup.Summary{}, fmt.Errorf("setting the store aside for the backup: %w", err)
	}
	defer set.Close()
	if err := os.Remove(set.Name()); err != nil { // the file lives as long as it is open
		return backup.Summary{}, fmt.Errorf("setting the store aside for the backup: %w", err)
	}
	head, contents, err := b.describe(ctx) // before, so that it promises nothing that is not in it
	if err != nil {
		return backup.Summary{}, err
	}
	size, err := b.s.snapshot(ctx, set)
	if err != nil {
		return backup.Summary{}, err
	}
	w, err := backup.NewWriter(out, b.lock, head, contents)
	if err != nil {
		return backup.Summary{}, err
	}
	keys, err := os.ReadFile(b.s.keyFile())
	if err != nil {
		return backup.Summary{}, fmt.Errorf("reading the servers' key: %w", err)
	}
	if err := w.Add(keysPart, int64(len(keys)), bytes.NewReader(keys)); err != nil {
		return backup.Summary{}, err
	}
	if err := w.Add(storePart, size, b.watched(ctx, "the store", size, io.NewSectionReader(set, 0, size))); err != nil {
		return backup.Summary{}, err
	}
	if err := errors.Join(b.addHistory(ctx, w), b.addImages(ctx, w)); err != nil {
		return backup.Summary{}, err
	}
	return w.Close()
}

func (b *backing) describe(ctx context.Context) (backup.Head, backup.Contents, error) {
	id, err := auth.NewID()
	if err != nil {
		return backup.Head{}, backup.Contents{}, err
	}
	snap, err := b.s.store.Get(ctx, store.GenerationKey)
	if err != nil {
		return backup.Head{}, backup.Contents{}, err
	}
	generation := &storev1.Generation{}
	for _, kv := range snap.KVs {
		if err := store.Decode(kv, generation); err != nil {
			return backup.Head{}, backup.Contents{}, err
		}
	}
	return backup.Head{ID: id, Cluster: b.s.cluster.ID(), Made: time.Now().UTC().Truncate(time.Second), Server: b.s.cfg.Name, Release: version.Version},
		backup.Contents{Generation: generation.Number, Revision: snap.Revision, Etcd: embedded.Version(), History: b.history, Images: b.images}, nil
}

// watched says how far the reading of a part is.
func (b *backing) watched(ctx context.Context, part string, total int64, r io.Reader) io.Reader {
	return &watchedReader{ctx: ctx, b: b, in: r, p: &argosyv1.BackupProgress{Part: part, Total: total}}
}

type watchedReader struct {
	ctx context.Context
	b   *backing
	in  io.Reader
	p   *argosyv1.BackupProgress
}

func (w *watchedReader) Read(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := w.in.Read(p)
	w.p.Bytes += int64(n)
	if w.b.told != nil && n > 0 {
		if err := w.b.told(&argosyv1.BackupProgress{Part: w.p.Part, Bytes: w.p.Bytes, Total: w.p.Total}); err != nil {
			return n, err
		}
	}
	return n, err
}

func (b *backing) addHistory(ctx context.Context, w *backup.Writer) error {
	if !b.history {
		return nil
	}
	n := 0
	return b.s.history.Export(func(chunk []byte) error {
		n++
		return w.Add(fmt.Sprintf("%s%06d", historyPart, n), int64(len(chunk)), b.watched(ctx, "history", 0, bytes.NewReader(chunk)))
	})
}

func (b *backing) addImages(ctx context.Context, w *backup.Writer) error {
	if !b.images {
		return nil
	}
	name := func(what, tenant string, d image.Digest) string { return what + "/" + tenant + "/" + d.Hex() }
	return b.s.images.Export(ctx,
		func(tenant string, d image.Digest, size int64, r io.Reader) error {
			return w.Add(name(blobsPart, tenant, d), size, b.watched(ctx, "images", size, r))
		},
		func(tenant string, d image.Digest, raw []byte) error {
			return w.Add(name(manifestsPart, tenant, d), int64(len(raw)), b.watched(ctx, "images", int64(len(raw)), bytes.NewReader(raw)))
		})
}
