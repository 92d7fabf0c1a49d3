// Package session keeps a machine's warm connections: one to every server, all at once. The server that leads gets reports
// and transitions and gives assignments; the others get beats, so that whichever leads next knows how this machine is.
//
//	c := session.New(session.Config{Servers: servers, HTTP: client, Hello: hello, Outbox: db, Ears: agent})
//	go c.Run(ctx)
//	c.Changed(before, after)       // an observation; the newest is sent, once
//	c.Recorded()                   // the outbox has more
//	c.Usage(report)
//
// The main loop, for each server by itself:
//
//	connect, say hello, wait for the welcome
//	when it leads:  report in full; then send what changed, what the outbox holds, usage
//	always:         beat
//	when it breaks: connect again after a while that grows, with jitter
//
// # What holds
//
//   - Nothing is queued but marks of what changed: a slow or absent server costs memory for one mark per replica.
//   - Deltas follow a full report of the same session, never go before it.
//   - Transitions are sent in the order of the outbox, at most a window ahead of the acknowledgement.
//   - A server that neither reads nor answers is given up; so is one that sends what makes no sense.
package session
