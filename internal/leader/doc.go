// Package leader runs the deciders while this server leads: it holds the state in memory, commits what they decide, and
// serves the machines' streams. Everything that decides is in package core and pure; this package is the thin actor
// around it, with the only goroutines, clock and store.
//
//	l := leader.New(leader.Config{Store: s, Election: store.Alone{}, ServerID: id, Log: log, …})
//	go l.Run(ctx)
//	l.Propose(ctx, func(now time.Time, v *leader.View) (leader.Proposal, error) { … })
//	l.Read(func(now time.Time, v *leader.View) { … })
//	l.Session(ctx, machineID, stream)
//
// Its main loop, for one term:
//
//	list the store, load the core
//	for {
//		wait for: a proposal, something seen by a machine, a batch of the watch, the next instant at which time decides
//		commit proposals one by one, those about different apps together, then what the core decides, in transactions guarded by the term
//		hand the outcome to the sessions
//	}
//
// The state is guarded by a mutex that is never held during I/O. One goroutine commits; sessions only take in what was
// seen, and read. On [store.ErrDeposed] or any doubt about what was committed everything is dropped, all sessions end,
// and the next term begins from the store.
package leader
