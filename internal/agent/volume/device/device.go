package device

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/argosy-cluster/argosy/internal/agent/volume"
	"github.com/argosy-cluster/argosy/internal/agent/volume/mounted"
	"github.com/argosy-cluster/argosy/internal/agent/volume/tool"
	"github.com/argosy-cluster/argosy/internal/volumesource"
)

// Config is where a driver works.
type Config struct {
	// Base is the directory below which volumes are mounted; nobody but root may look into it.
	Base string
	// Sys is /sys/class/block, when it is empty.
	Sys string
}

// Driver is the driver for devices. It keeps nothing: everything is asked of the kernel and the device.
type Driver struct {
	cfg Config
	mounted.Below
}

var _ volume.Driver = (*Driver)(nil)

// New makes a driver.
func New(cfg Config) *Driver {
	if cfg.Sys == "" {
		cfg.Sys = "/sys/class/block"
	}
	return &Driver{cfg: cfg, Below: mounted.Below{Base: cfg.Base}}
}

// How long parts may take. The mount itself waits for mmp: 22 s after a machine that lost power.
const (
	lookTime   = 30 * time.Second
	repairTime = 30 * time.Minute
	makeTime   = 30 * time.Minute
)

func described(v volume.Volume) error {
	if v.Device == nil {
		return volume.Refuse(volume.Misdescribed, "volume %s names no device", v.Name)
	}
	if err := volume.CheckName(v.Name); err != nil {
		return volume.Refuse(volume.Misdescribed, "%w", err)
	}
	if len(v.Device.Options) > volumesource.MaxOptions {
		return volume.Refuse(volume.Misdescribed, "volume %s has %d options; %d are allowed", v.Name, len(v.Device.Options), volumesource.MaxOptions)
	}
	for _, o := range v.Device.Options {
		if err := volumesource.DeviceOption(o); err != nil {
			return volume.Refuse(volume.Misdescribed, "volume %s: %w", v.Name, err)
		}
	}
	return nil
}

// Attach finds the device and judges what is on it.
func (d *Driver) Attach(ctx context.Context, v volume.Volume) (volume.Attached, error) {
	if err := described(v); err != nil {
		return volume.Attached{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	var found volume.Attached
	err := d.Lanes.Do(ctx, "attach "+v.Name, func() error {
		j, err := d.judge(ctx, v)
		found = j.attached()
		return err
	})
	if err != nil {
		return volume.Attached{}, err
	}
	return found, nil
}

// Stage makes the file system usable, and mounts it.
func (d *Driver) Stage(ctx context.Context, c volume.Claim) error {
	p, err := mounted.PlaceOf(d.Base, c)
	if err := errors.Join(err, described(c.Volume)); err != nil {
		return err
	}
	return d.Lanes.Do(ctx, p.Dir(), func() error { return d.stage(ctx, c, p) })
}

func (d *Driver) stage(ctx context.Context, c volume.Claim, p mounted.Place) error {
	if d.staged(c, p) {
		return nil
	}
	j, err := d.judge(ctx, c.Volume)
	if err != nil {
		return err
	}
	// Repairing, making and mounting all need that nothing here has it; so does the promise that only this claim writes.
	if err := mounted.Exclusive(j.node); err != nil {
		return err
	}
	if err := mounted.Unmounted(j.node, mounted.OfDevice(j.dev)); err != nil {
		return err
	}
	switch {
	case j.blank:
		err = makeFileSystem(ctx, j.node)
	case j.super.NeedsRepair():
		err = repair(ctx, j.node)
	}
	if err != nil {
		return err
	}
	if err := p.Make(); err != nil {
		return err
	}
	err = mounted.Mount(volumesource.Ext4, j.node, options(c.Volume.Device.Options), p.Staged(), ctx.Err)
	if err != nil {
		return errors.Join(err, p.Unstage())
	}
	return nil
}

// options are those asked for. An error found while it is mounted makes the file system read-only unless something else is
// said, so that nothing is written on from a damaged state.
func options(asked []string) []string {
	for _, o := range asked {
		if o == "errors=panic" || o == "errors=remount-ro" {
			return asked
		}
	}
	return append([]string{"errors=remount-ro"}, asked...)
}

// staged says whether this claim's mount is there already.
func (d *Driver) staged(c volume.Claim, p mounted.Place) bool {
	r, err := mounted.OpenRoot(p.Staged())
	if err != nil {
		return false
	}
	defer r.Close()
	_, err = d.identify(c)(r)
	return err == nil
}

// identify judges a mount: it is that of the device which the volume is on now.
func (d *Driver) identify(c volume.Claim) func(*mounted.Root) (string, error) {
	return func(r *mounted.Root) (string, error) {
		b, err := d.find(c.Volume)
		if err != nil {
			return "", err
		}
		if r.Mount.Type != volumesource.Ext4 || r.Dev != b.dev {
			return "", volume.Refuse(volume.Unverified, "what is mounted for volume %s is %s (%s), not its device %s", c.Volume.Name, tool.Plain(r.Mount.Source), tool.Plain(r.Mount.Type), b.node)
		}
		sb, err := readSuper(b.node)
		if err != nil {
			return "", volume.Refuse(volume.Unverified, "the superblock of %s cannot be read any more: %w", b.node, err)
		}
		if !sb.MMP {
			return "", volume.Refuse(volume.Unverified, "the file system on %s does not notice a second mount any more", b.node)
		}
		return sb.UUID, nil
	}
}

// Publish verifies and shows what is staged.
func (d *Driver) Publish(ctx context.Context, c volume.Claim) (volume.Published, error) {
	if err := described(c.Volume); err != nil {
		return volume.Published{}, err
	}
	return d.Show(ctx, c, d.identify(c))
}

// Quiet asks the kernel twice: for mounts in all namespaces, and whether the device can be had exclusively, which is so only
// when no file system is in memory for it.
func (d *Driver) Quiet(ctx context.Context, v volume.Volume) error {
	if err := described(v); err != nil {
		return err
	}
	return d.Lanes.Do(ctx, "quiet "+v.Name, func() error {
		b, err := d.find(v)
		if err != nil {
			return fmt.Errorf("whether %s is quiet cannot be told: %w", v.Name, err)
		}
		if err := mounted.Unmounted(b.node, mounted.OfDevice(b.dev)); err != nil {
			return err
		}
		return mounted.Exclusive(b.node)
	})
}
