package process

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Config of a Watcher.
type Config struct {
	// Proc is where the kernel shows processes; empty means /proc.
	Proc string
	// Shown says that the kernel showed a container's process before, to an earlier Watcher that saw the same ones as this.
	Shown bool
	// FirstShown is called when it does for the first time, unless Shown. It must not call back. May be nil.
	FirstShown func()
	Log        *slog.Logger
}

// Watcher watches the processes of a machine's containers. Its methods may be called at any time by anybody.
type Watcher struct {
	cfg Config
	// poll is an epoll of all descriptors in lives, which the runtime's own waits for; epoll is its number.
	poll  *os.File
	epoll int
	wake  chan struct{} // 1: there are ended ones

	mu     sync.Mutex
	shown  bool
	told   bool // that nothing can be told
	lives  map[string]*life
	byFD   map[int32]string
	ended  []string // to be told
	closed bool
}

// life is one life of a container, as it was first asked about.
type life struct {
	pid     int
	started time.Time
	// fd stands for the process while that is there; -1 otherwise.
	fd int
	// gone is when it was first seen that the process is not there; zero while it is, and where that cannot be told.
	gone time.Time
	// retry: it could not be told, and is tried again when asked.
	retry bool
}

// New returns a Watcher of which Watch has to be called.
func New(cfg Config) (*Watcher, error) {
	if cfg.Proc == "" {
		cfg.Proc = "/proc"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		return nil, fmt.Errorf("watch the processes of containers: %w", err)
	}
	return &Watcher{
		cfg: cfg, poll: os.NewFile(uintptr(fd), "epoll"), epoll: fd, wake: make(chan struct{}, 1), shown: cfg.Shown,
		lives: map[string]*life{}, byFD: map[int32]string{},
	}, nil
}

// Gone says since when the process of a container has been seen to be gone, which the engine says runs as pid since started. It is
// zero while the process is there, and where that cannot be told.
func (w *Watcher) Gone(containerID string, pid int, started time.Time) time.Time {
	w.mu.Lock()
	l := w.lives[containerID]
	if w.closed || pid <= 0 || containerID == "" {
		w.mu.Unlock()
		return time.Time{}
	}
	if l == nil || l.retry || l.pid != pid || !l.started.Equal(started) {
		w.forget(containerID)
		l = &life{pid: pid, started: started, fd: -1}
		w.lives[containerID] = l
		w.meet(containerID, l)
	}
	gone, first := l.gone, false
	if l.fd >= 0 && !w.shown {
		w.shown, first = true, true
		w.reconsider()
	}
	if !w.shown {
		gone = time.Time{}
	}
	w.mu.Unlock()
	if first && w.cfg.FirstShown != nil {
		w.cfg.FirstShown()
	}
	return gone
}

// reconsider has those told of whose absence means something now. The caller holds the lock.
func (w *Watcher) reconsider() {
	for id, l := range w.lives {
		if !l.gone.IsZero() {
			w.tell(id)
		}
	}
}

// meet finds out whether the process of a life is there, and watches it. The caller holds the lock.
func (w *Watcher) meet(containerID string, l *life) {
	fd, err := unix.PidfdOpen(l.pid, 0)
	switch {
	case errors.Is(err, unix.ESRCH), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT): // nobody, or a thread of somebody
		l.gone = time.Now()
		return
	case err != nil:
		w.cannot(l, err)
		return
	}
	// What is read here is of the process that fd stands for if that is still there afterwards: its number is not free before.
	whose := w.whose(containerID, l.pid)
	switch {
	case over(fd) || whose == anothers:
		l.gone = time.Now()
	case whose == its:
		err = unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
		if err == nil {
			l.fd, w.byFD[int32(fd)] = fd, containerID
			return
		}
		w.cannot(l, err)
	default:
		l.retry = true
	}
	unix.Close(fd)
}

// cannot notes that nothing can be told of a life for now, and says so the first time. The caller holds the lock.
func (w *Watcher) cannot(l *life, err error) {
	l.retry = true
	if !w.told {
		w.told = true
		w.cfg.Log.Warn("whether the processes of containers are really there cannot be told; the Docker Engine is believed", "error", err)
	}
}

// over says whether the process of a descriptor has ended.
func over(fd int) bool {
	list := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(list, 0)
		if !errors.Is(err, unix.EINTR) {
			return err == nil && n > 0
		}
	}
}

type owner int

const (
	unclear owner = iota
	its
	anothers
)

// whose says whether a process is a container's. One whose cgroup does not name the container may have moved itself, where it was
// let; but the first process of a container is also the first one of its namespace.
func (w *Watcher) whose(containerID string, pid int) owner {
	dir := filepath.Join(w.cfg.Proc, strconv.Itoa(pid))
	groups, err := os.ReadFile(filepath.Join(dir, "cgroup"))
	if err != nil {
		return unclear // over says whether it is there
	}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return unclear
	}
	return judge(containerID, string(groups), string(status))
}

// judge is whose, of the files' texts.
func judge(containerID, groups, status string) owner {
	if strings.Contains(groups, containerID) {
		return its
	}
	for line := range strings.Lines(status) {
		if numbers, ok := strings.CutPrefix(line, "NSpid:"); ok {
			if list := strings.Fields(numbers); len(list) > 1 && list[len(list)-1] == "1" {
				return unclear
			}
			return anothers
		}
	}
	return unclear // this kernel does not say
}

// Forget drops what is known of a container.
func (w *Watcher) Forget(containerID string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.forget(containerID)
}

func (w *Watcher) forget(containerID string) {
	if l := w.lives[containerID]; l != nil {
		w.release(l)
		delete(w.lives, containerID)
	}
}

// release watches a life no more. The caller holds the lock.
func (w *Watcher) release(l *life) {
	if l.fd < 0 {
		return
	}
	// A process that was forked just now may have the descriptor too, so closing it here is not enough.
	_ = unix.EpollCtl(w.epoll, unix.EPOLL_CTL_DEL, l.fd, nil)
	unix.Close(l.fd)
	delete(w.byFD, int32(l.fd))
	l.fd = -1
}

func (w *Watcher) tell(containerID string) {
	w.ended = append(w.ended, containerID)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}
