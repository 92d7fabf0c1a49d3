package mounted

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/argosy-cluster/argosy/internal/agent/volume"
	"github.com/argosy-cluster/argosy/internal/agent/volume/tool"
)

// Publish verifies what is staged at a place, marks it with the claim's token, and makes its data visible. identify is the
// driver's own judgement of whether the mount is what it must be; it returns the UUID of the file system, or none where
// there is no such thing.
func Publish(ctx context.Context, p Place, c volume.Claim, identify func(*Root) (string, error)) (volume.Published, error) {
	r, err := OpenRoot(p.Staged())
	if err != nil {
		return volume.Published{}, err
	}
	defer r.Close()
	uuid, err := r.verify(c, identify)
	if err != nil {
		return volume.Published{}, err
	}
	if err := unix.Mkdirat(r.fd(), volume.DataName, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return volume.Published{}, readOnly(r, fmt.Errorf("make the directory for the data: %w", err))
	}
	if err := r.WriteMark(volume.Mark{Volume: c.Volume.Name, UUID: uuid, Token: c.Token}); err != nil {
		return volume.Published{}, err
	}
	st, err := r.stat()
	if err != nil {
		return volume.Published{}, err
	}
	if err := ctx.Err(); err != nil {
		return volume.Published{}, err // nobody waits for it any more
	}
	if err := r.show(p); err != nil {
		return volume.Published{}, err
	}
	return volume.Published{Path: p.Published(), UUID: uuid, Size: int64(st.Blocks) * st.Bsize, Free: int64(st.Bavail) * st.Bsize}, nil
}

// verify is the rule "Verified". Its order is that of certainty: what is mounted, then what it says of itself.
func (r *Root) verify(c volume.Claim, identify func(*Root) (string, error)) (string, error) {
	if r.Mount.Root != "/" {
		return "", volume.Refuse(volume.Unverified, "at %s only the directory %s of %s is mounted", r.dir.Name(), tool.Plain(r.Mount.Root), tool.Plain(r.Mount.Source))
	}
	uuid, err := identify(r)
	if err != nil {
		return "", err
	}
	if err := r.Writable(); err != nil {
		return "", err
	}
	mark, err := r.ReadMark()
	if err != nil {
		return "", err
	}
	if err := c.Judge(mark, uuid); err != nil {
		return "", err
	}
	if mark == nil {
		fresh, others, err := r.Fresh()
		if err != nil {
			return "", fmt.Errorf("look at what is on %s: %w", r.Mount.Source, err)
		}
		if !fresh {
			return "", Unmarked(tool.Plain(r.Mount.Source), c.Volume.Name, others)
		}
	}
	switch {
	case uuid != "":
		return uuid, nil
	case mark != nil && mark.UUID != "":
		if v := c.Volume; v.UUID != "" && v.UUID != mark.UUID {
			return "", volume.Refuse(volume.Foreign, "the mark on %s is %s, and that of volume %s is %s; bring back what held it", tool.Plain(r.Mount.Source), mark.UUID, v.Name, v.UUID)
		}
		return mark.UUID, nil
	case c.Volume.UUID != "":
		return c.Volume.UUID, nil
	}
	return NewUUID()
}

// Unmarked refuses a file system that is in use by something else, or whose data somebody wants to bring along.
func Unmarked(source, name string, others []string) error {
	for i, n := range others {
		others[i] = tool.Plain(n)
	}
	return volume.Refuse(volume.Foreign, "%s holds files that no volume put there (%s), and nothing was changed; if they shall be the data of %s: mount it, move them into a directory "+
		"called %s on it, and write {\"volume\": %q} into %s beside that", source, strings.Join(others, ", "), name, volume.DataName, name, volume.MarkName)
}

// NewUUID makes a random UUID.
func NewUUID() (string, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("make a UUID: %w", err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:], nil
}

// show makes the data visible: a clone of the very mount that was verified.
func (r *Root) show(p Place) error {
	data, err := r.open(volume.DataName, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return volume.Refuse(volume.Damaged, "on %s, %s is no directory with the data: %w; look at what is on it", tool.Plain(r.Mount.Source), volume.DataName, err)
	}
	defer data.Close()
	if shown, err := r.shows(p, data); shown || err != nil {
		return err
	}
	tree, err := unix.OpenTree(int(data.Fd()), "", unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("clone the mount of the data: %w", err)
	}
	defer unix.Close(tree)
	if err := unix.Mkdir(p.Published(), 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make the path of the data: %w", err)
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, p.Published(), unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return errors.Join(fmt.Errorf("make the data visible: %w", err), unix.Rmdir(p.Published()))
	}
	return nil
}

// shows says whether the data is visible already; anything else that is mounted there is refused.
func (r *Root) shows(p Place, data *os.File) (bool, error) {
	root, err := isMountRoot(p.Published())
	if errors.Is(err, unix.ENOENT) || err == nil && !root {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", p.Published(), err)
	}
	there, err := OpenRoot(p.Published())
	if err != nil {
		return false, err
	}
	defer there.Close()
	var want, is unix.Stat_t
	if err := errors.Join(unix.Fstat(int(data.Fd()), &want), unix.Fstat(there.fd(), &is)); err != nil {
		return false, fmt.Errorf("look at %s: %w", p.Published(), err)
	}
	if want.Dev != is.Dev || want.Ino != is.Ino {
		return false, volume.Refuse(volume.Unverified, "something else is mounted at %s; unmount it", p.Published())
	}
	return true, there.Writable()
}

func readOnly(r *Root, err error) error {
	if errors.Is(err, unix.EROFS) {
		return volume.Refuse(volume.ReadOnly, "the file system of %s is read-only: %w", tool.Plain(r.Mount.Source), err)
	}
	return err
}
