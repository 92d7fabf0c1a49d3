package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// measurement is one way of measuring, and the figures that it gives. It returns as many figures as it has in want, in their
// order: those that it was given, filled in.
type measurement struct {
	name string
	want []figure
	run  func(ctx context.Context, b *bench, want []figure) ([]figure, error)
	// machine says that it needs the machine in a container.
	machine bool
}

func measurements() []measurement {
	return []measurement{helping, parsing, placing, starting, serverIdle, applying, fiftyContainers, agentIdle}
}

// bench is what measurements share.
type bench struct {
	root   string // of the repository
	binary string // the argosy to measure
	name   string // of the local cluster
	begun  time.Time
	m      *machine // nil until one is needed; release removes it
}

func main() {
	only := flag.String("only", "", "measure only what matches this regular expression: "+strings.Join(names(), ", "))
	binary := flag.String("argosy", "bin/argosy", "the binary to measure")
	name := flag.String("cluster", "bench", "name of the local cluster to make and remove")
	keep := flag.Bool("keep", false, "leave the local cluster running")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := run(ctx, *only, *binary, *name, *keep)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	os.Exit(code)
}

func names() []string {
	var out []string
	for _, m := range measurements() {
		out = append(out, m.name)
	}
	return out
}

func run(ctx context.Context, only, binary, name string, keep bool) (code int, err error) {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return 64, fmt.Errorf("-only: %w", err)
	}
	b := &bench{name: name, begun: time.Now()}
	if b.binary, err = filepath.Abs(binary); err != nil {
		return 1, err
	}
	if b.root, err = findRoot(); err != nil {
		return 1, err
	}
	before := load()
	figures := b.measure(ctx, pattern, keep)
	if len(figures) == 0 {
		return 64, fmt.Errorf("-only %q matches none of %s", only, strings.Join(names(), ", "))
	}
	fmt.Println()
	if err := writeTable(os.Stdout, figures); err != nil {
		return 1, err
	}
	fmt.Printf("\n%s of this host; load average %s before and %s after; %.0f s in all.\n", plural(cpus(), "cpu"), before, load(), time.Since(b.begun).Seconds())
	if ctx.Err() != nil {
		return 130, fmt.Errorf("interrupted")
	}
	for _, f := range figures {
		if f.verdict() == notMeasured {
			return 1, fmt.Errorf("not everything could be measured; the table says why")
		}
	}
	return 0, nil
}

// measure makes all measurements that match, one after the other, and returns all their figures.
func (b *bench) measure(ctx context.Context, pattern *regexp.Regexp, keep bool) []figure {
	defer func() {
		if err := b.release(keep); err != nil {
			b.say("the local cluster could not be removed: %v", err)
		}
	}()
	var figures []figure
	var machineErr error
	for _, m := range measurements() {
		if !pattern.MatchString(m.name) {
			continue
		}
		b.say("%s", m.name)
		if m.machine && b.m == nil && machineErr == nil {
			if machineErr = b.newMachine(ctx); machineErr != nil {
				machineErr = fmt.Errorf("there is no machine to measure on: %w", machineErr)
			}
		}
		if m.machine && machineErr != nil {
			figures = append(figures, unmeasured(m.want, machineErr)...)
			continue
		}
		got, err := m.run(ctx, b, append([]figure(nil), m.want...))
		if err != nil {
			got = unmeasured(m.want, err)
		}
		for _, f := range got {
			b.say("  %s: %s %s", f.name, f.measured(), f.verdict())
		}
		figures = append(figures, got...)
	}
	return figures
}

// release removes the local cluster, also when the measuring was interrupted.
func (b *bench) release(keep bool) error {
	if b.m == nil {
		return nil
	}
	if keep {
		b.say("kept: export ARGOSY_SERVER=%s", b.m.server)
		return nil
	}
	b.say("remove the machine")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return b.m.down(ctx)
}

// say tells of progress.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6.1fs  %s\n", time.Since(b.begun).Seconds(), fmt.Sprintf(format, args...))
}

// findRoot returns the directory of go.mod, here or above.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("run this inside the repository: there is no go.mod here or above")
		}
	}
}

// load is the host's load average of the last minute.
func load() string {
	raw, err := os.ReadFile("/proc/loadavg")
	if fields := strings.Fields(string(raw)); err == nil && len(fields) > 0 {
		return fields[0]
	}
	return "unknown"
}
