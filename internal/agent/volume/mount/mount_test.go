package mount

import (
	"errors"
	"strings"
	"testing"

	"github.com/argosy-cluster/argosy/internal/agent/volume"
	"github.com/argosy-cluster/argosy/internal/agent/volume/mountinfo"
	"github.com/argosy-cluster/argosy/internal/agent/volume/volumetest"
)

// The kernel here may have no file system of a server. mount(8) and everything after it are tried with one on a loop device,
// which the driver refuses otherwise.
func TestSuite(t *testing.T) {
	volumetest.Root(t)
	volumetest.Run(t, func(t *testing.T) volumetest.Bench {
		image := volumetest.Image(t, 16)
		node := volumetest.Loop(t, image, false)
		volumetest.Run1(t, "mke2fs", "-q", "-F", "-t", "ext4", "--", node)
		return volumetest.Bench{
			Driver: New(Config{Base: volumetest.Base(t), check: func(*volume.Mount) error { return nil }}),
			Volume: volume.Volume{Name: "default/shop/db.1/data", Mount: &volume.Mount{Type: "ext4", Source: node, Options: []string{"noatime"}}},
			Absent: func() { volumetest.Detach(t, node, image) },
		}
	})
}

func TestAttachRefuses(t *testing.T) {
	d := New(Config{Base: "/nowhere"})
	good := volume.Mount{Type: "nfs", Source: "storage:/exports/shop-1", Options: []string{"vers=4.2", "hard"}}
	for name, spoil := range map[string]func(*volume.Mount){
		"type":    func(m *volume.Mount) { m.Type = "ext4" },
		"source":  func(m *volume.Mount) { m.Source = "/dev/sda" },
		"bind":    func(m *volume.Mount) { m.Options = []string{"bind"} },
		"commas":  func(m *volume.Mount) { m.Options = []string{"hard,bind"} },
		"dashes":  func(m *volume.Mount) { m.Source = "--bind" },
		"options": func(m *volume.Mount) { m.Options = strings.Split(strings.Repeat("hard ", 100), " ") },
	} {
		m := good
		spoil(&m)
		v := volume.Volume{Name: "default/shop/db.1/data", Mount: &m}
		_, err := d.Attach(t.Context(), v)
		err = errors.Join(err, d.Stage(t.Context(), volume.Claim{Volume: v}))
		if volume.ReasonOf(err) != volume.Misdescribed {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := d.Attach(t.Context(), volume.Volume{Name: "default/shop/db.1/data", Mount: &good}); err != nil {
		t.Error(err)
	}
}

// What cannot be mounted at all leaves nothing behind.
func TestStageFails(t *testing.T) {
	volumetest.Root(t)
	d := New(Config{Base: volumetest.Base(t)})
	c := volume.Claim{Volume: volume.Volume{Name: "default/shop/db.1/data", Mount: &volume.Mount{Type: "nosuchfs", Source: "storage:/x"}}, Token: volume.Token{Generation: 1, Revision: 1}}
	err := d.Stage(t.Context(), c)
	if volume.ReasonOf(err) == 0 || !strings.Contains(err.Error(), "storage:/x cannot be mounted (mount: ") {
		t.Errorf("%v", err)
	}
	if err := d.Quiet(t.Context(), c.Volume); err != nil {
		t.Error(err)
	}
}

func TestSame(t *testing.T) {
	for _, tc := range []struct {
		typ, source string
		is          mountinfo.Mount
		want        bool
	}{
		{"nfs", "s:/x", mountinfo.Mount{Type: "nfs4", Source: "s:/x"}, true},
		{"nfs", "s:/x/", mountinfo.Mount{Type: "nfs", Source: "s:/x"}, true},
		{"nfs", "s:/x", mountinfo.Mount{Type: "nfs4", Source: "s:/y"}, false},
		{"glusterfs", "s:/x", mountinfo.Mount{Type: "fuse.glusterfs", Source: "s:/x"}, true},
		{"cifs", "//s/x", mountinfo.Mount{Type: "tmpfs", Source: "//s/x"}, false},
	} {
		if got := same(&volume.Mount{Type: tc.typ, Source: tc.source})(tc.is); got != tc.want {
			t.Errorf("%s %s, mounted %s %s: %t", tc.typ, tc.source, tc.is.Type, tc.is.Source, got)
		}
	}
}
