package storage

import (
	"cmp"
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/volume/mounted"
	"github.com/argosy-cluster/argosy/internal/volumesource"
)

// look looks now and then what the machine reaches, and as soon as something was connected.
func (k *Keeper) look(ctx context.Context) {
	t := time.NewTicker(tick)
	defer t.Stop()
	var lane mounted.Lanes
	for {
		var devices, mounts []string
		stamp, begun := k.stamp(), k.cfg.Now()
		// A device that does not answer keeps whoever asks it, and not the agent from ending.
		if lane.Do(ctx, "look", func() error { devices, mounts = k.cfg.Reached(); return nil }) != nil {
			return
		}
		k.Reaches(devices, mounts)
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
			if k.stamp() != stamp || k.cfg.Now().Sub(begun) >= reachEvery {
				break
			}
		}
	}
}

func (k *Keeper) stamp() string {
	if k.cfg.Stamp == nil {
		return ""
	}
	return k.cfg.Stamp()
}

// Reaches takes in what the machine reaches.
func (k *Keeper) Reaches(devices, mounts []string) {
	var hashes []uint64
	for _, d := range devices[:min(len(devices), mostDevices)] {
		hashes = append(hashes, volumesource.Reach(d))
	}
	slices.Sort(hashes)
	k.mu.Lock()
	k.reached, k.mounts = slices.Compact(hashes), mounts[:min(len(mounts), mostMounts)]
	k.mu.Unlock()
	k.report()
}

// report tells what the machine reaches and who guards it, where that is news.
func (k *Keeper) report() {
	k.mu.Lock()
	r := &argosyv1.StorageReport{Guard: &argosyv1.Guard{Trouble: "this machine's guard: " + k.unguarded}, Devices: k.reached, MountTypes: k.mounts}
	if g := k.guard; g != nil {
		r.Guard = &argosyv1.Guard{Key: g.GetKey(), Version: g.GetVersion(), Watchdog: g.GetWatchdog(), Trouble: cmp.Or(k.unkept, g.GetTrouble()),
			Leaving: g.GetLeaving()}
	}
	news := !proto.Equal(r, k.reported)
	k.reported = r
	k.mu.Unlock()
	if news {
		k.cfg.Report(r)
	}
}
