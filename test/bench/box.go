package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/client"

	"github.com/argosy-cluster/argosy/internal/localcluster"
)

// box is a contestant's own machine, with an Engine of its own. The host sees the machine's files and processes below root,
// so looking costs nothing in it.
type box struct {
	local  *localcluster.Local
	host   *client.Client // the Engine that the machine is a container of
	engine *client.Client // the machine's own
	name   string         // of its container
	root   string
}

const (
	// boxMemory bounds what a machine may use; it takes nothing in advance.
	boxMemory = 8 << 30
	// boxCPUs is what Argosy's machine says it has: the least that a container can reserve is a hundredth of one.
	boxCPUs = "16"
	// boxRunner is this program in the machine.
	boxRunner = "/usr/local/bin/bench-inside"
)

// newBox boots a fresh machine. What an earlier run left of it is removed first.
func (c *comparison) newBox(ctx context.Context, who contestant) (*box, error) {
	cluster := c.b.name + "-" + who.Key
	c.b.say("  a machine for %s", who.Title)
	local, err := localcluster.New(localcluster.Options{
		Name: cluster, Binary: c.b.binary, Memory: boxMemory, CPUs: boxCPUs, Packages: comparePackages, Bare: !who.argosy,
		Progress: func(e localcluster.Event) {
			if e.Took == 0 && strings.HasPrefix(e.Text, "build") { // all else is quick
				c.b.say("  %s", e.Text)
			}
		},
	})
	if err != nil {
		return nil, err
	}
	x := &box{local: local, host: c.host}
	if err := local.Down(ctx, localcluster.DownOptions{}); err != nil {
		return nil, errors.Join(err, local.Close())
	}
	have, err := local.Up(ctx, 1)
	if err == nil {
		err = x.open(ctx, have.Machines[0].Container, c.tools)
	}
	if err == nil {
		err = who.prepare(ctx, x, c.image)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the machine of %s: %w", who.Title, err), x.down())
	}
	return x, nil
}

// open finds the machine's files and Engine, and puts the tools into it.
func (x *box) open(ctx context.Context, container string, tools map[string]string) error {
	x.name = container
	res, err := x.host.ContainerInspect(ctx, container, client.ContainerInspectOptions{})
	if err != nil {
		return err
	}
	if res.Container.State == nil || res.Container.State.Pid == 0 {
		return fmt.Errorf("%s does not run", container)
	}
	x.root = fmt.Sprintf("/proc/%d/root", res.Container.State.Pid)
	if x.engine, err = client.New(client.WithHost("unix://" + x.root + "/run/docker.sock")); err != nil {
		return err
	}
	if err := os.MkdirAll(x.root+workDir, 0o755); err != nil {
		return err
	}
	for to, from := range tools {
		data, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := os.WriteFile(x.root+to, data, 0o755); err != nil {
			return fmt.Errorf("put %s into %s: %w", filepath.Base(to), container, err)
		}
	}
	return nil
}

// down removes the machine with everything in it, also when the measuring was interrupted.
func (x *box) down() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	err := x.local.Down(ctx, localcluster.DownOptions{})
	if x.engine != nil {
		err = errors.Join(err, x.engine.Close())
	}
	return errors.Join(err, x.local.Close())
}

// write puts a small file into the machine.
func (x *box) write(path, text string) error {
	return os.WriteFile(x.root+path, []byte(text), 0o644)
}

// sh runs a shell command in the machine.
func (x *box) sh(ctx context.Context, command string) error {
	out, err := x.local.Exec(ctx, machineName, "sh", "-c", command)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// run runs a job in the machine.
func (x *box) run(ctx context.Context, j job) (outcome, error) {
	arg, err := json.Marshal(j)
	if err != nil {
		return outcome{}, err
	}
	raw, err := x.local.Exec(ctx, machineName, boxRunner, "-inside", string(arg))
	if err != nil {
		return outcome{}, err
	}
	var out outcome
	if err := json.Unmarshal(raw, &out); err != nil {
		return outcome{}, fmt.Errorf("%s told no outcome: %w", boxRunner, err)
	}
	return out, nil
}

// spent is what has been used so far.
type spent struct {
	all, manager, dockerd time.Duration
}

// spent returns the processor time of everything in the machine, and the parts of it that tell something.
func (x *box) spent(ctx context.Context, managers []string) (spent, error) {
	res, err := x.host.ContainerStats(ctx, x.name, client.ContainerStatsOptions{})
	if err != nil {
		return spent{}, err
	}
	defer res.Body.Close()
	var stats struct {
		CPU struct {
			Usage struct {
				Total uint64 `json:"total_usage"`
			} `json:"cpu_usage"`
		} `json:"cpu_stats"`
	}
	if err := json.NewDecoder(res.Body).Decode(&stats); err != nil {
		return spent{}, fmt.Errorf("what %s has used so far: %w", x.name, err)
	}
	s := spent{all: time.Duration(stats.CPU.Usage.Total)}
	if s.all == 0 {
		return spent{}, fmt.Errorf("the Engine does not account for processor time: boot the kernel with the cpuacct cgroup on")
	}
	processes, err := x.processes()
	if err != nil {
		return spent{}, err
	}
	for _, p := range processes {
		raw, err := os.ReadFile(p.dir + "/stat")
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return spent{}, err
		}
		_, used, err := parseStat(string(raw))
		if err != nil {
			return spent{}, err
		}
		switch {
		case p.name == "dockerd":
			s.dockerd += used
		case slices.Contains(managers, p.name):
			s.manager += used
		}
	}
	return s, nil
}

// resident returns how many bytes of memory are the managers' and how many dockerd's. Pages that several processes share
// count in parts.
func (x *box) resident(managers []string) (manager, dockerd int64, err error) {
	processes, err := x.processes()
	if err != nil {
		return 0, 0, err
	}
	for _, p := range processes {
		if p.name != "dockerd" && !slices.Contains(managers, p.name) {
			continue
		}
		raw, err := os.ReadFile(p.dir + "/smaps_rollup")
		if err != nil {
			return 0, 0, err
		}
		n, err := parsePss(string(raw))
		if err != nil {
			return 0, 0, fmt.Errorf("memory of %s: %w", p.name, err)
		}
		if p.name == "dockerd" {
			dockerd += n
		} else {
			manager += n
		}
	}
	return manager, dockerd, nil
}

func parsePss(text string) (int64, error) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 3 && f[0] == "Pss:" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			return kib * 1024, err
		}
	}
	return 0, errors.New("smaps_rollup says nothing of proportional memory")
}

// inBox is a process of a machine.
type inBox struct {
	name string // the kernel's: at most 15 bytes
	dir  string
}

func (x *box) processes() ([]inBox, error) {
	names, err := filepath.Glob(x.root + "/proc/[0-9]*/comm")
	if err != nil {
		return nil, err
	}
	var out []inBox
	for _, path := range names {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		out = append(out, inBox{strings.TrimSpace(string(raw)), filepath.Dir(path)})
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has no processes", x.name)
	}
	return out, nil
}
