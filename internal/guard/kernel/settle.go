package kernel

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// priority of a guard among real-time processes: above what asks for none in particular, below the kernel's own.
const priority = 10

// Settle has the process's memory locked as it is touched, and the process run before others. What the machine does not allow is
// in the error, one sentence each; the guard goes on without it.
func Settle() error {
	var errs []error
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		errs = append(errs, fmt.Errorf("its memory may be paged out, which can make it late (mlockall: %w); allow it LimitMEMLOCK=infinity", err))
	}
	if err := realTime(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// realTime has every thread scheduled in real time; those that are made later inherit it. Where that is not allowed, the best of
// the ordinary priorities is asked for.
func realTime() error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("its threads cannot be listed: %w", err)
	}
	var first error
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		err = unix.SchedSetAttr(tid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: priority}, 0)
		if err != nil && first == nil && !errors.Is(err, unix.ESRCH) {
			first = err
		}
	}
	if first == nil {
		return nil
	}
	text := "it has no real-time priority, so that a machine that is very busy may make it late (sched_setattr: %w)"
	for _, t := range tasks {
		if tid, err := strconv.Atoi(t.Name()); err == nil {
			_ = unix.Setpriority(unix.PRIO_PROCESS, tid, -20) // as near to it as one gets
		}
	}
	return fmt.Errorf(text, first)
}
