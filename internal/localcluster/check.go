package localcluster

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"
)

// What a cluster costs the host, with room for what people run in it. Seen on
// Debian 12: the image is 0.4 GiB, an idle machine takes 40 MiB of memory and
// hardly any disk; a replica of the LAMP example takes 50 MiB of memory, and its
// images 0.5 GiB of disk on each machine.
const (
	memoryPerMachine = 512 << 20
	memoryOnce       = 512 << 20 // the server, building images
	diskPerMachine   = 3 << 29   // 1.5 GiB
	diskForImage     = 3 << 30   // while it is built: package files, root file system, import

	inotifyPerMachine = 8 // seen: systemd 5, D-Bus 1, containerd 1
)

// facts are what check needs to know of the host.
type facts struct {
	Root            bool
	Systemd         bool // systemd is the host's PID 1
	EngineAnswers   bool
	EngineError     string // why it does not answer
	EngineRemote    bool   // DOCKER_HOST names another host
	EngineElsewhere string // the socket that DOCKER_HOST names, when it is not the usual one
	EngineRootless  bool
	EngineCanLimit  bool // memory cgroup usable
	EngineOS        string
	HasDockerd      bool // dockerd and containerd are installed
	HasIptables     bool
	HasImage        bool
	HasMmdebstrap   bool
	InotifyFree     int // inotify instances that root may still make
	MemoryAvailable int64
	DiskAvailable   int64
	DiskPath        string // where DiskAvailable was measured
	ExecutableError string // why machines cannot get argosy and argosyd
}

// problems says what the host lacks for starting n more machines, a plain
// sentence each, everything at once.
func problems(f facts, n int) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if !f.Root {
		say("Local machines need root: run this as root or with sudo.")
	}
	if f.ExecutableError != "" {
		say("Machines cannot get argosy: %s.", f.ExecutableError)
	}
	switch {
	case f.EngineRemote:
		say("DOCKER_HOST names a Docker Engine on another host; local machines need one on this host: unset DOCKER_HOST.")
	case f.EngineAnswers && f.EngineRootless:
		say("The Docker Engine runs rootless and cannot run machines: use one that runs as root.")
	case f.EngineAnswers && f.EngineOS != "linux":
		say("The Docker Engine runs %s containers; machines are Linux.", f.EngineOS)
	case f.EngineAnswers && !f.EngineCanLimit:
		say("The Docker Engine cannot limit memory here: boot the kernel with the memory cgroup on (cgroup_enable=memory).")
	case f.EngineAnswers:
	case f.EngineElsewhere != "":
		say("No Docker Engine answers at %s, which DOCKER_HOST names (%s): unset DOCKER_HOST, or start the one it names.", f.EngineElsewhere, f.EngineError)
	case !f.HasDockerd:
		say("Docker Engine is not installed: apt-get install docker.io")
	case f.Systemd:
		say("Docker Engine is installed but does not answer (%s): systemctl start docker", f.EngineError)
	case !f.HasIptables:
		say("Docker Engine needs iptables, which is not installed: apt-get install iptables")
	}
	if n <= 0 {
		return out
	}
	if !f.HasImage && !f.HasMmdebstrap {
		say("The machine image is built with mmdebstrap, which is not installed: apt-get install mmdebstrap")
	}
	if need := n * inotifyPerMachine; f.InotifyFree < need {
		say("Too few inotify instances: %d more machines need about %d, and root may make %d more: sysctl fs.inotify.max_user_instances=1024", n, need, f.InotifyFree)
	}
	if need := int64(n)*memoryPerMachine + memoryOnce; f.MemoryAvailable < need {
		say("Too little memory: %d more machines need about %s, and %s is available.", n, size(need), size(f.MemoryAvailable))
	}
	need := int64(n) * diskPerMachine
	if !f.HasImage {
		need += diskForImage
	}
	if f.DiskAvailable < need {
		say("Too little disk space: %d more machines need about %s, and %s is available at %s.", n, size(need), size(f.DiskAvailable), f.DiskPath)
	}
	return out
}

