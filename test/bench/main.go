package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/argosy-cluster/argosy/test/bench/report"
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
	return []measurement{helping, parsing, placing, starting, serverIdle, losingLeader, losingMachine, restoring, asking, applying, fiftyContainers, agentIdle, startingUnits, comparing}
}

// bench is what measurements share.
type bench struct {
	root   string // of the repository
	binary string // the argosy to measure
	name   string // of the local cluster
	begun  time.Time
	keep   bool
	// sizes, rounds and against are the comparison's: how many containers, how often, and which contestants beside Argosy.
	sizes   []int
	rounds  int
	against *regexp.Regexp
	units   int      // how many systemd units are started
	m       *machine // nil until one is needed; release removes it
}

func main() {
	only := flag.String("only", "", "measure only what matches this regular expression: "+strings.Join(names(), ", "))
	binary := flag.String("argosy", "bin/argosy", "the argosy to measure, with argosyd beside it")
	b := &bench{begun: time.Now()}
	flag.BoolVar(&b.keep, "keep", false, "leave the local cluster, and that of commands until this is interrupted")
	flag.StringVar(&b.name, "cluster", "bench", "name of the local cluster to make and remove")
	sizes := flag.String("sizes", "1,10,50,200", "compare with these numbers of containers")
	flag.IntVar(&b.rounds, "rounds", 3, "compare this often")
	flag.IntVar(&b.units, "units", 2250, "start this many systemd units")
	against := flag.String("against", "", "compare Argosy only with what matches this regular expression")
	render := flag.String("render", "", "measure nothing; write the page and the tables of this results.json beside it")
	insideJob := flag.String("inside", "", "what this program does in a machine, where it copies itself to")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := 0, error(nil)
	switch {
	case *insideJob != "":
		err = inside(ctx, *insideJob)
	case *render != "":
		err = renderAgain(*render)
	default:
		if err = b.options(*binary, *sizes, *against); err == nil {
			code, err = b.run(ctx, *only)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// options takes in what the command line says and flag cannot check.
func (b *bench) options(binary, sizes, against string) (err error) {
	if b.binary, err = filepath.Abs(binary); err != nil {
		return err
	}
	if b.root, err = findRoot(); err != nil {
		return err
	}
	if b.against, err = regexp.Compile(against); err != nil {
		return fmt.Errorf("-against: %w", err)
	}
	if b.rounds < 1 || b.rounds > 100 {
		return fmt.Errorf("-rounds is %d and must be from 1 to 100", b.rounds)
	}
	if b.units < 1 || b.units > 10_000 {
		return fmt.Errorf("-units is %d and must be from 1 to 10000", b.units)
	}
	for field := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(field))
		if err != nil || n < 1 || n > 250 {
			return fmt.Errorf("-sizes: %q is not a number of containers from 1 to 250, which is what one machine has addresses for", field)
		}
		b.sizes = append(b.sizes, n)
	}
	return nil
}

// renderAgain writes the page and the tables of results that are there.
func renderAgain(path string) error {
	results, err := report.Read(path)
	if err != nil {
		return err
	}
	return report.Write(filepath.Dir(path), results)
}

func names() []string {
	var out []string
	for _, m := range measurements() {
		out = append(out, m.name)
	}
	return out
}

func (b *bench) run(ctx context.Context, only string) (code int, err error) {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return 64, fmt.Errorf("-only: %w", err)
	}
	before := load()
	figures := b.measure(ctx, pattern)
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
func (b *bench) measure(ctx context.Context, pattern *regexp.Regexp) []figure {
	defer func() {
		if err := b.release(); err != nil {
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
func (b *bench) release() error {
	if b.m == nil {
		return nil
	}
	if b.keep {
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
