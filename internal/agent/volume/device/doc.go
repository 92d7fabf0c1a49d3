// Package device is the driver for block devices that several machines reach: disks of a SAN, of a hypervisor, over iSCSI.
// They hold an ext4 file system with multi-mount protection (mmp), so that the file system itself refuses a second mount,
// whoever makes it.
//
//	d := device.New(device.Config{Base: "/var/lib/argosy/mounts"})
//
// Attach finds the device and judges it:
//
//	find      by UUID, label or path among the devices of /sys/class/block that have a node in /dev        (find)
//	judge     its superblock, read by us; all its signatures, as blkid reads them; its mark, as debugfs reads it (judge)
//	refuse    absent, twice, something else, without mmp, another volume's                                  (judge)
//
// Stage goes on from there: an empty device gets a file system, where the manifest says so; one that says that it is
// damaged is repaired as far as e2fsck does by itself (-p); then it is mounted. One that is damaged further waits for a
// person. Nothing is checked that does not ask for it: with mmp, e2fsck alone takes a minute.
package device
