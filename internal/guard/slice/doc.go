// Package slice is the cgroup of a claim: everything that may write with a token runs in it, and it is frozen until the guard arms.
//
//	groups, err := slice.Find(slice.Family)      // how this machine's kernel keeps cgroups
//	name := groups.Name(claim, token)            // argosy-claim-shop_db.1_data.5d41402abc4b2a76.1_4711.slice
//	err = groups.Freeze(name)                    // made, where it is not there: what is started in it does not run
//	err = groups.Thaw(name)                      // armed
//	err = groups.Kill(ctx, name)                 // frozen, and nobody left in it
//	err = groups.Remove(name)
//
// Nothing here asks systemd or Docker. The name is a unit's, and the directory is where systemd would put that unit, so that
// an Engine with either cgroup driver takes it as a parent: Name for driver systemd, Path for cgroupfs.
//
// # What holds
//
//   - Nothing that was in a slice runs again once Freeze has returned, but to die: with cgroup v1, where only what is thawed can
//     die, processes that were sent their SIGKILL are moved out of the slice to do so, and the slice stays frozen.
//   - What is put into a slice while that is frozen does not run either.
//   - Systemd may remove a slice in which nobody is, and an Engine make it anew, thawed. Kill freezes again each time that it
//     looks; what such a latecomer could write to is the path's affair, which is gone by then.
package slice
