package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/client"

	"github.com/argosy-cluster/argosy/internal/image/testimage"
	"github.com/argosy-cluster/argosy/test/bench/report"
)

// comparing measures Argosy against what people would use instead. What it does is on the page that it writes, and in
// docs/bench/README.md.
var comparing = measurement{
	name: "compare",
	want: []figure{
		{name: "50 containers to running, against docker run, 50 at a time", atMost: 1.15, unit: "×"},
		{name: "50 containers to running, against the faster Docker Compose", atMost: 1, unit: "×"},
		{name: "50 containers to running, against Swarm, names on both sides", atMost: 1, unit: "×"},
		{name: "50 containers to running, against Swarm without names", atMost: 1, unit: "×"},
	},
	run: func(ctx context.Context, b *bench, want []figure) (_ []figure, err error) {
		c := &comparison{b: b, boxes: map[string]*box{}}
		defer func() { err = errors.Join(err, c.close()) }()
		if err := c.begin(ctx); err != nil {
			return nil, err
		}
		if err := c.measure(ctx); err != nil {
			return nil, err
		}
		if err := report.WriteTable(os.Stderr, c.results); err != nil {
			return nil, err
		}
		return c.figures(want), nil
	},
}

// comparison is one run of it.
type comparison struct {
	b       *bench
	host    *client.Client
	image   string
	tools   map[string]string // to be in every machine: path there, path here
	who     []contestant
	boxes   map[string]*box // by contestant
	results report.Results
	dir     string // where the results are written
}

// begin makes everything that is needed: programs, image, machines.
func (c *comparison) begin(ctx context.Context) error {
	for _, who := range contestants() {
		if c.b.against.MatchString(who.Key) || who.argosy {
			c.who = append(c.who, who)
		}
	}
	c.dir = filepath.Join(c.b.root, ".cache", "bench")
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c.tools = map[string]string{boxRunner: self}
	if slices.ContainsFunc(c.who, func(w contestant) bool { return w.Key == "compose5" }) {
		if c.tools[compose5], err = c.b.buildCompose(ctx, c.dir); err != nil {
			return err
		}
	}
	if c.host, err = client.New(client.FromEnv); err != nil {
		return err
	}
	if c.image, err = testimage.Ensure(ctx, c.host); err != nil {
		return err
	}
	c.results = report.Results{Begun: c.b.begun.UTC().Truncate(time.Second), Sizes: c.b.sizes, Rounds: c.b.rounds, Fresh: map[string]int{}}
	for _, who := range c.who {
		c.results.Contestants = append(c.results.Contestants, who.Contestant)
		if c.boxes[who.Key], err = c.newBox(ctx, who); err != nil {
			return err
		}
	}
	c.results.Machine, err = c.describe(ctx)
	return err
}

// close removes all machines.
func (c *comparison) close() error {
	var errs []error
	for _, x := range c.boxes {
		errs = append(errs, x.down())
	}
	if c.host != nil {
		errs = append(errs, c.host.Close())
	}
	return errors.Join(errs...)
}

// measure runs every contestant with every size, in turn, and the rounds after one another. The contestant that begins is
// another each time. What there is so far is written after each run, so that an interruption loses one at most.
func (c *comparison) measure(ctx context.Context) error {
	for _, who := range c.who {
		// The first time is slower for everybody: caches are cold, images are looked at.
		if run, err := c.once(ctx, who, 1); err != nil {
			return err
		} else if run.Failed() {
			return fmt.Errorf("%s cannot run one container: %s%s", who.Title, run.Up.Failed, run.Down.Failed)
		}
	}
	turn := 0
	for round := range c.b.rounds {
		for _, n := range c.b.sizes {
			if round >= rounds(c.b.rounds, n) {
				continue
			}
			for i := range c.who {
				who := c.who[(i+turn)%len(c.who)]
				run, err := c.once(ctx, who, n)
				if err != nil {
					return err
				}
				run.Round = round + 1
				c.results.Runs = append(c.results.Runs, run)
				c.b.say("  round %d, %s, %s: %s", run.Round, plural(uint32(n), "container"), who.Title, run)
				if err := c.write(); err != nil {
					return err
				}
			}
			turn++
		}
	}
	c.b.say("  %s shows it with plots", filepath.Join(c.dir, "index.html"))
	return nil
}

// write writes everything measured so far, for programs and for people.
func (c *comparison) write() error {
	c.results.Seconds = time.Since(c.b.begun).Seconds()
	c.results.Machine.LoadAfter = load()
	return report.Write(c.dir, c.results)
}

