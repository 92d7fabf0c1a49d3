package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const sysctlRoot = "/proc/sys"

// readSysctls reads those that Decide looks at; a key that this kernel or
// machine does not have is left out.
func readSysctls(cfg Config) map[string]string {
	keys := []string{
		"net/ipv4/ip_forward",
		"net/ipv4/conf/" + cfg.DeviceName + "/forwarding",
		"net/ipv4/conf/" + cfg.BridgeName + "/forwarding",
		"net/ipv6/conf/" + cfg.DeviceName + "/disable_ipv6",
	}
	out := make(map[string]string, len(keys))
	for _, k := range keys {
		if b, err := os.ReadFile(filepath.Join(sysctlRoot, k)); err == nil {
			out[k] = strings.TrimSpace(string(b))
		}
	}
	return out
}

func writeSysctl(key, value string, optional bool) error {
	err := os.WriteFile(filepath.Join(sysctlRoot, key), []byte(value), 0)
	if optional && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("%w; set %s=%s on the machine itself, because /proc/sys cannot be written here", err, strings.ReplaceAll(key, "/", "."), value)
	}
	return err
}
