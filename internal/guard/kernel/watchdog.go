package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/argosy-cluster/argosy/internal/agent/volume/tool"
)

// Watchdog is a device that resets the machine when it is not written to for its time-out.
type Watchdog struct {
	// Name is what its driver calls it.
	Name string
	path string

	mu      sync.Mutex
	file    *os.File // open while it is armed
	timeout time.Duration
}

const watchdogs = "/sys/class/watchdog"

// FindWatchdog finds one that can be used: a device of the machine's, or else the kernel's own, softdog. choice is auto, off, or the
// path of a device. Without one, also with off, the error says why. mark is a file that lasts until the machine boots: it says
// which one was found, so that the next guard takes it over while it counts down. With an error beside a watchdog it cannot be
// written.
func FindWatchdog(choice, mark string) (*Watchdog, error) {
	switch {
	case choice == "off":
		return nil, errors.New("no watchdog is used, as the guard was told: should the guard fail, nothing resets this machine")
	case Contained():
		return nil, errors.New("this machine is a container and has no watchdog: should the guard fail, nothing resets it")
	}
	k := kennel{dir: watchdogs}
	if text, err := os.ReadFile(mark); err == nil {
		k.left = filepath.Base(string(text))
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("which watchdog an earlier guard took: %w", err)
	}
	dog, err := k.find(choice)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(mark, []byte(filepath.Base(dog.path)), 0o600); err != nil {
		return dog, fmt.Errorf("this guard's watchdog cannot be written down: it resets the machine when this guard is started anew: %w", err)
	}
	return dog, nil
}

// kennel is where the kernel lists its watchdogs. left is the one that an earlier guard of this boot took.
type kennel struct{ dir, left string }

func (k kennel) find(choice string) (*Watchdog, error) {
	if choice != "auto" {
		return k.usable(filepath.Base(choice))
	}
	dog, err := k.search()
	if dog != nil {
		return dog, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	said, lerr := tool.Run(ctx, "modprobe", "softdog")
	if lerr == nil && said.Code != 0 {
		lerr = errors.New(said.Last())
	}
	if lerr == nil {
		if dog, err = k.search(); dog != nil {
			return dog, nil
		}
	}
	return nil, fmt.Errorf("this machine has no watchdog that can be used, so that nothing resets it should the guard fail; give it one, or the kernel's module softdog: %w", errors.Join(err, lerr))
}

// search takes the one that was left first: it may count down.
func (k kennel) search() (*Watchdog, error) {
	if dog, err := k.usable(k.left); err == nil {
		return dog, nil
	}
	list, err := os.ReadDir(k.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var errs []error
	for _, d := range list {
		dog, err := k.usable(d.Name())
		if err == nil {
			return dog, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// usable judges a device by what the kernel says of it, without opening it: that would start it.
func (k kennel) usable(name string) (*Watchdog, error) {
	read := func(what string) string {
		text, err := os.ReadFile(filepath.Join(k.dir, name, what))
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(text))
	}
	switch {
	case name == "" || read("identity") == "":
		return nil, fmt.Errorf("watchdog %s is not there, or does not say what it is", name)
	case read("state") == "active" && name != k.left:
		return nil, fmt.Errorf("watchdog %s is used by somebody else, systemd perhaps (RuntimeWatchdogSec)", name)
	case read("nowayout") == "1":
		return nil, fmt.Errorf("watchdog %s cannot be closed once it is open (nowayout)", name)
	}
	return &Watchdog{Name: tool.Plain(read("identity")), path: filepath.Join("/dev", name)}, nil
}

// Feed opens the device when it is not open, which starts it, and has it wait for timeout from now on.
func (w *Watchdog) Feed(timeout time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil {
		f, err := os.OpenFile(w.path, os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("the watchdog: %w", err)
		}
		w.file, w.timeout = f, 0
	}
	if w.timeout != timeout {
		// Whole seconds, never longer than asked: a reset that comes late is the one thing that it is there against.
		seconds := int(timeout / time.Second)
		if seconds < 1 {
			return fmt.Errorf("the watchdog counts in seconds, and %v is asked for", timeout)
		}
		if err := unix.IoctlSetPointerInt(int(w.file.Fd()), unix.WDIOC_SETTIMEOUT, seconds); err != nil {
			return fmt.Errorf("the watchdog cannot be set to %d s: %w", seconds, err)
		}
		is, err := unix.IoctlGetInt(int(w.file.Fd()), unix.WDIOC_GETTIMEOUT)
		if err != nil || is > seconds {
			return fmt.Errorf("the watchdog waits for %d s, and %d s are needed: %w", is, seconds, err)
		}
		w.timeout = timeout
	}
	if _, err := w.file.Write([]byte{0}); err != nil {
		return fmt.Errorf("the watchdog: %w", err)
	}
	return nil
}

// Close stops it.
func (w *Watchdog) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil {
		return nil
	}
	_, err := w.file.Write([]byte("V")) // the kernel's word for closing it on purpose
	err = errors.Join(err, w.file.Close())
	w.file = nil
	return err
}
