package localcluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/moby/moby/client"
)

// Where a Docker Engine started by hand is remembered and writes its logs.
const (
	engineFile   = runDir + "/engine.json"
	engineLogDir = "/var/log/argosy-local"
)

// engineRecord says which processes of the host's Engine this package started.
type engineRecord struct {
	Containerd process `json:"containerd,omitzero"` // zero when one ran already
	Dockerd    process `json:"dockerd"`
}

// process is one process for good: a pid is used again, a pid with its start
// time is not.
type process struct {
	Pid   int    `json:"pid"`
	Start string `json:"start"` // field 22 of /proc/<pid>/stat
}

// ensureEngine starts containerd and dockerd when no Engine answers. The caller
// has checked that systemd is not there to do it and that both are installed.
func (l *Local) ensureEngine(ctx context.Context) error {
	if _, err := l.docker.Ping(ctx, client.PingOptions{}); err == nil {
		return nil
	}
	return l.step("", "start a Docker Engine by hand", func() error {
		if err := os.MkdirAll(engineLogDir, 0o755); err != nil {
			return err
		}
		var rec engineRecord
		const containerdSocket = "/run/containerd/containerd.sock"
		if !answers(containerdSocket) {
			p, err := startDaemon("containerd")
			if err != nil {
				return err
			}
			rec.Containerd = p
			if err := rec.save(); err != nil {
				return err
			}
			if err := poll(ctx, 30*time.Second, func(context.Context) error {
				if !answers(containerdSocket) {
					return p.ifGone("containerd")
				}
				return nil
			}); err != nil {
				return err
			}
		}
		p, err := startDaemon("dockerd", "--containerd="+containerdSocket)
		if err != nil {
			return err
		}
		rec.Dockerd = p
		if err := rec.save(); err != nil {
			return err
		}
		return poll(ctx, 60*time.Second, func(ctx context.Context) error {
			if _, err := l.docker.Ping(ctx, client.PingOptions{}); err != nil {
				return p.ifGone("dockerd")
			}
			return nil
		})
	})
}

// startDaemon starts name in a session of its own, so that it outlives this
// process and its terminal.
func startDaemon(name string, args ...string) (process, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		path = filepath.Join("/usr/sbin", name)
	}
	log, err := os.OpenFile(daemonLog(name), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return process{}, err
	}
	defer log.Close()
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return process{}, err
	}
	start := startTime(cmd.Process.Pid)
	// Reap it if it ends while this process still runs, or it would look alive.
	go cmd.Wait() //nolint:errcheck // its end is seen by ifGone
	return process{Pid: cmd.Process.Pid, Start: start}, nil
}

func daemonLog(name string) string { return filepath.Join(engineLogDir, name+".log") }

// ifGone returns a final error when the process ended, and errNotYet otherwise.
func (p process) ifGone(name string) error {
	if p.alive() {
		return errNotYet
	}
	return fmt.Errorf("%s ended at once; the reason is in %s", name, daemonLog(name))
}

func (p process) alive() bool { return p.Pid > 0 && p.Start != "" && startTime(p.Pid) == p.Start }

// end asks the process to stop and waits for it.
func (p process) end(ctx context.Context) error {
	if !p.alive() {
		return nil
	}
	if err := syscall.Kill(p.Pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return poll(ctx, 30*time.Second, func(context.Context) error {
		if p.alive() {
			return errNotYet
		}
		return nil
	})
}

// startTime returns when the process began, in the kernel's ticks, or "" when
// there is none or it is a zombie.
func startTime(pid int) string {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return ""
	}
	// The command's name is in parentheses and may hold anything, so count from
	// the last one: state is field 3, the start time field 22.
	_, rest, ok := strings.Cut(string(stat[max(0, strings.LastIndexByte(string(stat), ')')):]), " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 || fields[0] == "Z" {
		return ""
	}
	return fields[19]
}

func (r engineRecord) save() error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(engineFile, data, 0o644)
}

// endEngine stops the Engine if this package started it and nothing else runs
// in it.
func (l *Local) endEngine(ctx context.Context) error {
	data, err := os.ReadFile(engineFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var rec engineRecord
	if err := json.Unmarshal(data, &rec); err != nil {
		return fmt.Errorf("%s is damaged; stop dockerd and containerd yourself and remove it: %w", engineFile, err)
	}
	if rec.Dockerd.alive() {
		info, err := l.docker.Info(ctx, client.InfoOptions{})
		if err != nil {
			return fmt.Errorf("ask the Docker Engine what runs in it: %w", err)
		}
		if n := info.Info.ContainersRunning; n > 0 {
			l.say(Event{Text: fmt.Sprintf("the Docker Engine goes on running: %d other containers run in it", n)})
			return nil
		}
	}
	return l.step("", "stop the Docker Engine that was started by hand", func() error {
		if err := rec.Dockerd.end(ctx); err != nil {
			return err
		}
		if err := rec.Containerd.end(ctx); err != nil {
			return err
		}
		if err := os.RemoveAll(engineLogDir); err != nil {
			return err
		}
		return os.Remove(engineFile)
	})
}
