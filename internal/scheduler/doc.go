// Package scheduler decides where each pending replica goes, and why.
//
// It is pure: no clock, no I/O, no randomness. A [Scheduler] is an index of
// machines and of what is placed on them, kept current at a cost proportional
// to the change. The leader's loop is:
//
//	s := scheduler.New()
//	for each machine known         { s.SetMachine(m) }
//	for each assignment that holds { s.Add(placed) }
//	for {
//		// changes from the watch: s.SetMachine, s.RemoveMachine, s.Add, s.Remove
//		for _, d := range s.Decide(now, pending) {
//			if d.Placed() {
//				// reserved already: commit it, or s.Remove(d.Placement()) if that fails
//			} else {
//				// waits: d.Reason says for what
//			}
//		}
//	}
//
// # What decides
//
// A machine can take a replica when it is ready; when it is the one that the
// replica is pinned to, if it is pinned; when every require holds; when it has
// a replica of every stack the shape goes together with, and none of a stack
// that either wants to be apart from the other; when its host ports are free;
// when no unit is there that has the name of one of its own or conflicts with
// one; and when cpu and memory fit. Among those machines the best is, in this order:
// the one with the highest sum of preferences; the one with the fewest replicas
// of the same stack in its domain, for each spread key in turn; the least
// loaded (or, with [Pack], the fullest); the larger one; the lower id.
//
// Load is the larger of the used shares of cpu and memory, before placing.
// Replicas on machines that are draining or lost do not count for spread.
//
// A batch is decided in this order: pinned replicas first, since they have
// nowhere else to go, then the others by the first appearance of their shape;
// a shape that goes together with a stack of the same batch comes after it.
//
// # Invariants
//
//   - The index has no history: after any sequence of calls it equals one built
//     anew from the machines and placements that remain, so it decides the same.
//   - A machine is never filled beyond capacity less reserve by Decide, a port
//     is never given twice, and no require, apart or together rule is broken.
//   - Spread and preference never make a replica wait: they only order.
//
// # How it stays fast
//
// Shapes with the same static demands (require, prefer, spread labels, packing)
// share a class: for each combination of spread label values a tournament tree
// over machines whose nodes keep the best machine below and the most that is
// free below, so that the best that fits is found in a few steps. What concerns
// one stack only (where it is already, whom it avoids, which ports are taken)
// is laid over that tree as marks for the time of one group of equal requests;
// when the marks become many, the group pays for a private tree once.
package scheduler
