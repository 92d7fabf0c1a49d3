// Package kill kills the processes of a cluster, again and again at any instant, while clients change apps.
//
// Three servers and an agent are processes of this test's own, without a shutdown that anybody could rely on: kill -9. The agent
// works with the Docker Engine of this host, under a cluster id and a prefix that nobody else has.
//
//	for each of ROUNDS {
//		wait, kill one process or several, start them again       clients: apply, scale, delete, read, all the time
//		now and then: clients rest; what runs must become what is wanted; then all is deleted, and nothing may be left
//	}
//
// Lost is a change that was acknowledged and that no order of what clients were told explains (test/robustness); an orphan is a
// container or a volume with the cluster's label that the store does not know of. make kill ROUNDS=1000 says the seed, and
// SEED=n kills the same processes in the same order, at instants that are as near as a real machine allows.
package kill
