// Package kernel is what a guard asks of its machine's kernel for itself: memory that is not paged out, to be run before others,
// a watchdog, and the reset.
//
//	trouble := kernel.Settle()                     // memory and priority; what is not to be had is said
//	dog, trouble := kernel.FindWatchdog("auto", mark)
//	err := kernel.Reset()                          // does not return, where it works
//
// A machine may be a container. Its kernel then is the host's: the watchdog and sysrq would reset that, with all that is
// on it, so they are left alone, and reboot(2) ends the container, as it does in every namespace of processes but the first.
package kernel
