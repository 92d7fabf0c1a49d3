// Command bench measures what Argosy promises of speed and memory, and prints each figure beside its goal:
//
//	make bench                      everything, on machines in containers (root; about an hour)
//	make bench ONLY='apply|fifty'   a part
//	make bench ONLY=loss ROUNDS=5   machines killed, and where the time goes until what ran there serves elsewhere
//	make bench ONLY=units UNITS=300 systemd units through fleet's API, beside systemctl start alone
//	make bench ONLY=compare SIZES=10,50 ROUNDS=5 AGAINST='bare|swarm'
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
//
// One measurement is larger: compare runs what people would use instead of Argosy, each in a machine of its own, and writes
// .cache/bench/index.html with plots. docs/bench/README.md says how.
//
//	for each round, size, contestant:  observe its Engine; have it run that many containers, and no more; say what it cost
package main
