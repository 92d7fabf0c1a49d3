// Package mount is the driver for whatever mount(8) mounts from elsewhere: NFS, CIFS, Ceph, 9p, Gluster.
//
//	d := mount.New(mount.Config{Base: "/var/lib/argosy/mounts"})
//
// Attach checks what is asked for; it does not ask the server, which may take its time. Stage runs mount(8) with an argument
// list, nosuid and nodev, and without /etc/fstab. Publish verifies that what is mounted has the type and source that were
// asked for and is writable, and its mark; storage of this kind has no UUID, so the mark has one. Nothing here notices a second
// writer: the class is timed, and the lease alone keeps it out.
package mount
