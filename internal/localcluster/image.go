package localcluster

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/moby/moby/client"
)

// recipe is all that the machine image is made of, besides Debian's packages.
//
//go:embed machine
var recipe embed.FS

// Debian's release in the machines.
const suite = "bookworm"

// imageRepository holds machine images, each tagged with its recipe's hash.
const imageRepository = "argosy-machine"

// buildOptions go to mmdebstrap. Manuals and translations have no readers in a
// machine; copyright files stay.
var buildOptions = []string{
	"--variant=minbase",
	"--dpkgopt=path-exclude=/usr/share/man/*",
	"--dpkgopt=path-exclude=/usr/share/info/*",
	"--dpkgopt=path-exclude=/usr/share/locale/*",
	"--dpkgopt=path-exclude=/usr/share/doc/*",
	"--dpkgopt=path-include=/usr/share/doc/*/copyright",
}

// imageRef names the image of the present recipe and packages.
func (l *Local) imageRef() string { return imageRepository + ":" + recipeHash(l.opts.Packages) }

// recipeHash is equal for equal recipes: 12 hexadecimal digits over every file
// of the recipe, what is added to it, and how it is built. Package versions are
// not part of it: an image is as old as its build until it is removed.
func recipeHash(more []string) string {
	h := sha256.New()
	fmt.Fprintln(h, suite, buildOptions)
	if len(more) > 0 {
		fmt.Fprintln(h, more)
	}
	err := fs.WalkDir(recipe, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := recipe.ReadFile(p)
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%s %d\n", p, len(data))
		h.Write(data)
		return nil
	})
	if err != nil {
		panic("localcluster: reading embedded files: " + err.Error()) // cannot happen: they are in memory
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

// packages reads the recipe's list.
func packages() ([]string, error) {
	data, err := recipe.ReadFile("machine/packages")
	if err != nil {
		return nil, err
	}
	var out []string
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out, nil
}

// ensureImage builds the machine image unless the Engine has it.
func (l *Local) ensureImage(ctx context.Context) error {
	if _, err := l.docker.ImageInspect(ctx, l.imageRef()); err == nil {
		return nil
	}
	return l.step("", "build the machine image from Debian packages (about a minute, once)", func() error {
		return l.buildImage(ctx)
	})
}

// buildImage streams mmdebstrap's root file system straight into the Engine.
func (l *Local) buildImage(ctx context.Context) error {
	names, err := packages()
	if err != nil {
		return err
	}
	names = append(names, l.opts.Packages...)
	// Not /tmp, which is memory on many hosts.
	dir, err := os.MkdirTemp("/var/tmp", "argosy-machine-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := writeRecipe(dir); err != nil {
		return err
	}
	args := append([]string{}, buildOptions...)
	args = append(args,
		"--include="+strings.Join(names, ","),
		"--customize-hook=sync-in "+filepath.Join(dir, "rootfs")+" /",
		"--customize-hook=copy-in "+filepath.Join(dir, "setup.sh")+" /",
		`--customize-hook=chroot "$1" sh /setup.sh && rm "$1/setup.sh"`,
		suite, "-")
	if l.opts.Mirror != "" {
		args = append(args, l.opts.Mirror)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, "mmdebstrap", args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	// Asked to end, it unmounts and removes what it made.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	tarball, w := io.Pipe()
	cmd.Stdout = w
	words := &tail{keep: 4 << 10}
	cmd.Stderr = words
	if err := cmd.Start(); err != nil {
		return err
	}
	built := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		if err != nil {
			err = fmt.Errorf("mmdebstrap: %w; its last words:\n%s", err, words)
		}
		built <- err
		// With an error the Engine's request breaks off, so that half a root
		// file system never becomes an image.
		w.CloseWithError(err)
	}()
	importErr := l.importImage(ctx, tarball)
	select {
	case err := <-built:
		if err != nil {
			return err // the cause of importErr
		}
	default: // the Engine gave up first
		tarball.CloseWithError(importErr)
		cancel()
		<-built
	}
	return importErr
}

func (l *Local) importImage(ctx context.Context, tarball io.Reader) error {
	res, err := l.docker.ImageImport(ctx,
		client.ImageImportSource{Source: tarball, SourceName: "-"}, l.imageRef(),
		client.ImageImportOptions{
			Message: "machine of a local Argosy cluster",
			Changes: []string{"LABEL " + labelImage + "=" + recipeHash(l.opts.Packages)},
		})
	if err != nil {
		return err
	}
	defer res.Close()
	if _, err := io.Copy(io.Discard, res); err != nil {
		return err
	}
	_, err = l.docker.ImageInspect(ctx, l.imageRef())
	return err
}

// tail is a writer that keeps the last bytes written to it.
type tail struct {
	keep int
	data []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.data = append(t.data, p...)
	if n := len(t.data) - t.keep; n > 0 {
		t.data = append(t.data[:0], t.data[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(string(t.data)) }

// writeRecipe unpacks the recipe into dir. Modes are not embedded: all is made
// world-readable whatever the umask, because the root directory of the image
// gets its mode from here, and setup.sh makes executable what must be.
func writeRecipe(dir string) error {
	return fs.WalkDir(recipe, "machine", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel("machine", p)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, rel)
		if d.IsDir() {
			if err := os.MkdirAll(to, 0o755); err != nil {
				return err
			}
			return os.Chmod(to, 0o755)
		}
		data, err := recipe.ReadFile(p)
		if err != nil {
			return err
		}
		if err := os.WriteFile(to, data, 0o644); err != nil {
			return err
		}
		return os.Chmod(to, 0o644)
	})
}
