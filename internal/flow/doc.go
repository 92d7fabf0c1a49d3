// Package flow makes streams of bytes out of a stream of messages: two directions, each with an end of its own, as a TCP
// connection has, and each with a bound on what is under way, so that many such streams share one connection and a reader
// who pauses holds up only his own.
//
//	end := flow.New(func(f *argosyv1.Flow) error { return stream.Send(wrap(f)) })
//	go func() {
//		for m, err := stream.Receive(); ; m, err = stream.Receive() {
//			if err == nil { err = end.Take(m.Flow) }
//			if err != nil { end.Fail(err); return }
//		}
//	}()
//	err := flow.Join(end, conn)             // or Read, Write and CloseWrite
//
// An [End] is what the two outermost parties hold. Whoever is between them passes messages on through a [Queue] for each
// direction, and so never waits with reading for a party that is slow to be written to.
//
// # What holds
//
//   - Content that was not taken yet costs at most [Window] at its receiver and at each one between. A message costs its
//     length, but [least] at least, so the number of messages is bounded too. Who sends more has broken the protocol, and
//     its stream ends.
//   - Take never waits. Read and Write wait until there is something, until there is room, or until the stream has failed.
//   - What was received before the stream failed can still be read.
package flow
