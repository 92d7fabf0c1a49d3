package sharedisk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

// FileName is what the image is called in a view's directory.
const FileName = "disk"

// Disk is an image that was opened.
type Disk struct {
	file *os.File
	size int64

	mu    sync.Mutex
	turns []Turn
	views []*View
}

// Turn is a time in which one view wrote and no other did.
type Turn struct {
	View string
	// Between the first and the last write.
	From, To time.Time
	Writes   int
	Bytes    int64
}

// mostTurns bounds what is kept. A test in which machines alternate that often has failed long before.
const mostTurns = 10_000

// Open opens an image, whose size stays as it is.
func Open(image string) (*Disk, error) {
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("the shared disk: %w", err)
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the shared disk: %w", err), f.Close())
	}
	return &Disk{file: f, size: size}, nil
}

// Turns lists who wrote, in order. Two views that write at a time alternate in it.
func (d *Disk) Turns() []Turn {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.turns)
}

// letGo is how long the kernel may take to let a view go after what lay on it was taken away: a file system that was unmounted lazily, and
// whose storage fails, ends by and by.
const letGo = 30 * time.Second

// Close takes all views away, and closes the image. It fails when something lies on a view for longer than letGo.
func (d *Disk) Close() error {
	var errs []error
	for _, v := range d.views {
		err := v.server.Unmount()
		for limit := time.Now().Add(letGo); errors.Is(err, syscall.EBUSY) && time.Now().Before(limit); err = v.server.Unmount() {
			time.Sleep(100 * time.Millisecond)
		}
		errs = append(errs, err)
	}
	return errors.Join(append(errs, d.file.Close())...)
}

// note is called for each write that reaches the image. The caller holds the lock.
func (d *Disk) note(view string, n int) {
	now := time.Now()
	last := len(d.turns) - 1
	if last < 0 || d.turns[last].View != view {
		if len(d.turns) == mostTurns {
			return
		}
		d.turns = append(d.turns, Turn{View: view, From: now})
		last++
	}
	t := &d.turns[last]
	t.To = now
	t.Writes++
	t.Bytes += int64(n)
}

// state is how a machine and the disk are connected.
type state int

const (
	live state = iota
	cut
	fenced
)

// View is the disk as one machine sees it.
type View struct {
	disk   *Disk
	name   string
	path   string
	server server

	mu    sync.RWMutex // read-held during each transfer, so that a change of state waits for those under way
	state state
	lost  int64
}

// server is what serves a view.
type server interface{ Unmount() error }

// Show mounts a view at a directory, which it makes.
func (d *Disk) Show(name, dir string) (*View, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("the view of %s: %w", name, err)
	}
	v := &View{disk: d, name: name, path: filepath.Join(dir, FileName)}
	s, err := mount(dir, v)
	if err != nil {
		return nil, fmt.Errorf("the view of %s: %w", name, err)
	}
	v.server = s
	d.mu.Lock()
	defer d.mu.Unlock()
	d.views = append(d.views, v)
	return v, nil
}

// Path is the file that shows the image.
func (v *View) Path() string { return v.path }

// Cut has everything that is written from now on vanish, and be called written.
func (v *View) Cut() { v.become(cut) }

// Fence has everything that is read or written from now on fail. When it returns, nothing is under way.
func (v *View) Fence() { v.become(fenced) }

// Mend has the view be as it was at first.
func (v *View) Mend() { v.become(live) }

// Lost is how many bytes vanished since the view was cut, all times together.
func (v *View) Lost() int64 {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.lost
}

func (v *View) become(s state) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.state = s
}

// errFenced is what the storage answers whom it refuses.
var errFenced = errors.New("the storage refuses this machine")

func (v *View) read(b []byte, at int64) (int, error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if v.state == fenced {
		return 0, errFenced
	}
	n, err := v.disk.file.ReadAt(b, at)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

func (v *View) write(b []byte, at int64) (int, error) {
	v.mu.RLock()
	s := v.state
	if s == live {
		defer v.mu.RUnlock()
		v.disk.mu.Lock()
		defer v.disk.mu.Unlock() // one write at a time, so that turns are in the order of what is in the image
		if at+int64(len(b)) > v.disk.size {
			return 0, syscall.ENOSPC // a disk does not grow
		}
		n, err := v.disk.file.WriteAt(b, at)
		v.disk.note(v.name, n)
		return n, err
	}
	v.mu.RUnlock()
	if s == fenced {
		return 0, errFenced
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.lost += int64(len(b))
	return len(b), nil
}

// sync has what was written be on the host's disk, unless the machine has no power.
func (v *View) sync() error {
	v.mu.RLock()
	defer v.mu.RUnlock()
	switch v.state {
	case fenced:
		return errFenced
	case cut:
		return nil
	}
	return v.disk.file.Sync()
}
