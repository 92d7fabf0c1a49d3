package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sys/unix"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/manifest"
)

// The cluster that the commands are asked about: 10,000 replicas of 1,000 stacks on 1,000 machines.
const (
	playedMachines = 1000
	playedApps     = 100
	playedStacks   = 10 // of each app
	playedReplicas = 10 // of each stack
	playedAll      = playedApps * playedStacks * playedReplicas
)

var asking = measurement{
	name: "commands",
	want: []figure{
		{name: "argosy ps of 10,000 replicas, the whole command", atMost: 100, unit: "ms"},
		{name: "argosy explain of one of them, the whole command", atMost: 100, unit: "ms"},
		{name: "argosy plan of an app among them, with forecast, the whole command", atMost: 100, unit: "ms"},
		{name: "argosy plan of 1,000 stacks against 1,000 machines, with forecast, the whole command", atMost: 300, unit: "ms"},
		{name: "the same with ten replicas of each stack", unit: "ms"},
	},
	run: func(ctx context.Context, b *bench, want []figure) ([]figure, error) {
		b.say("  %d machines join", playedMachines)
		c, err := b.newPlayedCluster(ctx, playedMachines)
		if err != nil {
			return nil, err
		}
		got, err := c.ask(ctx, b, want)
		if b.keep && err == nil {
			b.say("kept until this is interrupted: export ARGOSY_SERVER=unix://%s", c.socket)
			<-ctx.Done()
		}
		if downErr := c.down(); err == nil {
			err = downErr
		}
		return got, err
	},
}

// ask fills the cluster and asks it the commands of the figures.
func (c *playedCluster) ask(ctx context.Context, b *bench, want []figure) ([]figure, error) {
	changed, one, ten := filepath.Join(c.dir, "changed.yaml"), filepath.Join(c.dir, "one.yaml"), filepath.Join(c.dir, "ten.yaml")
	for file, text := range map[string]string{
		changed: stacksText("app007", 2, playedStacks, playedReplicas+2),
		one:     stacksText("big", 1, 1000, 1),
		ten:     stacksText("big", 1, 1000, 10),
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	b.say("  %d replicas become ready", playedAll)
	for n := range playedApps {
		name := fmt.Sprintf("app%03d", n)
		s, _, faults := manifest.Parse([]manifest.File{{Name: name + ".yaml", Data: []byte(stacksText(name, 1, playedStacks, playedReplicas))}}, manifest.Options{})
		if len(faults) > 0 {
			return nil, faults.Err()
		}
		if _, err := c.apps.Apply(ctx, connect.NewRequest(&argosyv1.ApplyRequest{Spec: s})); err != nil {
			return nil, err
		}
	}
	if err := c.allReady(ctx, playedAll); err != nil {
		return nil, err
	}
	if err := settle(ctx, calm); err != nil {
		return nil, err
	}
	for i, q := range []struct {
		args  []string
		lines int // of the answer, at the least
	}{
		{[]string{"ps"}, playedAll + 1},
		{[]string{"explain", "app042/s3.7"}, 20},
		{[]string{"plan", changed}, 2 * playedStacks},
		{[]string{"plan", one}, 1000},
		{[]string{"plan", ten}, 10_000},
	} {
		if err := c.measure(ctx, b, &want[i], q.args, q.lines); err != nil {
			return nil, err
		}
	}
	return want, nil
}

// stacksText is an app of stacks of one small container each. Its image is named by a digest, as it is once it is known, so
// that nobody is asked for it: version is all that differs.
func stacksText(app string, version, stacks, replicas int) string {
	var containers, groups, cluster strings.Builder
	for n := range stacks {
		fmt.Fprintf(&containers, "  c%d:\n    image: web@sha256:%064x\n    deploy: {resources: {reservations: {cpus: \"0.%02d\", memory: %dM}}}\n", n, version, 5+n%7, 64+n%5*32)
		fmt.Fprintf(&groups, "  s%d: {containers: [c%d], placement: {spread: [machine]}}\n", n, n)
		fmt.Fprintf(&cluster, "  s%d: %d\n", n, replicas)
	}
	return fmt.Sprintf("argosy: v1\napp: %s\ncontainers:\n%sstacks:\n%scluster:\n%s", app, &containers, &groups, &cluster)
}

// measure runs a command over and over, and says what it took at the median.
func (c *playedCluster) measure(ctx context.Context, b *bench, f *figure, args []string, lines int) error {
	const repeat = 15
	var whole, start, command, server []float64
	for i := range repeat + 1 {
		_, begun, err := c.once(ctx, b, 1, args[0], "--help")
		if err != nil {
			return err
		}
		before, err := processTime(c.cmd.Process.Pid)
		if err != nil {
			return err
		}
		spent, took, err := c.once(ctx, b, lines, args...)
		if err != nil {
			return err
		}
		after, err := processTime(c.cmd.Process.Pid)
		if err != nil {
			return err
		}
		if i == 0 {
			continue // the first finds nothing in any cache
		}
		whole, start = append(whole, milliseconds(took)), append(start, milliseconds(begun))
		command, server = append(command, milliseconds(spent)), append(server, milliseconds(after-before))
	}
	f.value = median(whole)
	f.note = fmt.Sprintf("median of %d, from %s; without the %s that any command takes to start: %s; processor time: the command %s, the server %s",
		repeat, spread(whole, "ms"), amount(median(start), "ms"), amount(median(whole)-median(start), "ms"), amount(median(command), "ms"), amount(median(server), "ms"))
	return nil
}

// once runs a command, checks that it answers, and returns its processor time and how long it took.
func (c *playedCluster) once(ctx context.Context, b *bench, lines int, args ...string) (spent, took time.Duration, err error) {
	cmd := exec.CommandContext(ctx, b.binary, args...)
	cmd.Env = append(os.Environ(), "ARGOSY_SERVER=unix://"+c.socket)
	var out, failed bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &failed
	begun := time.Now()
	err = cmd.Run()
	took = time.Since(begun)
	if err != nil && cmd.ProcessState.ExitCode() != changesExit {
		return 0, 0, fmt.Errorf("argosy %s: %w\n%s", strings.Join(args, " "), err, failed.String())
	}
	if n := bytes.Count(out.Bytes(), []byte{'\n'}); n < lines {
		return 0, 0, fmt.Errorf("argosy %s wrote %d lines instead of %d or more", strings.Join(args, " "), n, lines)
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), took, nil
}

// changesExit is how plan ends when something would change.
const changesExit = 2

// processTime is what all threads of a process have used, to the nanosecond.
func processTime(pid int) (time.Duration, error) {
	const scheduled = 2 // the kernel's clock of a whole process; see clock_getcpuclockid(3)
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &t); err != nil {
		return 0, fmt.Errorf("asking for the processor time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}
