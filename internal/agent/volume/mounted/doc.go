// Package mounted is what drivers of volumes share about mounts of this machine's kernel:
//
//	place, err := mounted.PlaceOf(base, claim)          // BASE/TENANT/APP/STACK.N/VOLUME/TOKEN/{fs,data}
//	err = mounted.Device(ctx, node, options, place)     // or the mount program, onto place.Staged()
//	pub, err := mounted.Publish(ctx, place, claim, identify)
//	err = place.Unpublish(); err = place.Unstage()
//	driver := Driver{Below: mounted.Below{Base: base}}  // Show, Unpublish and Unstage, by claim
//	list, err := mounted.Everywhere(sameDevice)         // in every mount namespace
//
// Publish opens what is staged once. On that descriptor it is checked that it is the root of a mount, of which one; that
// this one is writable and is what the driver says; whose mark it has. Then the directory with the data, opened from that
// descriptor, is cloned (open_tree) and becomes visible (move_mount). Between check and use nothing is looked up by path.
//
// A call of the kernel or of a program may hang for as long as storage does. [Lanes] lets the caller go when its time is
// over, while what hangs goes on holding its place: nothing is done there before it ended, and a mount that comes late is
// not published.
package mounted
