// Command argosy-witness stands beside a server and keeps the lease table: which machine may write which shared volume, and when
// it was heard last. It is a process of its own, and a small one, so that nothing that befalls the server takes it along.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/lease"
	"github.com/argosy-cluster/argosy/internal/version"
	"github.com/argosy-cluster/argosy/internal/witness"
)

const usage = `argosy-witness keeps a server's lease table: which machine may write which shared volume.

  argosy-witness --server-dir /var/lib/argosy/server
  argosy-witness --server-id 6f1c… --dir /var/lib/argosy/witness --listen :7402 --socket /run/argosy/witness.sock

With --server-dir it takes the id and the timing from the server, for which it waits, and keeps its table below that directory.

The guards of machines speak to it at --listen, and the server beside it at --socket. It ends at SIGTERM; a guard does not notice
when it is back before its leases run out.

`

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	cancel()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "argosy-witness:", err)
		os.Exit(1)
	}
}

// errUsage: what is wrong with the command line was said already.
var errUsage = errors.New("usage")

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("argosy-witness", flag.ContinueOnError)
	f.Usage = func() {
		fmt.Fprint(f.Output(), usage)
		f.PrintDefaults()
	}
	serverDir := f.String("server-dir", "", "`directory` of the server beside it")
	id := f.String("server-id", "", "`id` of the server beside it, instead of --server-dir")
	dir := f.String("dir", "", "`directory` for the table and the key (default: witness below --server-dir, or /var/lib/argosy/witness)")
	listen := f.String("listen", ":7402", "`address` for guards")
	socket := f.String("socket", "/run/argosy/witness.sock", "`path` of the socket for the server")
	timing := f.String("timing", "default", "the cluster's timing: default, fast or safe")
	show := f.Bool("version", false, "show the version")
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return errUsage
	}
	if *show {
		fmt.Println("argosy-witness", version.Version)
		return nil
	}
	if (*id == "") == (*serverDir == "") || f.NArg() > 0 {
		fmt.Fprintf(f.Output(), "argosy-witness: either --server-dir or --server-id is needed, and nothing beside flags is understood: %q\nRun 'argosy-witness --help' to see how it is used.\n", f.Args())
		return errUsage
	}
	if *serverDir != "" {
		b, err := beside(ctx, *serverDir)
		if err != nil {
			return err
		}
		*id, *timing = b.Server, b.Timing
	}
	if *dir == "" {
		*dir = "/var/lib/argosy/witness"
		if *serverDir != "" {
			*dir = filepath.Join(*serverDir, "witness")
		}
	}
	profile, err := claims.Named(*timing)
	if err != nil {
		return err
	}
	return serve(ctx, witness.Config{Dir: *dir, ID: claims.Witness(*id), Profile: profile,
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}, *listen, *socket)
}

// beside waits until the server has said who it is.
func beside(ctx context.Context, dir string) (lease.Beside, error) {
	for said := false; ; said = true {
		b, err := lease.ReadBeside(dir)
		if !errors.Is(err, fs.ErrNotExist) {
			return b, err
		}
		if !said {
			fmt.Fprintln(os.Stderr, "argosy-witness: waiting for the server to begin in", dir)
		}
		select {
		case <-ctx.Done():
			return b, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func serve(ctx context.Context, cfg witness.Config, listen, socket string) error {
	w, err := witness.Open(cfg)
	if err != nil {
		return err
	}
	defer w.Close()
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		return err
	}
	server, err := witness.Listen(socket)
	if err != nil {
		return err
	}
	guards, err := net.Listen("tcp", listen)
	if err != nil {
		return errors.Join(err, server.Close())
	}
	cfg.Log.Info("ready", "guards", guards.Addr(), "server", socket, "key", w.Key(), "timing", cfg.Profile.Name)
	return w.Run(ctx, guards, server)
}
