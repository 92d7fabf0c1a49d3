// Package dial connects to ports of containers from within: it enters a container's network namespace for as long as it
// takes to make a socket there. So it reaches what listens on the container's loopback interface only, and what the machine's
// own firewall would keep from the machine.
//
//	conn, err := dial.Port(ctx, container, 80)
//
// # What holds
//
//   - A process id is believed only while the kernel says that this very process belongs to the container: whoever got the
//     number of one that ended is not entered.
//   - The machine's own namespace is never dialled from. A container that shares it has no ports of its own.
//   - The thread that went in comes back, or ends.
package dial
