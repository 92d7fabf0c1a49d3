package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"testing"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/external"
)

// BenchmarkRestore is the time from a backup whose store has 100 MB to a server that accepts an apply. The goal: 30 s. The
// records are random, which is what takes longest.
func BenchmarkRestore(b *testing.B) {
	c := own(b, b.TempDir(), nil)
	value := make([]byte, 100_000)
	for i := range 20 {
		var txn store.Txn
		for j := range 50 {
			_, _ = rand.Read(value) // documented never to fail
			txn.Ops = append(txn.Ops, store.Op{Key: fmt.Sprintf("/bench/%d/%d", i, j), Value: bytes.Clone(value)})
		}
		until(b, "the store is filled", func(ctx context.Context) error { // a busy disk takes its time
			_, err := c.server.store.Commit(ctx, txn)
			return err
		})
	}
	key, lock := backupKey(b)
	file, info, err := c.local.backup(b, &argosyv1.CreateBackupRequest{Lock: lock})
	if err != nil {
		b.Fatal(err)
	}
	c.stop()
	for b.Loop() {
		dir := b.TempDir()
		if _, err := Restore(b.Context(), filepath.Join(dir, "data"), bytes.NewReader(file), key, external.Config{}, silent); err != nil {
			b.Fatal(err)
		}
		again, err := startIn(dir, nil)
		if err != nil {
			b.Fatal(err)
		}
		again.apply(b, spec("first", 1))
		again.stop()
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/restore")
	b.ReportMetric(float64(info.ContentSize)/1e6, "MB")
}
