// Package external leads to an etcd that somebody else runs.
//
//	e, err := external.Open(ctx, external.Config{Endpoints: …, CAFile: …, Name: id, Log: log})
//	defer e.Stop()
//	s := etcd.New(e.Client())
//	err = store.Lead(ctx, s, e, id, reign) // leads while this server holds etcd's election
//
// Several servers, and several clusters, may use one etcd: all that a cluster keeps begins with its prefix. What cannot
// work, such as another authority, a wrong password, a role that may not write or limits that are too low, is found out when it
// is opened, and said in a sentence.
//
// Who leads is etcd's own election: each server writes a key that lives as long as its lease, and the oldest key leads. Like
// any election it permits nothing by itself; transactions are guarded by the leader's term.
//
//	for {
//		read the oldest key of the election; tell who leads
//		wait for a change of any of its keys
//	}
//
// What is etcd's own stays with whoever runs it: members, defragmentation, quota, its certificates. History that it
// does not drop by itself the cluster's leader drops, if it may.
package external
