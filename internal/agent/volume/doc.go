// Package volume is how a machine gets at the data of shared volumes: devices and file systems that several machines can
// reach, and that one incarnation at a time may write (docs/design/SINGLE-WRITER.md, whose rules "Verified" and "Quiet"
// live here). Who that is, is decided elsewhere; a [Driver] is told by a claim with its token:
//
//	at, err := driver.Attach(ctx, v)          // before the lease: found and looked at, nothing written
//	… the lease is acquired …
//	err = driver.Stage(ctx, claim)            // mounted, at a path with the token
//	pub, err := driver.Publish(ctx, claim)    // verified, marked, visible at pub.Path
//	… containers run …
//	err = driver.Unpublish(ctx, claim)
//	err = driver.Unstage(ctx, claim)
//	err = driver.Quiet(ctx, v)                // only then is it let go
//
// Rooms: mountinfo and superblock parse, purely; mounted is what drivers share about mounts of the kernel; device and mount
// are drivers; [Fake] is one in memory, for tests of what uses drivers; volumetest is the suite that all of them pass.
//
// # What holds
//
//   - Nothing is published but a writable mount of the right file system, with the mark of the right volume and no later
//     token. This is verified on a descriptor, and that descriptor is what becomes visible: a path cannot change in between.
//   - Where nothing is published there is nothing to bind: the path does not exist, so that a container that is started
//     late, or on an unmounted directory, does not start.
//   - What holds something else, is there twice, or needs a person is refused with a sentence, and nothing was written.
//   - Quiet is never said because of what was not seen: what cannot be read is an error.
//
// # CSI
//
// The calls are those of CSI with what is not needed left out, so that a driver that speaks CSI is a translation:
//
//	Attach     ControllerPublishVolume, whose publish context would be kept with what Attach returns
//	Stage      NodeStageVolume
//	Publish    NodePublishVolume
//	Unpublish  NodeUnpublishVolume
//	Unstage    NodeUnstageVolume
//	Quiet      ControllerUnpublishVolume, confirmed: the storage refuses this machine (class fenced)
//
// There is no Create and no Delete: storage is the administrator's, but for a file system on an empty device.
package volume
