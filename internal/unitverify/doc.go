// Package unitverify asks the systemd of this machine what it thinks of a unit file. It is the thin side of unitfile:
//
//	found, err := unitverify.Systemd(ctx, unit, file)
//	errors.Is(err, unitverify.ErrAbsent) // no systemd-analyze here
//
// The file is written into a directory of its own, and `systemd-analyze verify` gets ten seconds and 64 KiB to speak. What it
// says of this machine rather than of the file is left out: programs and other units that are not here.
package unitverify
