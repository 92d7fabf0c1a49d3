// Package fence has the storage refuse a machine, and take it back. How is known to programs of the servers' administrators, which this
// package finds and runs; what is decided about whom, and when, is the leader's (package leader/core), and what follows from it the server's.
//
//	programs := fence.Programs{Dir: "/etc/argosy/fence"}
//	err := programs.Check("san")                 // may it be run?
//	err = programs.Fence(ctx, request)           // nil: the storage refuses the machine, and nothing of it is under way any more
//	err = programs.Allow(ctx, request)           // nil: the storage takes the machine back
//
// # What a program is
//
// A regular file in that directory which may be executed, belongs to root or to the server's own user, and can be changed by nobody else; the
// same holds for the directory. Its name is a word, as those of manifests. It is run as `NAME fence` or `NAME allow`, without a shell, with nothing
// on its standard input, and with an environment that holds PATH and the facts of [Request] only. Exit status 0 is the confirmation; anything else
// is not, and the last line that it printed says why. It has ten seconds; then it is killed with all that it started. It is run again whenever it is
// not known how it ended, so it has to do no harm when what it is asked for is so already.
package fence
