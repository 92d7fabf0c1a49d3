// Command bench measures what Argosy promises of speed and memory, and prints each figure beside its goal:
//
//	make bench                      everything, on a machine in a container (root; about seven minutes)
//	make bench ONLY='apply|fifty'   a part
//
// Its main loop:
//
//	for each measurement that was asked for:  measure, say what came out
//	print one table: figure, goal, measured, reached or not, and what to know about it
//
// Machines differ and are shared, so a goal that is not reached fails nothing: the table says so, beside the load that the
// host had. A figure that could not be measured is a failure, and the table says why.
//
// What needs no machine is measured by the benchmarks of the rooms concerned, which this runs. The rest is measured on the
// binary as it is shipped: a server as a process on this host, and a local cluster of one machine, asked over the socket that
// the command line uses too. Docker's own times, as it keeps them, say when a container was created.
package main
