// Command argosy is everything in one binary: the command line, the server and the agent.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/argosy-cluster/argosy/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the next one kills: a command that does not end can always be stopped.
	context.AfterFunc(ctx, stop)
	code := cli.Main(ctx, os.Args[1:], cli.System())
	stop()
	os.Exit(code)
}
