package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// composeModule is built from the Go module proxy, because Debian has only Compose 1.
const (
	composeModule  = "github.com/docker/compose/v5"
	composeVersion = "5.5.1"
)

// buildCompose returns the path of Compose 5, which is built once and kept in dir. Its own go.mod excludes versions, which
// `go install module@version` refuses, so it is built in a copy of its source.
func (b *bench) buildCompose(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "docker-compose-"+composeVersion)
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	b.say("  build Docker Compose %s from its Go module (some minutes, once)", composeVersion)
	get := exec.CommandContext(ctx, "go", "mod", "download", "-json", composeModule+"@v"+composeVersion)
	get.Dir = dir
	out, err := get.Output()
	var module struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(out, &module); err != nil || jsonErr != nil || module.Dir == "" {
		return "", fmt.Errorf("download Docker Compose: %w: %s", errors.Join(err, jsonErr), module.Error)
	}
	source, err := os.MkdirTemp(dir, "compose-source-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(source)
	if err := os.CopyFS(source, os.DirFS(module.Dir)); err != nil {
		return "", fmt.Errorf("copy the source of Docker Compose: %w", err)
	}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary+".new", "./cmd")
	build.Dir = source
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build Docker Compose: %w\n%s", err, out)
	}
	return binary, os.Rename(binary+".new", binary)
}
