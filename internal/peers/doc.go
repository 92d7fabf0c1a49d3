// Package peers is what a server knows of the others: where they are, which of them leads, and how to ask it.
//
//	book := peers.NewBook(store)
//	go book.Run(ctx)
//	f := &peers.Forwarder{Book: book, Guide: guide, Transport: transport, Local: leader.Leading, Next: mux, …}
//	http.Server{Handler: authenticator.Middleware(f)}
//
// Any server answers any request: what only the leader knows is passed on to it, streams included, on behalf of the caller
// (see [auth.Pass]). The main loop for a request:
//
//	until patience ends {
//		this server leads and has its state: answer here
//		another leads: pass it on; done, unless that one says that it does not lead
//		nobody leads: wait until somebody does
//	}
//
// # What holds
//
//   - A request is passed on once: a server that got it from another and does not lead says so.
//   - What may have been done is not asked again, unless doing it twice is the same: the request changes nothing, or has an
//     idempotency key.
//   - When leadership moves while a request waits for its answer, it does not wait for the old leader any longer.
package peers
