// Package guard is the process that keeps a machine's leases and ends in time what runs without one. What it decides is package
// claims/guard; here are the clock, the file on tmpfs, the connections to the witnesses, the watchdog, and one worker for each claim,
// which mounts, opens the gate, kills, unmounts and looks for quiet.
//
//	g, err := guard.Open(guard.Config{Dir: "/run/argosy/guard", …})   // goes on where a guard of this boot was
//	go g.Run(ctx)
//	g.Want(claim, token)      from the agent, which hears by Config.Tell how it goes
//	g.Release(claim, token)
//
// One goroutine steps; it reads the clock before each step, saves before it sends, and never waits for a witness, a mount or the
// agent. Its timer counts while the machine is suspended (timerfd on CLOCK_BOOTTIME), which Go's own do not.
package guard
