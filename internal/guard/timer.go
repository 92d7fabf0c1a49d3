package guard

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// timer is a timerfd on CLOCK_BOOTTIME: time that the machine is suspended counts, and it rings right after.
type timer struct {
	f  *os.File
	fd int
}

func newTimer() (*timer, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("making a timer: %w", err)
	}
	return &timer{f: os.NewFile(uintptr(fd), "timerfd"), fd: fd}, nil
}

// set has it ring once, after d, instead of when it was to ring before.
func (t *timer) set(d time.Duration) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(int64(d), 1))}
	if err := unix.TimerfdSettime(t.fd, 0, &spec, nil); err != nil {
		return fmt.Errorf("setting a timer: %w", err)
	}
	return nil
}

// rings gives nil each time that it rings, and an error when it can no longer be heard.
func (t *timer) rings(ctx context.Context) <-chan error {
	out := make(chan error)
	go func() {
		for {
			var count [8]byte
			_, err := t.f.Read(count[:])
			if errors.Is(err, os.ErrClosed) {
				return
			}
			select {
			case out <- err:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return out
}

func (t *timer) close() error { return t.f.Close() }
