// Package machine is what a guard does on its machine: it is the guard's Actuator, made of slices (package slice) and of the
// drivers of volumes.
//
//	m, err := machine.Open(machine.Config{Dir: "/run/argosy-guard/claims", Groups: groups, Device: …, Mount: …})
//	err = m.Place(claim, token, volume)     // where it is, before it is wanted
//	err = m.Mount(ctx, claim, token)        // slice frozen; staged, verified, published
//	err = m.Arm(ctx, claim, token)          // thawed
//	err = m.Clear(ctx, claim, token)        // frozen for ever, path gone, killed, unmounted, quiet
//	err = m.Seal(ctx, claim, token)         // slice gone
//
// Each claim has a record, which says where the volume is, how far its gate is, and whether anything was mounted. It is written
// before what it allows is done, on tmpfs: a guard that follows finds it, and a machine that has booted does not.
//
// # The order of ending
//
// First the slice is frozen, then the path is taken away, then what is in the slice is killed, then the file system is unmounted
// and looked at. From the second step on nothing new can get at the data, whatever an Engine is about to start: what binds
// a path that is not there does not start.
package machine
