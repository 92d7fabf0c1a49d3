// Package store is the cluster's durable state: an ordered key space with transactions and watches, whose values are
// protobuf messages.
//
// A reader lists a prefix and watches it from the revision that the list was read at; it then sees every later change
// exactly once and in order:
//
//	snap, err := s.List(ctx, store.Root)
//	for batch, err := range s.Watch(ctx, store.Root, snap.Revision+1) {
//		…
//	}
//
// A writer commits one transaction at a time. Cluster state is written by the leader only: every transaction names the
// term it was decided in, and one from a deposed leader fails with [ErrDeposed] whatever else it says.
//
//	rev, err := s.Commit(ctx, store.Txn{Term: term, If: …, Ops: …})
//
// Two stores implement [Store]: package etcd, for clusters, and package memory, for tests and the simulator. Package
// storetest holds the conformance suite that both pass.
package store
