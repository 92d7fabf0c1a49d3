package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const sysctlRoot = "/proc/sys"

// readSysctls reads those that Decide looks at. A key that this kernel or
// machine does not have is left out, and so is one that is only desirable and
// cannot be written, as in a container whose /proc/sys is read-only.
func readSysctls(cfg Config) map[string]string {
	out := map[string]string{}
	read := func(key string) {
		if b, err := os.ReadFile(filepath.Join(sysctlRoot, key)); err == nil {
			out[key] = strings.TrimSpace(string(b))
		}
	}
	read("net/ipv4/ip_forward")
	for _, key := range []string{
		"net/ipv4/conf/" + cfg.DeviceName + "/forwarding",
		"net/ipv4/conf/" + cfg.BridgeName + "/forwarding",
		"net/ipv6/conf/" + cfg.DeviceName + "/disable_ipv6",
	} {
		if unix.Access(filepath.Join(sysctlRoot, key), unix.W_OK) == nil {
			read(key)
		}
	}
	return out
}

func writeSysctl(key, value string, optional bool) error {
	err := os.WriteFile(filepath.Join(sysctlRoot, key), []byte(value), 0)
	if optional && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EROFS)) {
		return nil
	}
	if errors.Is(err, unix.EROFS) {
		return fmt.Errorf("%w; set %s=%s on the machine itself, because /proc/sys cannot be written here", err, strings.ReplaceAll(key, "/", "."), value)
	}
	return err
}
