package manifest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// belowManifest checks that a file named in a manifest is at or below the manifest's directory, so that a manifest from
// elsewhere cannot make its reader send other files away.
func belowManifest(name string) (string, error) {
	clean := path.Clean(filepath.ToSlash(name))
	if path.IsAbs(clean) || clean == ".." || strings.HasPrefix(clean, "../") || strings.ContainsRune(clean, 0) {
		return "", errors.New("it is not at or below the directory of the manifest")
	}
	return clean, nil
}

// FilesBelow reads files for [Options] from the directory of the manifest that names them. Symbolic links that lead out of
// the directory are refused.
func FilesBelow(manifest, name string, limit int) ([]byte, error) {
	dir := "."
	if manifest != Stdin {
		dir = filepath.Dir(manifest)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, reason(err)
	}
	defer root.Close()
	// Only opening a named pipe would wait for a writer.
	if info, err := root.Stat(filepath.FromSlash(name)); err != nil {
		return nil, reason(err)
	} else if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	f, err := root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, reason(err)
	}
	defer f.Close()
	return readAtMost(f, limit)
}

// Stdin is what the manifest on standard input is called in faults. On a command line it is `-`.
const Stdin = "<stdin>"

// ReadFiles reads manifest files as they are named on a command line; `-` is read from stdin.
func ReadFiles(names []string, stdin io.Reader) ([]File, error) {
	files := make([]File, 0, len(names))
	for _, name := range names {
		data, err := readManifest(name, stdin)
		if err != nil {
			return nil, fmt.Errorf("the manifest %s cannot be read: %w", name, err)
		}
		if name == "-" {
			name = Stdin
		}
		files = append(files, File{Name: name, Data: data})
	}
	return files, nil
}

func readManifest(name string, stdin io.Reader) ([]byte, error) {
	if name == "-" {
		return readAtMost(stdin, MaxFileSize)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, reason(err)
	}
	defer f.Close()
	return readAtMost(f, MaxFileSize)
}

func readAtMost(in io.Reader, limit int) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(in, int64(limit)+1))
	if err != nil {
		return nil, reason(err)
	}
	if len(data) > limit {
		return nil, fmt.Errorf("it has more than %d bytes", limit)
	}
	return data, nil
}

// reason is err without the path, which the caller has said.
func reason(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
