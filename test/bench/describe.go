package main

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"strings"

	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"github.com/argosy-cluster/argosy/test/bench/report"
)

// loadImage lets the machine's Engine have the image that the host's has.
func loadImage(ctx context.Context, x *box, image string) error {
	archive, err := x.host.ImageSave(ctx, []string{image})
	if err != nil {
		return err
	}
	defer archive.Close()
	res, err := x.engine.ImageLoad(ctx, archive)
	if err != nil {
		return err
	}
	defer res.Close()
	for s := bufio.NewScanner(res); s.Scan(); { // to its end: then it is loaded
	}
	_, err = x.engine.ImageInspect(ctx, image)
	return err
}

// describe says what it is measured on.
func (c *comparison) describe(ctx context.Context) (report.Machine, error) {
	info, err := c.boxes["argosy"].engine.Info(ctx, client.InfoOptions{})
	if err != nil {
		return report.Machine{}, err
	}
	m := report.Machine{
		CPUs: int(cpus()), CPU: cpuModel(), Memory: info.Info.MemTotal, Kernel: info.Info.KernelVersion,
		Engine: info.Info.ServerVersion, Storage: info.Info.Driver, OS: info.Info.OperatingSystem, Cgroups: info.Info.CgroupVersion, LoadBefore: load(),
	}
	var host unix.Sysinfo_t
	if err := unix.Sysinfo(&host); err == nil {
		m.Memory = int64(host.Totalram) * int64(host.Unit)
	}
	out, err := exec.CommandContext(ctx, "git", "-C", c.b.root, "describe", "--tags", "--always").Output()
	if err == nil {
		m.Argosy = strings.TrimSpace(string(out))
	}
	return m, nil
}

// cpuModel is the processor's name, empty where the kernel does not tell it.
func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
