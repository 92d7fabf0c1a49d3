// Package leases is a server's side of the witness beside it, which is a process of its own and waits for nobody.
//
//	k := leases.New(leases.Config{Socket: …, Store: …, Leading: …, Looked: …, Log: …})
//	go k.Run(ctx)
//
//	store ─set of servers, keys of guards─▶ Keeper ─Configure, Machines─▶ witness
//	store ─volumes─▶ Keeper ─Drop, of what nobody needs any more─▶ witness
//	leader ◀─Sights─ Looked ◀─ Keeper ◀─Look, every second while this server leads─ witness
//
// The witness is told of the set of servers only what a majority of the store has just confirmed: to one whose table is new an
// old set would be a vote that it must not have. It goes on without the server, and the server without it: what is known of
// it then is that it does not answer, and since when.
//
// [Drop] decides which records of the witness's table can go.
//
// [Next] decides, purely, the next step of the set of servers on the way to those that there are, and [Without] whether one of them can go.
package leases