// once lets one contestant have n containers, and no more. An error is one of measuring; what the contestant does not
// manage is in the run.
func (c *comparison) once(ctx context.Context, who contestant, n int) (report.Run, error) {
	run := report.Run{Contestant: who.Key, N: n}
	x := c.boxes[who.Key]
	o := observe(ctx, x.engine)
	defer o.close()
	if who.argosy {
		if err := x.write(fmt.Sprintf("%s/compare-%d.yaml", workDir, n), manifestText(appOf(n), c.image, n)); err != nil {
			return run, err
		}
	}
	var err error
	if run.Up, run.Command, err = c.leg(ctx, who, o, who.up(c.image, n), n, n); err != nil {
		return run, err
	}
	if run.Up.Failed == "" {
		if run.Manager, run.Dockerd, err = x.resident(who.managers); err != nil {
			return run, err
		}
		if run.Down, _, err = c.leg(ctx, who, o, who.down(c.image, n), n, 0); err != nil {
			return run, err
		}
	}
	if !run.Failed() {
		return run, settle(ctx, rest)
	}
	// What is left of it cannot be relied on, and a locked Engine not be cleaned up.
	c.b.say("  %s: %s%s; it gets a fresh machine", who.Title, run.Up.Failed, run.Down.Failed)
	c.results.Fresh[who.Key]++
	if err := x.down(); err != nil {
		return run, err
	}
	delete(c.boxes, who.Key)
	c.boxes[who.Key], err = c.newBox(ctx, who)
	if err != nil {
		delete(c.boxes, who.Key)
	}
	return run, err
}

const (
	// tail is how long after the last container's start, or end, what is done still counts as spent for it.
	tail = time.Second
	// rest is what everybody gets before the next begins.
	rest = time.Second
)

// leg runs a job and waits until the machine has want containers that run and none beside them. It returns the memory of the
// job's largest command, too.
func (c *comparison) leg(ctx context.Context, who contestant, o *observer, j job, n, want int) (report.Leg, int64, error) {
	x := c.boxes[who.Key]
	before, err := x.spent(ctx, who.managers)
	if err != nil {
		return report.Leg{}, 0, err
	}
	j.Limit = limit(n)
	type answer struct {
		outcome
		err error
	}
	done := make(chan answer, 1)
	waiting, giveUp := context.WithCancel(ctx)
	defer giveUp()
	go func() {
		out, err := x.run(ctx, j)
		if err != nil || out.Failed != "" {
			giveUp()
		}
		done <- answer{out, err}
	}()
	as := func(there, running int) bool { return there == want && running == want }
	at, waitErr := o.wait(waiting, limit(n), as)
	got := <-done
	var late *lateError
	switch {
	case got.err != nil:
		return report.Leg{}, 0, got.err
	case got.Failed != "":
		return report.Leg{Failed: got.Failed}, 0, nil
	case waitErr != nil && !errors.As(waitErr, &late):
		return report.Leg{}, 0, waitErr
	case waitErr == nil:
		if err := settle(ctx, tail); err != nil {
			return report.Leg{}, 0, err
		}
		// A container that has ended again meanwhile was not what was asked for.
		_, waitErr = o.wait(ctx, time.Second, as)
	}
	after, err := x.spent(ctx, who.managers)
	if err != nil {
		return report.Leg{}, 0, err
	}
	leg := report.Leg{
		Seconds: at.Sub(got.Begun).Seconds(), Command: got.Took.Seconds(),
		CPU:     (after.all - before.all).Seconds(),
		Manager: (after.manager - before.manager + got.CPU).Seconds(), Dockerd: (after.dockerd - before.dockerd).Seconds(),
	}
	if waitErr != nil {
		leg.Failed = waitErr.Error()
	}
	return leg, got.Peak, nil
}

// figures fills in what the project promised.
func (c *comparison) figures(want []figure) []figure {
	for i, rivals := range [][]string{{"bare"}, {"compose5", "compose1"}, {"overlay"}, {"swarm"}} {
		best, err := c.against(rivals)
		if err != nil {
			want[i].err = err
			continue
		}
		want[i].value, want[i].note = best.value, best.note
	}
	return want
}

// against is how much longer Argosy takes than the fastest of the rivals.
func (c *comparison) against(rivals []string) (figure, error) {
	ours := c.results.Summary(report.Running, "argosy", fifty)
	if ours.Count == 0 {
		return figure{}, fmt.Errorf("no run of Argosy with %d containers finished, or none was asked for", fifty)
	}
	var best figure
	for _, rival := range rivals {
		theirs := c.results.Summary(report.Running, rival, fifty)
		if theirs.Count == 0 {
			continue
		}
		if ratio := ours.Median / theirs.Median; ratio > best.value {
			best.value = ratio
			best.note = fmt.Sprintf("medians of %d: %s against %s of %s; pairs from %s", ours.Count, amount(ours.Median, "s"),
				amount(theirs.Median, "s"), rival, spread(c.results.Ratios(report.Running, "argosy", rival, fifty), "×"))
		}
	}
	if best.value == 0 {
		return figure{}, fmt.Errorf("no run of %s with %d containers finished, or none was asked for", strings.Join(rivals, " or "), fifty)
	}
	return best, nil
}
