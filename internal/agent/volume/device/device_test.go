package device

import (
	"os"
	"testing"

	"github.com/argosy-cluster/argosy/internal/agent/volume"
	"github.com/argosy-cluster/argosy/internal/agent/volume/volumetest"
)

// TestSuite tries the driver on devices that are empty, and get their file system by it.
func TestSuite(t *testing.T) {
	volumetest.Root(t)
	volumetest.Run(t, func(t *testing.T) volumetest.Bench {
		image := volumetest.Image(t, 32)
		b := bench(t, image)
		b.Foreign = func() { volumetest.Run1(t, "mke2fs", "-q", "-F", "-t", "ext2", "--", b.Volume.Device.Source) }
		return b
	})
}

// TestSuiteByLabel tries it on file systems that an administrator made.
func TestSuiteByLabel(t *testing.T) {
	volumetest.Root(t)
	volumetest.Run(t, func(t *testing.T) volumetest.Bench {
		image := volumetest.Image(t, 32)
		b := bench(t, image)
		node := b.Volume.Device.Source
		label := "t" + randomText(t)
		volumetest.Format(t, node, "-L", label)
		b.Volume.Device = &volume.Device{Source: "LABEL=" + label, Options: []string{"noatime", "commit=5", "data=ordered"}}
		b.Twice = func() { volumetest.Loop(t, volumetest.Copy(t, image), false) }
		b.Foreign = func() {
			withMounted(t, node, func(dir string) { put(t, dir+"/passwords", "x"); _ = os.Remove(dir + "/" + volume.MarkName) })
		}
		return b
	})
}

// bench is a driver and a device that shows an image.
func bench(t *testing.T, image string) volumetest.Bench {
	t.Helper()
	node := volumetest.Loop(t, image, false)
	return volumetest.Bench{
		Driver: New(Config{Base: volumetest.Base(t)}),
		Volume: volume.Volume{Name: "default/shop/db.1/data", Device: &volume.Device{Source: node, Create: true}},
		Absent: func() { volumetest.Detach(t, node, image) },
		ReadOnly: func() {
			volumetest.Run1(t, "blockdev", "--setro", node)
			t.Cleanup(func() { volumetest.Run1(t, "blockdev", "--setrw", node) })
		},
	}
}
