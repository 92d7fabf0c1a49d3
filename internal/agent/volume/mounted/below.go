package mounted

import (
	"context"

	"github.com/argosy-cluster/argosy/internal/agent/volume"
)

// Below is the part of a driver that is the same for all that mount: what is staged is at places below Base, and one thing is done at
// a time at each.
type Below struct {
	Base  string
	Lanes Lanes
}

// Show publishes what is staged for a claim, see [Publish].
func (b *Below) Show(ctx context.Context, c volume.Claim, identify func(*Root) (string, error)) (volume.Published, error) {
	p, err := PlaceOf(b.Base, c)
	if err != nil {
		return volume.Published{}, err
	}
	var pub volume.Published
	err = b.Lanes.Do(ctx, p.Dir(), func() error {
		var err error
		pub, err = Publish(ctx, p, c, identify)
		return err
	})
	if err != nil {
		return volume.Published{}, err // pub may still be written
	}
	return pub, nil
}

// Unpublish takes the path away.
func (b *Below) Unpublish(ctx context.Context, c volume.Claim) error {
	p, err := PlaceOf(b.Base, c)
	if err != nil {
		return err
	}
	return b.Lanes.Do(ctx, p.Dir(), p.Unpublish)
}

// Unstage unmounts.
func (b *Below) Unstage(ctx context.Context, c volume.Claim) error {
	p, err := PlaceOf(b.Base, c)
	if err != nil {
		return err
	}
	return b.Lanes.Do(ctx, p.Dir(), p.Unstage)
}
