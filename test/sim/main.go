// Command sim plays lives of clusters in virtual time, as package internal/sim makes them of seeds, until their number or the
// time is up, and reports what broke and which pairs of faults there were.
//
//	go run ./test/sim -seeds 100000
//	go run ./test/sim -minutes 30 -resume        # goes on after the last seed, and adds up
//
// Exit code 1: an invariant was broken; the report says how to play that seed again.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/argosy-cluster/argosy/internal/manifest"
	"github.com/argosy-cluster/argosy/internal/sim"
)

var (
	seeds   = flag.Int("seeds", 0, "how many seeds to play; 0: as many as the time allows")
	minutes = flag.Float64("minutes", 0, "for how long; 0: until the seeds are played")
	from    = flag.Uint64("from", 1, "the first seed")
	workers = flag.Int("workers", runtime.GOMAXPROCS(0), "how many clusters to play at a time")
	out     = flag.String("out", "", "directory for the report (sim.txt) and what -resume needs (sim.json)")
	resume  = flag.Bool("resume", false, "go on where the last run into -out ended: with the next seed, and its figures")
)

// gcPercent lets the heap grow to some 100 MB before it is collected: a life's own memory is small, and it makes garbage all the time,
// so that with Go's default of 100 a third of the time went into collecting.
const gcPercent = 800

// state is what a run leaves for the next one.
type state struct {
	Next   uint64
	Result sim.Result
}

func main() {
	flag.Parse()
	debug.SetGCPercent(gcPercent)
	whole, err := run()
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	case !whole:
		os.Exit(1)
	}
}

// run plays, and reports whether nothing broke.
func run() (whole bool, err error) {
	if *seeds <= 0 && *minutes <= 0 {
		return false, errors.New("say how much: -seeds n or -minutes n")
	}
	st, err := earlier()
	if err != nil {
		return false, err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if *minutes > 0 {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(*minutes*float64(time.Minute)))
		defer cancel()
	}
	r := sim.Campaign{Config: sim.Config{Seed: st.Next, Diff: manifest.Diff}, Seeds: *seeds, Workers: *workers, Done: progress()}.Run(ctx)
	st.Next += uint64(r.Seeds)
	st.Result.Add(&r.Tally)
	st.Result.Broken = append(st.Result.Broken, r.Broken...)
	text, err := report(&st)
	if err != nil {
		return false, err
	}
	fmt.Print(text)
	return len(st.Result.Broken) == 0, leave(st, text)
}

// earlier is what the last run left, when this one is to go on.
func earlier() (state, error) {
	st := state{Next: *from}
	if !*resume {
		return st, nil
	}
	raw, err := os.ReadFile(filepath.Join(*out, "sim.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return st, nil
	}
	if err != nil {
		return st, err
	}
	if err := json.Unmarshal(raw, &st); err != nil {
		return st, fmt.Errorf("%s is not what a run leaves: remove it, or do without -resume: %w", filepath.Join(*out, "sim.json"), err)
	}
	return st, nil
}

// leave writes the report, and what the next run needs.
func leave(st state, text string) error {
	if *out == "" {
		return nil
	}
	raw, err := json.Marshal(st)
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(*out, 0o755), os.WriteFile(filepath.Join(*out, "sim.txt"), []byte(text), 0o644),
		os.WriteFile(filepath.Join(*out, "sim.json"), raw, 0o644))
}

// progress says at once what broke, and now and then how far it is.
func progress() func(*sim.Result, *sim.Breach) {
	began, told := time.Now(), time.Now()
	return func(r *sim.Result, b *sim.Breach) {
		if b != nil {
			fmt.Printf("seed %d: %s\n  again: %s\n", b.Seed, strings.Join(b.What, "\n  "), b.Replay())
		}
		if time.Since(told) > 10*time.Second {
			told = time.Now()
			fmt.Printf("%6s: %d seeds, %.1f a second, %d broken\n", time.Since(began).Round(time.Second), r.Seeds,
				float64(r.Seeds)/time.Since(began).Seconds(), len(r.Broken))
		}
	}
}

func report(st *state) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nhow often each began, and how often two were in force at once:\n", &st.Result)
	if err := st.Result.Table(&b); err != nil {
		return "", err
	}
	for _, br := range st.Result.Broken {
		fmt.Fprintf(&b, "\nseed %d: %s\n  again: %s\n", br.Seed, strings.Join(br.What, "\n  "), br.Replay())
	}
	return b.String(), nil
}
