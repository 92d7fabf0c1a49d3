package localcluster

import (
	"os"
	"slices"
	"strconv"
	"strings"
)

// capabilityNames are Linux's, in the order of their bits, up to those that
// every Engine knows. What came later (PERFMON, BPF, CHECKPOINT_RESTORE) are
// parts of SYS_ADMIN.
var capabilityNames = strings.Fields(`
	CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP
	LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK
	IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
	SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE
	AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM
	BLOCK_SUSPEND AUDIT_READ`)

// neverGiven are what a machine has no use for and all machines of the host
// would feel: its clock and its kernel's modules, which the kernel loads by
// itself when something asks for what they do.
var neverGiven = []string{"SYS_TIME", "SYS_MODULE"}

// machineCapabilities are those that a machine gets: all that the host can give,
// which is not everything when the host is itself confined, but neverGiven.
// status is the text of /proc/self/status.
func machineCapabilities(status string) []string {
	bounding := ^uint64(0)
	if _, rest, found := strings.Cut(status, "CapBnd:"); found {
		line, _, _ := strings.Cut(rest, "\n")
		if n, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64); err == nil {
			bounding = n
		}
	}
	var give []string
	for bit, name := range capabilityNames {
		if bounding&(1<<bit) != 0 && !slices.Contains(neverGiven, name) {
			give = append(give, name)
		}
	}
	return give
}

func ownStatus() string {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return ""
	}
	return string(data)
}
