package guard

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/claims/guard"
	"github.com/argosy-cluster/argosy/internal/lease"
)

// saved is what a guard leaves for the next one of the same boot: its state, and when it was by its clock.
type saved struct {
	Moment lease.Moment
	State  []byte // as claims/guard encodes it
}

const savedKind = "guard-process"

func statePath(dir string) string { return filepath.Join(dir, "state") }

func save(dir, boot string, s guard.State, at lease.Moment) error {
	state, err := guard.Encode(s, boot)
	if err != nil {
		return err
	}
	text, err := json.Marshal(saved{at, state})
	if err != nil {
		return err
	}
	// On tmpfs there is nothing to sync: a rename is whole for every process that comes after.
	tmp := statePath(dir) + ".new"
	if err := os.WriteFile(tmp, claims.Frame(savedKind, text), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, statePath(dir))
}

func load(dir, boot string) (s guard.State, at lease.Moment, found bool, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return s, at, false, fmt.Errorf("the guard's directory: %w", err)
	}
	file, err := os.ReadFile(statePath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return s, at, false, nil
	}
	if err != nil {
		return s, at, false, fmt.Errorf("reading what the last guard left: %w", err)
	}
	text, err := claims.Unframe(savedKind, file)
	if err != nil {
		return s, at, false, err
	}
	var f saved
	if err := json.Unmarshal(text, &f); err != nil {
		return s, at, false, fmt.Errorf("reading what the last guard left: %w", err)
	}
	s, err = guard.Decode(f.State, boot)
	return s, f.Moment, err == nil, err
}
