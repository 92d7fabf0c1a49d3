// Package state is the leader's mirror of the store: every record decoded, in maps, with the indexes that decisions
// need, and a list of what changed since somebody last asked.
//
//	s := state.Load(snap)                   // snap := store.List(ctx, store.Root)
//	for batch := range watch {
//		s.Apply(batch)                  // somebody else's write, or an own one seen again: harmless
//	}
//	s.Committed(revision, ops)              // an own write, at once: the watch will repeat it
//	changes := s.Take()                     // what decisions must be made again
//
// The mirror holds no truth: dropped and loaded again it is the same, which the simulator asserts. Records are
// immutable: a change replaces the record, so one that was read may be kept for as long as wanted and must never be
// written to. A record that cannot be decoded, or that lies under a key not its own, is kept out and reported by
// [State.Faults]; the last sound record under that key, if any, stays.
//
// A State is not safe for concurrent use; its owner guards it.
package state
