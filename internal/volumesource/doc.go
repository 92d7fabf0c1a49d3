// Package volumesource is the language in which a manifest says where the data of a shared volume is:
//
//	device: UUID=… | LABEL=… | /dev/…      options of ext4
//	type: nfs, source: server:/export      options of mount(8)
//
//	where, err := volumesource.ParseDevice(volumesource.For("LABEL=shop-data-{replica}", 3))
//
// It is pure, and asked twice: by the manifest, so that what is wrong is a fault with its place, and by the machine's
// drivers, since what a server says is hostile too. Nothing of it ever reaches a shell. What could show a container the
// machine's own files, run a program, or take away what keeps a second writer out is refused by name.
package volumesource
