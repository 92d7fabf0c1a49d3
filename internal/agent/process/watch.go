package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Watch calls ended with the id of each container whose process has ended, until ctx ends. It is called once; after it nothing is told
// of anybody any more.
func (w *Watcher) Watch(ctx context.Context, ended func(containerID string)) {
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		if err := w.hear(); err != nil {
			w.cfg.Log.Warn("the ends of containers' processes are not heard of any more", "error", err)
		}
	}()
	defer func() {
		w.close()
		<-heard
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		}
		w.mu.Lock()
		list := w.ended
		w.ended = nil
		w.mu.Unlock()
		for _, id := range list {
			ended(id)
		}
	}
}

// hear takes in what the kernel tells until the Watcher is closed.
func (w *Watcher) hear() error {
	conn, err := w.poll.SyscallConn()
	if err != nil {
		return fmt.Errorf("wait for the ends of processes: %w", err)
	}
	for {
		var failed error
		err := conn.Read(func(fd uintptr) bool {
			n, err := w.take(int(fd))
			failed = err
			return n > 0 || err != nil
		})
		w.mu.Lock()
		closed := w.closed
		w.mu.Unlock()
		switch {
		case closed:
			return nil
		case err != nil || failed != nil:
			return fmt.Errorf("wait for the ends of processes: %w", errors.Join(err, failed))
		}
	}
}

// take notes who has ended, and says how many there were.
func (w *Watcher) take(fd int) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return 0, os.ErrClosed
	}
	var events [64]unix.EpollEvent
	n, err := unix.EpollWait(fd, events[:], 0)
	switch {
	case errors.Is(err, unix.EINTR):
		return 1, nil // once more
	case err != nil:
		return 0, err
	}
	now := time.Now()
	for _, e := range events[:n] {
		id, ok := w.byFD[e.Fd]
		if !ok {
			continue
		}
		l := w.lives[id]
		w.release(l)
		l.gone = now
		w.tell(id)
	}
	return n, nil
}

// close ends hear. Closing the file waits for take, which may be about to ask for the lock.
func (w *Watcher) close() {
	w.mu.Lock()
	for _, l := range w.lives {
		w.release(l)
	}
	clear(w.lives)
	w.closed = true
	w.mu.Unlock()
	w.poll.Close()
}
