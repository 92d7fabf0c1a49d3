package files

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/agent/docker"
	"github.com/argosy-cluster/argosy/internal/pattern"
	"golang.org/x/sys/unix"
)

// Config of a Store.
type Config struct {
	// Secrets is a directory on a tmpfs, or one that a tmpfs can be mounted on.
	Secrets string
	// Configs is a directory on disk.
	Configs string
	// Unseal opens a tenant's secret that was sealed to this machine.
	Unseal func(tenant string, s *argosyv1.SealedSecret) ([]byte, error)
}

// Store writes files. Calls for different members may be made at the same time.
type Store struct {
	cfg Config
}

const (
	secretsDir = "/run/secrets"
	// maxFile bounds a secret or config; the manifest and the API allow less.
	maxFile = 4 << 20
)

// Open makes both directories and sees to it that secrets are on a tmpfs.
func Open(cfg Config) (*Store, error) {
	if err := os.MkdirAll(cfg.Secrets, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory for secrets: %w", err)
	}
	if err := os.MkdirAll(cfg.Configs, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory for configs: %w", err)
	}
	if err := ensureTmpfs(cfg.Secrets); err != nil {
		return nil, err
	}
	for _, dir := range []string{cfg.Secrets, cfg.Configs} {
		if err := os.Chmod(dir, 0o700); err != nil {
			return nil, fmt.Errorf("close %s to others: %w", dir, err)
		}
	}
	return &Store{cfg}, nil
}

func ensureTmpfs(dir string) error {
	on, err := onTmpfs(dir)
	if on || err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700,size=256m"); err != nil {
		return fmt.Errorf("secrets may only be kept in memory, %s is on disk, and a tmpfs cannot be mounted there (%w); run the agent as root, or give it a run directory on a tmpfs", dir, err)
	}
	if on, err = onTmpfs(dir); err == nil && !on {
		err = fmt.Errorf("%s is not on a tmpfs though one was mounted there", dir)
	}
	return err
}

func onTmpfs(dir string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return false, fmt.Errorf("look at the file system of %s: %w", dir, err)
	}
	const ramfs = 0x858458f6
	return st.Type == unix.TMPFS_MAGIC || st.Type == ramfs, nil
}

// nameForm is what may become a part of a path. Names are DNS labels long before they come here; this is the last door.
var nameForm = pattern.New(`^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$`)

func dirName(id core.ID) (string, error) {
	for _, part := range []string{id.Tenant, id.App, id.Stack, id.AppUID} {
		if !nameForm.MatchString(part) {
			return "", fmt.Errorf("%q cannot be part of a file's name", part)
		}
	}
	uid := id.AppUID[:min(12, len(id.AppUID))]
	return fmt.Sprintf("%s.%s.%s.%d.%d-%s", id.Tenant, id.App, id.Stack, id.Number, id.Incarnation, uid), nil
}

// place is where one file of a member is on the machine and in the container.
type place struct {
	ref    *argosyv1.FileRef
	path   string // on the machine
	target string // in the container
	// dir is mounted as a whole at dirTarget instead of path at target, when not empty.
	dir, dirTarget string
}

func (s *Store) member(root string, a *argosyv1.Assignment, spec *argosyv1.ContainerSpec) (string, error) {
	name, err := dirName(core.IDOf(a))
	if err != nil {
		return "", err
	}
	if !nameForm.MatchString(spec.GetName()) {
		return "", fmt.Errorf("%q cannot be part of a file's name", spec.GetName())
	}
	return filepath.Join(root, name, spec.GetName()), nil
}

func (s *Store) secretPlaces(a *argosyv1.Assignment, spec *argosyv1.ContainerSpec) ([]place, error) {
	base, err := s.member(s.cfg.Secrets, a, spec)
	if err != nil {
		return nil, err
	}
	var list []place
	for i, ref := range spec.GetSecrets() {
		target, err := targetOf(ref, secretsDir+"/"+ref.GetSource())
		if err != nil {
			return nil, err
		}
		p := place{ref: ref, target: target}
		if path.Dir(target) == secretsDir {
			p.dir, p.dirTarget = filepath.Join(base, "dir"), secretsDir
			p.path = filepath.Join(p.dir, path.Base(target))
		} else {
			p.path = filepath.Join(base, "files", strconv.Itoa(i))
		}
		list = append(list, p)
	}
	return list, nil
}

func (s *Store) configPlaces(a *argosyv1.Assignment, spec *argosyv1.ContainerSpec) ([]place, error) {
	base, err := s.member(s.cfg.Configs, a, spec)
	if err != nil {
		return nil, err
	}
	var list []place
	for i, ref := range spec.GetConfigs() {
		target, err := targetOf(ref, "/"+ref.GetSource())
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(a.GetConfigs()[ref.GetSource()])
		name := strconv.Itoa(i) + "-" + hex.EncodeToString(sum[:8]) + "-" + strconv.FormatUint(uint64(ref.GetMode()), 8)
		list = append(list, place{ref: ref, target: target, path: filepath.Join(base, name)})
	}
	return list, nil
}

func targetOf(ref *argosyv1.FileRef, otherwise string) (string, error) {
	t := ref.GetTarget()
	if t == "" {
		t = otherwise
	}
	if !path.IsAbs(t) || path.Clean(t) != t || t == "/" || len(t) > 4096 {
		return "", fmt.Errorf("%q is not an absolute path of a file", t)
	}
	return t, nil
}

