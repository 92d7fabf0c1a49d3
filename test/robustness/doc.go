// Package robustness judges what a cluster did while things broke.
//
//	h := &robustness.History{}
//	op := h.Begin(client, app, robustness.Scale, 4)
//	op.End(robustness.Result{…})
//	robustness.Linearizable(h, time.Minute)
//
//	o := robustness.NewObserver()
//	o.Saw(machine, begin, end, running)          docker ps, on the machine itself
//	o.Claimed(claim)                             what the cluster said of the same replicas
//	o.Lies(slack)
//	o.Blind(machine, from, to, limit)            what it said of a machine that nobody could see
//
// It knows nothing of how faults are made: the test on real machines is in test/e2e (make robustness), and what judges is
// tested here with histories that are right and wrong. The shape is that of etcd's robustness tests.
package robustness
