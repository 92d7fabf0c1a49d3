// Package dispatcher keeps the machines' sessions: what each machine showed of itself and when, and what each has still
// to be told.
//
// [Core] is pure: messages and instants in, messages out. What is to be sent is not queued but derived when somebody is
// ready to send it, from marks of what changed and the [Source] as it is then. So a slow machine costs a set of marks
// whose size is bounded by what concerns it, delays nobody, and gets the newest state, once, when it is ready.
//
//	s, refusal := c.Open(now, machine, hello)
//	c.Receive(now, s, message)                      // reports, beats, transitions, usage
//	c.Mark(machine, key)                            // an assignment changed
//	for m := c.Next(s); m != nil; m = c.Next(s) { stream.Send(m) }
//	c.Close(now, s)
//
// [Serve] is the thin actor: it moves messages between a [Stream] and a core that somebody else guards.
//
// # What a session gets
//
// Welcome, how often to report usage if somebody watches it, all assignments, peers and endpoints, then what changes of
// these; acknowledgements of transitions after they were committed; work; and, while other machines are silent, what it would get
// if they were lost. Endpoints are held back from full updates until
// [Core.Release]: a new leader knows nobody's endpoints at first, and must not make machines forget those that they know.
//
// # Invariants
//
//   - A machine has at most one live session. Another agent process that claims the same machine while the first one
//     beats is refused; the same process may replace its own session.
//   - An observation counts as seen when its report arrived or when a later beat of the same session confirmed it; beats
//     before the session's full report confirm nothing.
//   - A machine can say something only about itself: whoever reads an observation names the machine it expects it from.
//   - What a machine can make this package remember is bounded.
package dispatcher