// Mounts says what a member's container has to mount. It does not look at the disk.
func (s *Store) Mounts(a *argosyv1.Assignment, spec *argosyv1.ContainerSpec) ([]docker.File, error) {
	secrets, err := s.secretPlaces(a, spec)
	if err != nil {
		return nil, err
	}
	configs, err := s.configPlaces(a, spec)
	if err != nil {
		return nil, err
	}
	var list []docker.File
	dirs := map[string]bool{}
	for _, p := range append(secrets, configs...) {
		switch {
		case p.dir == "":
			list = append(list, docker.File{Source: p.path, Target: p.target})
		case !dirs[p.dir]:
			dirs[p.dir] = true
			list = append(list, docker.File{Source: p.dir, Target: p.dirTarget})
		}
	}
	return list, nil
}

// Write makes the files of a member what they should be. Those that are right already are not touched.
func (s *Store) Write(a *argosyv1.Assignment, spec *argosyv1.ContainerSpec) error {
	if err := s.writeSecrets(a, spec); err != nil {
		return err
	}
	places, err := s.configPlaces(a, spec)
	if err != nil {
		return err
	}
	for _, p := range places {
		content, ok := a.GetConfigs()[p.ref.GetSource()]
		if !ok {
			return fmt.Errorf("config %s has no content", p.ref.GetSource())
		}
		if err := p.write(content); err != nil {
			return fmt.Errorf("write config %s: %w", p.ref.GetSource(), err)
		}
	}
	return nil
}

func (s *Store) writeSecrets(a *argosyv1.Assignment, spec *argosyv1.ContainerSpec) error {
	places, err := s.secretPlaces(a, spec)
	if err != nil {
		return err
	}
	sealed := map[string]*argosyv1.SealedSecret{}
	for _, x := range a.GetSecrets() {
		sealed[x.GetName()] = x
	}
	keep := map[string]bool{}
	dir := ""
	for _, p := range places {
		name := p.ref.GetSource()
		box, ok := sealed[name]
		if !ok {
			return fmt.Errorf("secret %s does not exist", name)
		}
		if s.cfg.Unseal == nil {
			return errors.New("this agent has no key to open secrets with")
		}
		value, err := s.cfg.Unseal(a.GetKey().GetTenant(), box)
		if err != nil {
			return fmt.Errorf("secret %s cannot be opened with this machine's key: %w", name, err)
		}
		err = p.write(value)
		clear(value)
		if err != nil {
			return fmt.Errorf("write secret %s: %w", name, err)
		}
		if p.dir != "" {
			dir = p.dir
			keep[filepath.Base(p.path)] = true
		}
	}
	return prune(dir, keep)
}

// prune removes secrets that the member does not name any more.
func prune(dir string, keep map[string]bool) error {
	if dir == "" {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look through secrets: %w", err)
	}
	for _, e := range entries {
		if !keep[e.Name()] {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("remove an old secret: %w", err)
			}
		}
	}
	return nil
}

// write puts content into the file with the mode and owner that its reference says.
func (p place) write(content []byte) error {
	if len(content) > maxFile {
		return fmt.Errorf("%d bytes are too many; %d are allowed", len(content), maxFile)
	}
	uid, err := owner("uid", p.ref.GetUid())
	if err != nil {
		return err
	}
	gid, err := owner("gid", p.ref.GetGid())
	if err != nil {
		return err
	}
	mode := fs.FileMode(p.ref.GetMode() & 0o777)
	if p.ref.GetMode() == 0 {
		mode = 0o444
	}
	// The directories within are entered from the container by whoever it runs as; the root above is closed to others.
	if err := os.MkdirAll(filepath.Dir(p.path), 0o755); err != nil {
		return err
	}
	if err := os.Chmod(filepath.Dir(p.path), 0o755); err != nil { // whatever the agent's umask is
		return err
	}
	old, err := os.ReadFile(p.path)
	switch {
	case err == nil && bytes.Equal(old, content):
		clear(old)
		return settle(p.path, mode, uid, gid)
	case err == nil && p.dir == "":
		clear(old)
		return rewrite(p.path, content, mode, uid, gid)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	clear(old)
	return replace(p.path, content, mode, uid, gid)
}

func owner(what, s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%s %q is not a number; names of the container's users are not known outside of it", what, s)
	}
	return int(n), nil
}

func settle(path string, mode fs.FileMode, uid, gid int) error {
	if err := os.Chown(path, uid, gid); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// replace makes the file appear with its whole content in one instant.
func replace(path string, content []byte, mode fs.FileMode, uid, gid int) error {
	tmp, err := os.CreateTemp(filepath.Dir(filepath.Dir(path)), "new-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(content)
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = settle(tmp.Name(), mode, uid, gid)
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}

// rewrite keeps the file itself, which a container has mounted, and changes what is in it.
func rewrite(path string, content []byte, mode fs.FileMode, uid, gid int) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(content, 0)
	if err == nil {
		err = f.Truncate(int64(len(content)))
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return settle(path, mode, uid, gid)
}

// Remove removes all files of an incarnation.
func (s *Store) Remove(id core.ID) error {
	name, err := dirName(id)
	if err != nil {
		return nil // nothing can have been written for it
	}
	return errors.Join(os.RemoveAll(filepath.Join(s.cfg.Secrets, name)), os.RemoveAll(filepath.Join(s.cfg.Configs, name)))
}

// Sweep removes the files of all incarnations that are not in keep.
func (s *Store) Sweep(keep []core.ID) error {
	names := map[string]bool{}
	for _, id := range keep {
		if name, err := dirName(id); err == nil {
			names[name] = true
		}
	}
	var errs []error
	for _, root := range []string{s.cfg.Secrets, s.cfg.Configs} {
		entries, err := os.ReadDir(root)
		errs = append(errs, err)
		for _, e := range entries {
			if !names[e.Name()] {
				errs = append(errs, os.RemoveAll(filepath.Join(root, e.Name())))
			}
		}
	}
	return errors.Join(errs...)
}
