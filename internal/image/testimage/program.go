package testimage

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

//go:embed prog/main.go
var source []byte

const goMod = "module prog\n\ngo 1.26\n"

// sourceHash names the program by everything that decides what it does.
func sourceHash() string {
	h := sha256.New()
	h.Write(source)
	fmt.Fprintf(h, "\x00%s\x00%s", goMod, runtime.GOARCH)
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// Program compiles the test program, statically, for Linux on this processor, and returns the path of the binary. The
// binary is kept in the user's cache directory; it is not the caller's to change or delete.
func Program(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = filepath.Join(os.TempDir(), fmt.Sprintf("argosy-cache-%d", os.Getuid()))
	}
	dir := filepath.Join(cache, "argosy", "testimage")
	path := filepath.Join(dir, "prog-"+sourceHash())
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the test image's cache directory: %w", err)
	}
	return path, compile(ctx, dir, path)
}

// compile builds in a directory of its own and renames at the end, so that of two test processes that build at once
// neither runs half a file of the other.
func compile(ctx context.Context, dir, path string) (err error) {
	tmp, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	for name, text := range map[string][]byte{"main.go": source, "go.mod": []byte(goMod)} {
		if err := os.WriteFile(filepath.Join(tmp, name), text, 0o644); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", "prog", ".")
	cmd.Dir = tmp
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+runtime.GOARCH, "GOFLAGS=", "GOWORK=off")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return errors.New("the test image needs the Go toolchain, and there is no `go` in PATH: install Go or add it to PATH")
		}
		return fmt.Errorf("compile the test image's program: %w\n%s", err, out.Bytes())
	}
	return os.Rename(filepath.Join(tmp, "prog"), path)
}
