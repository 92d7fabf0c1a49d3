package host

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ReleaseCode gives back the memory that this process's executable takes up in it. Starting touches most of an executable
// that holds every room once, and next to nothing of it again; what is needed comes back by itself, from the file. Nothing
// that was ever written to is released.
func ReleaseCode() error {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("find the executable: %w", err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("find the executable's memory: %w", err)
	}
	var errs []error
	for _, s := range codeOf(string(maps), exe) {
		if _, _, e := unix.Syscall(unix.SYS_MADVISE, s.start, s.end-s.start, unix.MADV_DONTNEED); e != 0 {
			errs = append(errs, fmt.Errorf("release the executable's memory: %w", e))
		}
	}
	return errors.Join(errs...)
}

type span struct{ start, end uintptr }

// codeOf finds, among the lines of /proc/<pid>/maps, where a file is mapped that cannot be written to there.
func codeOf(maps, file string) []span {
	var list []span
	for line := range strings.Lines(maps) {
		f := strings.Fields(line)
		if len(f) < 6 || strings.Join(f[5:], " ") != file || !strings.HasPrefix(f[1], "r-") {
			continue
		}
		from, to, _ := strings.Cut(f[0], "-")
		start, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if err1 == nil && err2 == nil && start < end {
			list = append(list, span{uintptr(start), uintptr(end)})
		}
	}
	return list
}
