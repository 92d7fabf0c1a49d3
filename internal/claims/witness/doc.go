// Package witness is the lease table that stands beside each server, as a step function. It is pure: whoever runs it reads
// the clock, keeps the file and speaks to guards.
//
//	state, effects := witness.Open(now, id, profile, table, whole)   // whole is false when the file was lost or is not the newest
//	for {
//		next, effects := witness.Step(state, now, event)             // a renewal, a configuration, a fence, or that time passed
//		for _, e := range effects {                                  // in this order
//			Save:  write e.Table and wait until it is on disk; if that fails, keep state, forget the other effects, say so
//			Reply: send e.Ack
//		}
//		state = next
//		wait for an event, or until witness.Wake(state)
//	}
//
// A renewal is first given to Hear, which answers nearly all of them in place.
//
// # What it promises
//
//   - A claim goes from one session to another only after W without a renewal of the first, or when it was released or
//     fenced; and only to a higher token. A session is fenced with all that it has; a claim alone, where its storage refuses the machine.
//   - What it says yes to is on disk before it says so.
//   - One that restarts counts every holder as heard now. One that lost its table, or is new, says nothing for W.
//   - Renewals of an earlier configuration are refused, and so are those of one that it has not heard of.
package witness
