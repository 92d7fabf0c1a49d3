package agent

import (
	"context"
	"time"

	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/agent/database"
	"github.com/argosy-cluster/argosy/internal/agent/docker"
)

const collectEvery = 5 * time.Minute

// used keeps a record of images that were pulled for members: only those are ever removed again.
func (a *agent) used(img docker.Image, pulled bool) {
	now := time.Now()
	var err error
	if pulled {
		err = a.db.Pulled(database.Image{Reference: img.Reference, ImageID: img.ImageID, Size: img.Size, PulledAt: now, UsedAt: now})
	}
	if err != nil {
		a.log.Warn("an image that was pulled is not on record, and will not be removed by itself", "image", img.Reference, "error", err)
	}
}

// collect removes what nothing needs, now and then.
func (a *agent) collect(ctx context.Context) {
	t := time.NewTicker(collectEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		a.lookForStrays()
		if err := a.collectOnce(ctx, time.Now()); err != nil && ctx.Err() == nil {
			a.log.Warn("what nothing needs could not be removed", "error", err)
		}
	}
}

func (a *agent) collectOnce(ctx context.Context, now time.Time) error {
	if err := a.sweepFiles(); err != nil {
		return err
	}
	kept, err := a.db.Images()
	if err != nil || len(kept) == 0 {
		return err
	}
	needed, refs := a.neededImages()
	if err := a.db.Used(now, refs); err != nil {
		return err
	}
	c := core.Collection{Needed: needed}
	for _, img := range kept {
		at := img.UsedAt
		if needed[img.Reference] {
			at = now
		}
		c.Images = append(c.Images, core.Image{Reference: img.Reference, Size: img.Size, UsedAt: at})
	}
	if c.DiskTotal, c.DiskUsed, err = a.disk(a.engine.Info().RootDir); err != nil {
		return err
	}
	for _, r := range core.DecideCollection(now, c) {
		used, err := a.engine.RemoveImage(ctx, r.Reference)
		if err != nil {
			return err
		}
		if used {
			continue
		}
		a.log.Info("image removed", "image", r.Reference, "because", r.Reason)
		if err := a.db.ForgetImage(r.Reference); err != nil {
			return err
		}
	}
	return nil
}

// neededImages are the references that assignments name.
func (a *agent) neededImages() (map[string]bool, []string) {
	needed := map[string]bool{}
	var refs []string
	for _, as := range a.x.Wanted() {
		for _, spec := range as.GetContainers() {
			if ref, err := a.engine.Reference(as.GetKey().GetTenant(), spec); err == nil && !needed[ref] {
				needed[ref] = true
				refs = append(refs, ref)
			}
		}
	}
	return needed, refs
}

// sweepFiles removes files of incarnations that neither an assignment nor a container speaks of.
func (a *agent) sweepFiles() error {
	if !a.x.Complete() {
		return nil
	}
	var keep []core.ID
	for _, as := range a.x.Wanted() {
		keep = append(keep, core.IDOf(as))
	}
	for _, c := range a.x.Containers() {
		keep = append(keep, c.Owner)
	}
	return a.files.Sweep(keep)
}
