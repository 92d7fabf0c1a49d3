// Package core is the leader's decisions as a step function: no clock, no store, no goroutine, no randomness. The actor in
// package leader and the simulator run the same code.
//
//	c, err := core.New(now, config, snapshot)
//	for {
//		c.Apply(now, batch)                    // the watch
//		c.Receive(now, session, message)       // a machine
//		for units := c.Step(now); len(units) > 0; units = c.Step(now) {
//			for _, txn := range core.Pack(units) {
//				revision := commit(txn)        // any doubt: drop the core and begin anew
//				c.Committed(now, revision, txn)
//			}
//		}
//		for _, s := range c.Wakes() { send c.Next(now, s) until it is nil }
//		wait for input, or until c.NextWake()
//	}
//
// A Step sees only what is committed: between it and the last Committed of what it returned, no other Step may happen.
// Everything else may.
//
// # How a change flows
//
// The mirror (package state) says what changed; from that follow the stacks to decide again, the machines and replicas to
// tell the scheduler of, the assignments to send. What machines show changes no record; it marks stacks that wait for it,
// endpoints, and those who watch. So work follows change: nothing here is proportional to the size of the cluster but
// building it up once and judging the silence of machines.
package core
