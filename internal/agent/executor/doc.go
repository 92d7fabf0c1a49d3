// Package executor carries out what core decides, on a real engine, for all replicas of a machine at once.
//
//	x := executor.New(executor.Config{Engine: docker, Files: files, Changed: journal})
//	x.Assign(true, cached, nil)
//	go x.Run(ctx)
//	x.Assign(false, delta, forgotten)
//
// Its main loop takes one group of containers (a replica in all its incarnations) at a time:
//
//	for key := range dirty {
//		observe it, tell Changed what differs
//		for each step that core.Decide has for it:  go act, look again, mark it dirty
//	}
//
// # What holds
//
//   - Deciding never blocks; steps run in goroutines of their own, one for each member at most. Lanes bound how many
//     creates and pulls are under way, and a slow one gives its place back, so no replica holds up another.
//   - Work follows change: only groups that an event, an assignment, a step's end or a timer touched are looked at.
//   - While the engine does not answer, replicas are reported as unknown and nothing is decided.
package executor
