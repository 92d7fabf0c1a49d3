// Package rotation decides how a cluster changes from one certificate authority to the next: what is to be done now, and
// whom that waits for. It decides purely; the server that leads asks it again and again and does what it says:
//
//	for every second {
//		plan := rotation.Decide(cluster, servers, holders)
//		switch plan.Step {
//		case Reopen: plan.Server opens its store anew, because that reads whom it trusts only then
//		case Switch: the next authority issues
//		case Drop:   the earlier one is given up
//		}
//	}
//
// Everything that it needs to know is in the store or is told by the servers, so that another server that leads goes on
// where the last one was.
//
// What holds: a server's store meets only certificates that it trusts, nothing is signed by an authority that some server
// does not know, and an authority is not given up while somebody who is waited for needs it.
package rotation
