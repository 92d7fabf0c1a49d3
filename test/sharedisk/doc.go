// Package sharedisk is storage that several machines reach, for tests: one image in a file, and for each machine a view of it that
// can be taken away as a power cut or the storage itself would.
//
//	d, err := sharedisk.Open(image)
//	v, err := d.Show("m1", dir)   // dir/disk is the image, for a loop device of m1 to lie on
//	v.Cut()                       // m1 loses power: what it writes from now on is said to be written and is not
//	v.Fence()                     // the storage refuses m1: its reads and writes fail, and nothing of it is under way any more
//	v.Mend()                      // as before
//	d.Turns()                     // who wrote, one after another
//
// Killing a container is not a power cut: the kernel is the host's, and writes out what the machine had not. A view that was cut first
// lets nothing of that reach the image. Views are file systems in user space (FUSE) whose files no page cache is kept of, so a
// machine that mounts after another sees what is in the image. A loop device has a cache of its own, as a disk's reader has.
//
// What a view says is beside Argosy: it sees every write to the image and who made it, whatever guards and agents think.
package sharedisk
