// Package archive moves files between a directory and a tar, as copying from and to containers needs it.
//
//	place, err := archive.Where("/etc/apache2", archive.Directory, "conf", archive.Nothing)
//	sum, err := archive.Unpack(tar, place, archive.Options{})             // what a container sent
//	sum, err := archive.Pack(w, "conf", "apache2", archive.Options{})     // what a container gets
//
// # What holds
//
//   - A tar from outside is hostile. Nothing is written outside the place it is unpacked to, whatever it names and whatever
//     symbolic links it makes or meets: symbolic links are made as they are and never followed out of there.
//   - Everything in it belongs below its first entry. What does not is an error, not a surprise beside the place.
//   - A file appears under its name when it is complete. One that breaks off leaves nothing, and what it would have replaced
//     stays.
//   - Nothing is kept in memory but a piece of a file and the directories on the way to it. A tar that breaks off between two
//     files is noticed too.
//   - Devices, pipes and sockets are left out, and said to be.
package archive
