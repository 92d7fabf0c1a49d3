// Package etcd is the store over an etcd client: the in-process client of an embedded member, or one that dials a
// cluster of one's own.
//
//	s := etcd.New(client)
//
// A transaction is one etcd transaction. Reads are linearizable: they ask the majority, so a server that was cut off
// answers [store.ErrUnavailable] and never what used to be true. etcd may deliver several transactions in one watch
// response; they are yielded one by one.
package etcd
