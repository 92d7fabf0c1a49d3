package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

var starting = measurement{
	name: "server-start",
	want: []figure{{name: "argosy server on an empty directory, until it accepts an apply", atMost: 2, unit: "s"}},
	run: func(ctx context.Context, b *bench, want []figure) ([]figure, error) {
		const repeat = 5
		var times []float64
		for range repeat {
			took, err := b.startServer(ctx)
			if err != nil {
				return nil, err
			}
			times = append(times, took.Seconds())
		}
		want[0].value = median(times)
		want[0].note = fmt.Sprintf("median of %d starts, from %s", repeat, spread(times, "s"))
		return want, nil
	},
}

// startServer starts a server in an empty directory, applies until one apply is accepted, and ends the server.
func (b *bench) startServer(ctx context.Context) (took time.Duration, err error) {
	dir, err := os.MkdirTemp("", "argosy-bench-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	port, err := freePort()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	socket := filepath.Join(dir, "server.sock")
	address := fmt.Sprintf("127.0.0.1:%d", port)
	var log bytes.Buffer
	cmd := exec.CommandContext(ctx, b.binary, "server", "--data-dir", filepath.Join(dir, "data"), "--listen", address, "--advertise", address, "--socket", socket)
	cmd.Stderr = &log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	// Nobody has this image. A closed port says so at once, and accepting an app does not need its images.
	s, err := spec("first", "127.0.0.1:1/none:1", 1)
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() {
		cancel()
		<-ended
	}()
	client := apps("unix://" + socket)
	pause := time.NewTicker(2 * time.Millisecond)
	defer pause.Stop()
	for {
		_, err := client.Apply(ctx, connect.NewRequest(&argosyv1.ApplyRequest{Spec: s}))
		if err == nil {
			return time.Since(begun), nil
		}
		if connect.CodeOf(err) != connect.CodeUnavailable {
			return 0, fmt.Errorf("the server refused the app: %w", err)
		}
		select {
		case end := <-ended:
			ended <- end
			return 0, fmt.Errorf("the server ended: %w\n%s", errors.Join(end, ctx.Err()), log.String())
		case <-pause.C:
		}
	}
}

// freePort returns a port that nobody listens on now.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
