// Package volumetest is the suite that every driver of volumes passes, and storage to try them on: images in files, seen
// through loop devices of this machine's kernel.
//
//	volumetest.Run(t, func(t *testing.T) volumetest.Bench { … })
//
// Loop devices need root. Without it a test says so and is skipped; as root, whatever is missing is a failure.
package volumetest
