// Command argosy-guard keeps a machine's leases of shared volumes, and ends in time what runs without one. It is a process of its
// own, and a small one, so that nothing that befalls the agent or the Engine takes it along.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	"github.com/argosy-cluster/argosy/internal/guard/slice"
	"github.com/argosy-cluster/argosy/internal/version"
)

const usage = `argosy-guard keeps a machine's leases of shared volumes, and ends in time what runs without one.

  argosy-guard --dir /var/lib/argosy/guard --state /run/argosy-guard

The agent speaks to it at guard.sock in --state, and tells it whom to ask. It ends at SIGTERM, and stops nothing then: another one has to
go on soon, or the machine is reset when the leases run out.

  argosy-guard --leave
  argosy-guard --remain

speak to the guard that runs: with --leave it gives everything back, since the machine is about to be shut down, and takes nothing more
until --remain or the next boot. --leave ends when that is done, with code 1 if it could not be.

`

type options struct {
	dir, state, watchdog, reset, family string
	leave, remain                       bool
	patience                            time.Duration
}

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	cancel()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "argosy-guard:", err)
		os.Exit(1)
	}
}

// errUsage: what is wrong with the command line was said already.
var errUsage = errors.New("usage")

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("argosy-guard", flag.ContinueOnError)
	f.Usage = func() {
		fmt.Fprint(f.Output(), usage)
		f.PrintDefaults()
	}
	var o options
	f.StringVar(&o.dir, "dir", "/var/lib/argosy/guard", "`directory` for the key")
	f.StringVar(&o.state, "state", "/run/argosy-guard", "`directory` on tmpfs for what must outlive this process and not the boot; volumes are mounted below it")
	f.StringVar(&o.watchdog, "watchdog", "auto", "`device` that resets the machine should this process fail; auto, or off")
	f.StringVar(&o.reset, "reset", "kernel", "what resets the machine: kernel, or a `program`, which gets the reason as its argument")
	f.StringVar(&o.family, "slices", slice.Family, "`name` of the slice that claims' are below; where several guards share a machine, one for each")
	f.BoolVar(&o.leave, "leave", false, "have the guard that runs give everything back, and wait for that")
	f.BoolVar(&o.remain, "remain", false, "have it take volumes again")
	f.DurationVar(&o.patience, "patience", time.Minute, "with --leave: `time` for the agent to stop what runs, before it is killed")
	show := f.Bool("version", false, "show the version")
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return errUsage
	}
	if *show {
		fmt.Println("argosy-guard", version.Version)
		return nil
	}
	if f.NArg() > 0 {
		fmt.Fprintf(f.Output(), "argosy-guard: nothing beside flags is understood: %q\nRun 'argosy-guard --help' to see how it is used.\n", f.Args())
		return errUsage
	}
	switch {
	case o.leave && o.remain || o.patience < 0:
		fmt.Fprint(f.Output(), "argosy-guard: --leave or --remain, not both, and --patience is not negative\nRun 'argosy-guard --help' to see how it is used.\n")
		return errUsage
	case o.leave:
		return leave(ctx, o)
	case o.remain:
		return order(ctx, o, &leasev1.GuardOrder{Order: &leasev1.GuardOrder_Remain{Remain: &leasev1.Remain{}}}, stays)
	}
	return serve(ctx, o, slog.New(slog.NewTextHandler(os.Stderr, nil)))
}
