// Package check explores what can happen to two machines and three or more servers that run the real step functions of
// witness, guard and gate, and looks at every state for what SINGLE-WRITER.md says must never be. It is an explicit-state
// checker: nothing in it repeats a decision of the protocol.
//
//	frontier := initial world of a scenario
//	for each world of the frontier, each choice that the world can make {
//		next := world after that choice              // one event, and what the step functions made of it
//		if next breaks an invariant { tell the choices that led there: they are the fewest }
//		if its canonical bytes are new { keep it for the next frontier }
//	}
//
// What is modelled around the functions, and chosen in every possible way: messages that are lost, late, overtaken and
// doubled, in both directions; witnesses that restart, also between writing and answering, that lose their table, and that drop the claim; guards
// that are killed between any two effects, that start again and that stand still; orders that are carried out late; starts
// that the Engine carries out at any time; machines that lose power; agents that want, release and ask again; machines that are about to be
// shut down and are not; a leader that
// grants what it likes to whom it likes; clocks at the ends of their bounds; a set of servers that changes; fencing.
//
// A [Mutant] changes what goes into a step function or what comes out of it, as a mistake in it would. The functions
// themselves have no switches, so that no mistake can be switched on in what people run. Each has to be found.
//
// Besides exploring breadth first up to a number of states, [Walk] plays long lives by a seed, which reach deeper.
package check
