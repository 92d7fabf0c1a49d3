// Package memory is the store's twin in memory, for tests and the simulator. It keeps what the real store keeps:
// revisions, transactions, watches without gaps, compaction.
//
//	s := memory.New()
//	term, _, err := store.AcquireTerm(ctx, s, "s1", now)
//	rev, err := s.Commit(ctx, store.Txn{Term: term, Ops: ops})
//
// It starts no goroutine and reads no clock: a watch runs in the goroutine that ranges over it. Calls made one after
// another give the same revisions and batches every time. [Store.Inject] makes calls fail as a real store's do,
// transactions that were applied although their writer was told nothing included.
package memory
