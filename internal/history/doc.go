// Package history is a server's own database of transitions: what happened, to what, when and why.
//
// The leader commits transitions to the store, where they stay only until every server has them. Each server follows
// them into its own database and answers questions from there:
//
//	db, err := history.Open(path)
//	go db.Follow(ctx, store, nil, log)
//	events, err := db.Query(ctx, history.Query{Tenant: "default", App: "shop", Tail: 100})
//
// Following is idempotent: a transition's number is its key, so what is seen twice is kept once, and a server that was
// killed goes on where the database ends. The oldest transitions are dropped beyond [MaxKept],
// and by [DB.Prune] those beyond an age; but never those that say what still holds, so that a replica that runs untouched for a year
// is known when a day of that year is asked for.
package history