func size(bytes int64) string { return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30)) }

// MissingError is what the host lacks, before anything was started.
type MissingError struct {
	Sentences []string
}

func (e *MissingError) Error() string { return strings.Join(e.Sentences, "\n") }

// Check returns a *MissingError when the host cannot run n machines in all, and
// nil when it can. It changes nothing.
func (l *Local) Check(ctx context.Context, n int) error {
	f := l.gather(ctx)
	if f.EngineAnswers && !f.EngineRemote {
		have, err := l.machines(ctx)
		if err != nil {
			return err
		}
		for _, m := range have {
			if m.Running() {
				n--
			}
		}
	}
	if s := problems(f, n); len(s) > 0 {
		return &MissingError{Sentences: s}
	}
	return nil
}

// gather looks at the host. What it cannot find out stays zero, which problems
// reports as missing.
func (l *Local) gather(ctx context.Context) facts {
	f := facts{Root: os.Geteuid() == 0, Systemd: isDir("/run/systemd/system")}
	f.HasDockerd = inPath("dockerd") && inPath("containerd")
	f.HasIptables = inPath("iptables")
	f.HasMmdebstrap = inPath("mmdebstrap")
	switch host := l.docker.DaemonHost(); {
	case !strings.HasPrefix(host, "unix://"):
		f.EngineRemote = true
	case host != "unix:///var/run/docker.sock" && host != "unix:///run/docker.sock":
		f.EngineElsewhere = host
	}
	f.InotifyFree = inotifyFree()
	if _, _, err := l.pair(); err != nil && !l.opts.Bare {
		f.ExecutableError = err.Error()
	}
	f.MemoryAvailable = memoryAvailable()
	f.DiskPath = "/var/lib/docker"
	info, err := l.docker.Info(ctx, client.InfoOptions{})
	if err != nil {
		f.EngineError = firstLine(err.Error())
	} else {
		f.EngineAnswers = true
		f.EngineOS = info.Info.OSType
		f.EngineCanLimit = info.Info.MemoryLimit
		f.DiskPath = info.Info.DockerRootDir
		for _, o := range info.Info.SecurityOptions {
			f.EngineRootless = f.EngineRootless || strings.Contains(o, "name=rootless")
		}
		_, err := l.docker.ImageInspect(ctx, l.imageRef())
		f.HasImage = err == nil
	}
	f.DiskAvailable = diskAvailable(f.DiskPath)
	return f
}

func inPath(name string) bool {
	if _, err := exec.LookPath(name); err == nil {
		return true
	}
	// sudo and su do not always carry the directories of system commands.
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if st, err := os.Stat(filepath.Join(dir, name)); err == nil && st.Mode().IsRegular() {
			return true
		}
	}
	return false
}

func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

// memoryAvailable is what the kernel believes could be used without swapping.
func memoryAvailable() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "MemAvailable:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				return 0
			}
			return kib << 10
		}
	}
	return 0
}

// inotifyFree is how many inotify instances the kernel lets root make beside
// those there are. Each is counted as root's, which nearly all are.
func inotifyFree() int {
	text, err := os.ReadFile("/proc/sys/fs/inotify/max_user_instances")
	if err != nil {
		return 0
	}
	free, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*") // an error is a bad pattern
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && to == "anon_inode:inotify" {
			free--
		}
	}
	return free
}

// diskAvailable measures at path or, while it does not exist, at the nearest
// directory above it.
func diskAvailable(path string) int64 {
	for {
		var st unix.Statfs_t
		if err := unix.Statfs(path, &st); err == nil {
			return int64(st.Bavail) * st.Bsize
		}
		if path == "/" || path == "." {
			return 0
		}
		path = filepath.Dir(path)
	}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
