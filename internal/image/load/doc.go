// Package load takes an image from Docker, or from an archive that `docker save` or another tool wrote, and sends the
// cluster what it lacks of it.
//
//	result, err := load.Docker(ctx, docker, "shop/lamp:7", load.Options{Client: c, Tenant: "default", Progress: show})
//	result, err := load.Archive(ctx, os.Stdin, load.Options{…, As: "shop/lamp:7"})
//
// What happens, in this order:
//
//  1. If the name already means this very image in the cluster, nothing more; if another of its names in Docker does, this
//     name is given to what is there (Docker only).
//  2. The archive is read once. It is a stream whose table of contents comes last, so it is spooled to an unnamed
//     temporary file on the way, unless it is a plain file already. Every entry's digest is computed in the same pass.
//  3. The table of contents is read (read.go: legacy and OCI layout), and what it promises is compared with what is
//     there. An archive that lies is refused before anything is sent.
//  4. For each blob the server is asked to claim it; what it lacks is sent, from where an earlier attempt stopped.
//  5. The manifest is sent, and with it the name. Until then nobody can see the image.
//
// An archive is hostile input. Nothing from it is ever used as a path on this host: entries are found by name within the
// archive only. Numbers and sizes are bounded; sparse files, devices, hard links, names that leave the archive, and two
// entries of one name are refused.
package load
