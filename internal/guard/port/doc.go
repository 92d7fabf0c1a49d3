// Package port is where a machine's agent speaks to the guard: a Unix socket, with the frames of api/argosy/lease/v1.
//
//	p := port.New(port.Config{Guard: …, Machine: …, Servers: …})
//	go p.Serve(ctx, listener)
//	p.Tell(tell)                  // from the guard: goes to every agent that listens, at once or when it comes
//
// An agent hears of every claim that the guard knows, and then of the guard, when it connects; after that, of what changes. Nothing waits for an
// agent: of each claim only the latest is kept for it.
package port
