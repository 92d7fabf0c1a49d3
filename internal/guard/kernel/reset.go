package kernel

import (
	"os"

	"golang.org/x/sys/unix"
)

// firstNamespace is how the kernel calls the namespace of processes that it began with.
const firstNamespace = "pid:[4026531836]"

// Contained tells whether this machine is a container: its processes are not all of the kernel's.
func Contained() bool {
	ns, err := os.Readlink("/proc/self/ns/pid")
	return err != nil || ns != firstNamespace
}

// Reset ends everything that runs on this machine, at once, and without writing anything out: what is not on storage by now must
// never get there. It returns where it is not allowed to.
func Reset() error {
	if !Contained() {
		// Emergency restart: no driver is asked, and nothing is synced.
		if f, err := os.OpenFile("/proc/sysrq-trigger", os.O_WRONLY, 0); err == nil {
			_, _ = f.WriteString("b")
			_ = f.Close()
		}
	}
	return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}
