// Package migration says how the store is laid out, and changes that from one release to the next while the cluster works.
//
// Layouts are numbered. A release knows a range of them: it works with a store of any, and has a [Step] from each to the
// next. Servers of two releases work together in the layout that both know, and only when every server knows the next one
// is the store changed, by the server that leads, before it reads what it decides on:
//
//	known := migration.Own()
//	record, _, err := migration.Read(ctx, s)
//	err = known.Check(record, version)               // every server, when it starts and whenever the record changes
//	plan := known.Decide(record, servers)            // the leader
//	err = known.Run(ctx, s, term, plan.To, version, now)
//
// # What holds
//
//   - Every transaction is guarded by the leader's term and compares what it was made of.
//   - A step may end after any transaction: the record says that it was begun, and whoever leads next does it again. A step
//     changes nothing that it has changed already.
//   - No server works with a store of which a part has a layout that it does not know.
//
// To add a layout, append a step to [Own], have the code read both layouts, and have it write the older one for as long as
// the record says so. A step is dropped, and [Known.Oldest] raised, two releases later at the earliest.
package migration
