// Package database is what an agent keeps on disk: the assignments it had last, so that a machine starts alone; the outbox
// of transitions, so that nothing seen is lost; and what it remembers of failures and of images that it pulled.
//
//	db, err := database.Open(path)
//	list, complete, err := db.Assignments()
//	err = db.Assign(true, list, nil)              // durable when it returns
//	err = db.Record(batch)                        // transitions get their numbers, together with the states they lead to
//	list, err = db.Pending(after, 100)            // to be sent, in order
//	err = db.Acknowledge(seq)
//
// # What holds
//
//   - Every method is one transaction: after a kill at any instant either all of it is there or nothing.
//   - A transition is recorded in the transaction that records the state it led to. An agent that was killed compares what
//     it finds with that state, so nothing is told twice and nothing is forgotten.
//   - Outbox numbers are consecutive and never used again. When the servers stay away for too long the oldest are dropped,
//     and a transition in their place says how many.
//   - Secrets are in it as the server sealed them, never in the clear.
package database
