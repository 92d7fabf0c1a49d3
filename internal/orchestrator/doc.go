// Package orchestrator decides which replicas should exist, at which revision, and which machines still count.
//
// It is pure. The unit of decision is one stack: [Decide] looks at its replicas, at what was seen of them, and at what the
// app's current revision wants, and returns a [Plan]: changes with reasons, the replicas whose turn it is in a rolling
// update, and what the others wait for. Where a replica goes is not decided here; whoever carries out the plan asks the
// scheduler.
//
//	for each stack that something happened to {
//		plan := orchestrator.Decide(input)
//		for change in plan.Changes   { carry it out }
//		for key in plan.Moves        { move the first of them that fits elsewhere; stop there }
//		for key in plan.Roll         { update the first of them that fits; stop there }
//		remember plan.Waits          // for those who ask why nothing happens
//	}
//	conditions := orchestrator.Conditions(now, settings, machines)
//
// # What it keeps
//
//   - Numbers are 1 to count. Scaling down removes the highest; their volumes stay and are taken again.
//   - A replica whose record says REMOVE keeps its record until its machine reported that nothing is left of it, or the
//     machine was removed from the cluster. Its number is not given to another before.
//   - A replica is replaced elsewhere only if its machine is lost or removed, and never while a local volume of it lies
//     on a machine that may return. One whose volumes are all shared is replaced, too, when its lease has run out while its machine
//     is silent, however many others are. It is moved off a machine that is being drained, or that no longer meets what a stack
//     requires if the stack says so: one replica of a stack at a time, and its present incarnation goes on until the next
//     one is ready; not so if it has a shared volume, which has one writer: it stops first.
//   - At most one replica of a stack is being changed by a rolling update, and none while one that is already at the
//     target is not ready: the first that does not come up halts the update.
//   - Stacks with one replica on each machine never move: they end when their machine no longer qualifies.
//   - Machines are not declared lost while more than half of them are silent.
package orchestrator
