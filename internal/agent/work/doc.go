// Package work answers what servers ask a machine to stream: logs of a member, a command in it, a connection to a
// port of it, its files. The agent dials: it attaches a stream to the server that asked, under the work's id, and moves bytes
// until either end has had enough.
//
//	d := work.New(work.Config{Engine: engine, Members: executor})
//	d.Do(ctx, client, w)              // from the session, does not block
//
// # What holds
//
//   - Nothing is buffered beyond a piece at a time, or a flow.Window of what the server sends: a reader that pauses pauses
//     the engine.
//   - At most a fixed number of works are under way; one too many is answered with an error, not with silence.
//   - Every work ends with a WorkEnd, unless the stream itself broke.
package work
