package localcluster

import (
	"os"
	"strconv"
	"strings"
)

// capabilityNames are Linux's, in the order of their bits.
var capabilityNames = strings.Fields(`
	CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP
	LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK
	IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
	SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE
	AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM
	BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE`)

// neverGiven are what a machine has no use for and all machines of the host
// would feel: its clock and its kernel's modules, which the kernel loads by
// itself when something asks for what they do.
var neverGiven = []string{"SYS_TIME", "SYS_MODULE"}

// droppedCapabilities are those a machine does not get: the ones it must not
// have and the ones the host cannot give, as when it is itself confined. status
// is the text of /proc/self/status.
func droppedCapabilities(status string) []string {
	drop := append([]string{}, neverGiven...)
	_, rest, found := strings.Cut(status, "CapBnd:")
	if !found {
		return drop
	}
	line, _, _ := strings.Cut(rest, "\n")
	bounding, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
	if err != nil {
		return drop
	}
	for bit, name := range capabilityNames {
		if bounding&(1<<bit) == 0 {
			drop = append(drop, name)
		}
	}
	return drop
}

func ownStatus() string {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return ""
	}
	return string(data)
}
