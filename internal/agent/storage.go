package agent

import (
	"os"
	"slices"
	"strings"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/agent/storage"
	"github.com/argosy-cluster/argosy/internal/agent/volume/device"
	"github.com/argosy-cluster/argosy/internal/agent/volume/mount"
	"github.com/argosy-cluster/argosy/internal/volumesource"
)

// prepareStorage makes what speaks to the machine's guard.
func (a *agent) prepareStorage() (err error) {
	// Nothing is mounted by the agent, so it matters little where it would be.
	base := "/run/argosy-guard/volumes"
	a.storage, err = storage.New(storage.Config{
		Socket: a.cfg.GuardSocket, Device: device.New(device.Config{Base: base}), Mount: mount.New(mount.Config{Base: base}),
		Value: a.db.Value, Keep: a.db.SetValue, Log: a.log, Reached: a.reached, Stamp: device.Stamp,
		Changed: func(k core.Key) { a.x.Claimed(k) },
		Report:  func(r *argosyv1.StorageReport) { a.sess.Storage(r) },
	})
	return err
}

// reached lists what manifests may call the storage that this machine can mount.
func (a *agent) reached() (devices, mounts []string) {
	devices, err := device.Reached(device.Config{})
	if err != nil {
		a.log.Warn("the devices of this machine cannot be listed", "error", err)
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		list, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, f := range list {
			if t, ok := strings.CutPrefix(f.Name(), "mount."); ok && volumesource.MountType(t) == nil {
				mounts = append(mounts, t)
			}
		}
	}
	slices.Sort(mounts)
	return devices, slices.Compact(mounts)
}
