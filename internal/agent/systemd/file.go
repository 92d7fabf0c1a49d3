package systemd

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/unitfile"
)

// mark says whose a unit's file is.
type mark struct {
	ID, Cluster                string
	Tenant, App, Stack, Member string
	Number                     uint32
	AppUID                     string
	Incarnation                uint64
	Definition                 string
	Revision, Restart          uint64
	At                         time.Time
}

const (
	section = "[X-Argosy]\n"
	// maxMark bounds what is read of a file to find its mark.
	maxMark = 8 << 10
	// idPrefix tells ids of units from those of containers.
	idPrefix = "unit:"
)

// IsUnit says whether an id is that of a unit's file.
func IsUnit(id string) bool { return strings.HasPrefix(id, idPrefix) }

// newID is an id for a file that is to be written.
func newID(name string) string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return idPrefix + name + ":" + hex.EncodeToString(b[:])
}

// nameOf is the unit's name in an id; empty when it is none.
func nameOf(id string) string {
	rest, ok := strings.CutPrefix(id, idPrefix)
	i := strings.LastIndexByte(rest, ':')
	if !ok || i < 0 || !unitfile.IsName(rest[:i]) {
		return ""
	}
	return rest[:i]
}

func (m mark) owner() core.ID {
	return core.ID{Key: core.Key{Tenant: m.Tenant, App: m.App, Stack: m.Stack, Number: m.Number}, AppUID: m.AppUID, Incarnation: m.Incarnation}
}

// text is the file of a unit: the mark, then what stands in the manifest.
func (m mark) text(content string) (string, error) {
	raw, err := json.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("mark a unit's file: %w", err)
	}
	return "# Argosy wrote this file, and removes it: what it says is changed in the manifest.\n" + section + "Mark=" + string(raw) + "\n\n" + content, nil
}

var errNotOurs = errors.New("nobody's mark is in it")

// readMark reads the mark of a file.
func readMark(path string) (mark, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return mark{}, err
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, maxMark))
	if err != nil {
		return mark{}, err
	}
	return parseMark(string(head))
}

func parseMark(head string) (m mark, err error) {
	_, rest, ok := strings.Cut(head, "\n")
	rest, ours := strings.CutPrefix(rest, section+"Mark=")
	line, _, whole := strings.Cut(rest, "\n")
	if !ok || !ours || !whole || !strings.HasPrefix(head, "# Argosy ") {
		return m, errNotOurs
	}
	if err := json.Unmarshal([]byte(line), &m); err != nil {
		return m, errNotOurs
	}
	if nameOf(m.ID) == "" || m.Tenant == "" || m.App == "" || m.Stack == "" || m.Member == "" {
		return m, errNotOurs
	}
	return m, nil
}

// write puts a file in its place in one instant, and never over another.
func write(dir, name, text string) error {
	f, err := os.CreateTemp(dir, ".argosy-*")
	if err != nil {
		return fmt.Errorf("write unit %s: %w", name, err)
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return fmt.Errorf("write unit %s: %w", name, err)
	}
	if err := os.Link(f.Name(), filepath.Join(dir, name)); err != nil {
		return fmt.Errorf("write unit %s: %w", name, err)
	}
	return nil
}
