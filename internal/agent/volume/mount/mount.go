package mount

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/argosy-cluster/argosy/internal/agent/volume"
	"github.com/argosy-cluster/argosy/internal/agent/volume/mounted"
	"github.com/argosy-cluster/argosy/internal/agent/volume/mountinfo"
	"github.com/argosy-cluster/argosy/internal/agent/volume/tool"
	"github.com/argosy-cluster/argosy/internal/volumesource"
)

// Config is where a driver works.
type Config struct {
	// Base is the directory below which volumes are mounted; nobody but root may look into it.
	Base string

	// check judges what is asked for; it is volumesource's, but in tests on machines whose kernel has no such type.
	check func(*volume.Mount) error
}

// Driver is the driver for mount(8). It keeps nothing.
type Driver struct {
	cfg Config
	mounted.Below
}

var _ volume.Driver = (*Driver)(nil)

// New makes a driver.
func New(cfg Config) *Driver {
	if cfg.check == nil {
		cfg.check = check
	}
	return &Driver{cfg: cfg, Below: mounted.Below{Base: cfg.Base}}
}

// mountTime bounds mount(8), which may try a server that does not answer for minutes.
const mountTime = 2 * time.Minute

// check is what a manifest may ask for. It was asked when the manifest was read, too.
func check(m *volume.Mount) error {
	err := errors.Join(volumesource.MountType(m.Type), volumesource.MountSource(m.Source))
	if len(m.Options) > volumesource.MaxOptions {
		err = errors.Join(err, fmt.Errorf("it has %d options; %d are allowed", len(m.Options), volumesource.MaxOptions))
	}
	for _, o := range m.Options {
		err = errors.Join(err, volumesource.MountOption(o))
	}
	return err
}

func (d *Driver) described(v volume.Volume) error {
	if v.Mount == nil {
		return volume.Refuse(volume.Misdescribed, "volume %s names nothing to mount", v.Name)
	}
	if err := errors.Join(volume.CheckName(v.Name), d.cfg.check(v.Mount)); err != nil {
		return volume.Refuse(volume.Misdescribed, "volume %s: %w", v.Name, err)
	}
	return nil
}

// Attach says whether this machine can mount it at all.
func (d *Driver) Attach(_ context.Context, v volume.Volume) (volume.Attached, error) {
	if err := d.described(v); err != nil {
		return volume.Attached{}, err
	}
	return volume.Attached{At: v.Mount.Source, UUID: v.UUID}, nil
}

// Stage mounts it.
func (d *Driver) Stage(ctx context.Context, c volume.Claim) error {
	p, err := mounted.PlaceOf(d.Base, c)
	if err := errors.Join(err, d.described(c.Volume)); err != nil {
		return err
	}
	return d.Lanes.Do(ctx, p.Dir(), func() error { return d.stage(ctx, c.Volume, p) })
}

func (d *Driver) stage(ctx context.Context, v volume.Volume, p mounted.Place) error {
	if r, err := mounted.OpenRoot(p.Staged()); err == nil {
		_, err := identify(v)(r)
		r.Close()
		if err == nil {
			return nil
		}
		return err
	}
	if err := mounted.Unmounted(v.Mount.Source, same(v.Mount)); err != nil {
		return err
	}
	if err := p.Make(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, mountTime)
	defer cancel()
	options := strings.Join(append([]string{"rw", "nosuid", "nodev"}, v.Mount.Options...), ",")
	said, err := tool.Run(ctx, "mount", "-t", v.Mount.Type, "-o", options, "--", v.Mount.Source, p.Staged())
	switch {
	case err != nil:
		err = fmt.Errorf("mount %s: %w", v.Mount.Source, err)
	case said.Code == 32 && strings.Contains(said.Err, "bad option") || strings.Contains(said.Err, "unknown filesystem type"):
		err = volume.Refuse(volume.Misdescribed, "%s cannot be mounted (%s); is what mounts %s installed on this machine, and are the options its?", v.Mount.Source, said.First(), v.Mount.Type)
	case said.Code != 0:
		err = volume.Refuse(volume.Absent, "%s cannot be mounted (%s); does its server answer, and may this machine have it?", v.Mount.Source, said.First())
	}
	if err != nil {
		return errors.Join(err, p.Unstage())
	}
	return nil
}

// identify judges a mount by what the kernel says was mounted.
func identify(v volume.Volume) func(*mounted.Root) (string, error) {
	return func(r *mounted.Root) (string, error) {
		if !same(v.Mount)(r.Mount) {
			return "", volume.Refuse(volume.Unverified, "what is mounted for volume %s is %s (%s), not %s (%s)", v.Name, tool.Plain(r.Mount.Source), tool.Plain(r.Mount.Type), v.Mount.Source, v.Mount.Type)
		}
		return "", nil
	}
}

// kinds are types that the kernel calls otherwise than mount(8) does.
func kinds(t string) []string {
	switch t {
	case "nfs", "nfs4":
		return []string{"nfs", "nfs4"}
	case "cifs", "smb3":
		return []string{"cifs", "smb3"}
	}
	return []string{t, "fuse." + t}
}

// same matches mounts of the same thing.
func same(m *volume.Mount) func(mountinfo.Mount) bool {
	of := kinds(m.Type)
	source := strings.TrimRight(m.Source, "/")
	return func(is mountinfo.Mount) bool {
		return slices.Contains(of, is.Type) && strings.TrimRight(is.Source, "/") == source
	}
}

// Publish verifies and shows what is staged.
func (d *Driver) Publish(ctx context.Context, c volume.Claim) (volume.Published, error) {
	if err := d.described(c.Volume); err != nil {
		return volume.Published{}, err
	}
	return d.Show(ctx, c, identify(c.Volume))
}

// Quiet says whether it is mounted nowhere on this machine. There is no device to be opened exclusively: a mount in a
// namespace in which no process is left is not seen.
func (d *Driver) Quiet(ctx context.Context, v volume.Volume) error {
	if err := d.described(v); err != nil {
		return err
	}
	return d.Lanes.Do(ctx, "quiet "+v.Name, func() error {
		return mounted.Unmounted(v.Mount.Source, same(v.Mount))
	})
}
