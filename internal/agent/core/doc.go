// Package core decides what an agent does next. It is pure: no clock, no randomness, no I/O; everything it looks at is an
// argument and everything it wants is in the result.
//
//	wanted   what the cluster assigned to this machine
//	seen     the containers of this machine that carry Argosy's labels, as the engine last showed them
//	memory   what cannot be seen: steps in flight, failures and when to try again
//
// Whoever runs it (the agent's executor with Docker, the simulator with a model) loops:
//
//	for {
//		steps := core.Decide(now, wanted, seen, memory)
//		for _, s := range steps {             // at most one for each member of each replica
//			if s.Kind == core.Wait { wake at s.At; continue }
//			memory.Begin(now, s)
//			go act(s)                         // then memory.Done(now, s, err), and look again at what it touched
//		}
//		report core.Observe(now, wanted, seen, memory)
//	}
//
// # The way of a member
//
//	pull ─▶ prepare (volumes, files) ─▶ create ─▶ start (when what it depends on is ready) ─▶ watch
//	                                       ▲                                                   │ exits: start again by policy
//	                                       └── remove ◀── stop ◀── definition or restart count changed
//
// # Invariants
//
//   - One step at a time for each member; a member with a step in flight gets none.
//   - A container that is as wanted is never touched: deciding twice changes nothing, and neither does a new agent.
//   - Nothing of a replica starts while a process of another incarnation of it lives on this machine.
//   - A container that nobody wants is settled only when Memory.Complete says that wanted is everything.
//   - While Seen.Known is false nothing is decided, and nothing is said to run.
//   - Replicas do not influence each other: deciding for one group of containers alone gives the same steps for it.
package core
