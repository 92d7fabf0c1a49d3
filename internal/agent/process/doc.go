// Package process knows whether the processes of a machine's containers are really there, from the kernel and not from the
// engine, which may go on calling a container running whose end it never heard of.
//
//	w, err := process.New(process.Config{Shown: kept, FirstShown: keep})
//	go w.Watch(ctx, func(containerID string) { its process has ended: look at it again })
//	gone := w.Gone(containerID, pid, startedAt)      // zero while it is there, and where it cannot be told
//	w.Forget(containerID)
//
// # What holds
//
//   - A process counts as a container's only when its cgroup names the container's id. From then on a descriptor stands for that
//     very process (pidfd_open), so that a number which is used again deceives nobody.
//   - Where this machine's kernel has not shown the process of a single container, nothing is said of any: the engine may be
//     somewhere else, or in another namespace of processes.
//   - Idle costs nothing: the kernel tells of an end. A container costs one descriptor, and three calls of the kernel once.
package process
