package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/flow"
)

func (a *app) portForwardCmd() *cobra.Command {
	var addresses []string
	cmd := &cobra.Command{
		Use:   "port-forward APP/STACK[.NUMBER][/CONTAINER] [LOCAL:]REMOTE...",
		Short: "Make a port of a container reachable here, through the server",
		Long: `Make a port of a container reachable here, through the server. No port of the machine is opened.

LOCAL is the port here: the same as REMOTE when it is left out, and any free one when it is empty or 0. What listens on the
container's loopback interface only is reached too. The container may be left out where the replica has only one, or only
one that declares the port with expose or ports.

With a stack instead of a replica, each connection goes to one of its replicas that is ready then. A connection that cannot
be made is reported, and ends nothing else. TCP only. It goes on until it is interrupted.`,
		Example: `  argosy port-forward shop/lamp.3/apache 8080:80
  argosy port-forward shop/lamp 8080:80
  argosy port-forward shop/lamp.1/mysql 3306
  argosy port-forward shop/lamp.3/apache :80 -o name`,
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: a.completeTargets,
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := parseTarget(args[0])
			if err != nil {
				return err
			}
			if t.stack == "" {
				return usageError("%q is an app: name a stack or a replica of it, for example %s/lamp.1", args[0], args[0])
			}
			ports := make([]forwardedPort, len(args)-1)
			for i, arg := range args[1:] {
				if ports[i], err = parsePorts(arg); err != nil {
					return err
				}
			}
			hosts, err := parseHosts(addresses)
			if err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			return (&forwarder{app: a, c: c, target: t}).run(cmd.Context(), hosts, ports)
		},
	}
	cmd.Flags().StringSliceVar(&addresses, "address", []string{"localhost"}, "addresses to listen on; localhost is 127.0.0.1 and, where there is one, ::1")
	return cmd
}

// forwardedPort is a port here, 0 for any free one, and the container's that it leads to.
type forwardedPort struct{ local, remote uint16 }

func parsePorts(s string) (forwardedPort, error) {
	local, remote, both := strings.Cut(s, ":")
	if !both {
		remote = local
	}
	r, err := strconv.ParseUint(remote, 10, 16)
	if err != nil || r == 0 {
		return forwardedPort{}, usageError("%q names no ports: write REMOTE or LOCAL:REMOTE, for example 8080:80", s)
	}
	if local == "" {
		return forwardedPort{0, uint16(r)}, nil
	}
	l, err := strconv.ParseUint(local, 10, 16)
	if err != nil {
		return forwardedPort{}, usageError("%q: %q is no port to listen on: write one from 1 to 65535, or nothing for any free one", s, local)
	}
	return forwardedPort{uint16(l), uint16(r)}, nil
}

// localHost is an address to listen on. One that is optional may be missing on this host.
type localHost struct {
	ip       string
	optional bool
}

func parseHosts(addresses []string) ([]localHost, error) {
	var hosts []localHost
	for _, s := range addresses {
		switch {
		case s == "localhost":
			hosts = append(hosts, localHost{ip: "127.0.0.1"}, localHost{ip: "::1", optional: true})
		case net.ParseIP(s) != nil:
			hosts = append(hosts, localHost{ip: s})
		default:
			return nil, usageError("--address %q is no address of this host: write localhost or an IP address", s)
		}
	}
	if len(hosts) == 0 {
		return nil, usageError("--address names nothing to listen on")
	}
	return hosts, nil
}

// forwarder makes ports of a target reachable here.
type forwarder struct {
	app    *app
	c      *connection
	target target

	conns sync.WaitGroup
	mu    sync.Mutex // for messages, one line each
}

// run listens until ctx ends, which is how a forwarding ends well.
func (f *forwarder) run(ctx context.Context, hosts []localHost, ports []forwardedPort) error {
	var listeners []*net.TCPListener
	defer func() {
		for _, l := range listeners {
			_ = l.Close()
		}
		f.conns.Wait()
	}()
	var begin []func()
	for _, p := range ports {
		at, err := f.check(ctx, p.remote)
		if err != nil {
			return err
		}
		opened, err := listenOn(hosts, p.local)
		listeners = append(listeners, opened...)
		if err != nil {
			return err
		}
		for _, l := range opened {
			if err := f.tell(l.Addr(), at, p.remote); err != nil {
				return err
			}
			begin = append(begin, func() { f.accept(ctx, l, p.remote) })
		}
	}
	for _, b := range begin {
		f.conns.Go(b)
	}
	<-ctx.Done()
	return nil
}

// listenOn opens a port on each address. The first decides which where any will do.
func listenOn(hosts []localHost, port uint16) (opened []*net.TCPListener, err error) {
	for _, h := range hosts {
		l, err := net.Listen("tcp", net.JoinHostPort(h.ip, strconv.Itoa(int(port))))
		if err != nil {
			if h.optional && len(opened) > 0 {
				continue
			}
			return opened, fmt.Errorf("listening here: %w", err)
		}
		tl := l.(*net.TCPListener)
		opened = append(opened, tl)
		port = uint16(tl.Addr().(*net.TCPAddr).Port)
	}
	return opened, nil
}

func (f *forwarder) start(port uint16, check bool) *argosyv1.PortForwardRequest {
	return &argosyv1.PortForwardRequest{Start: &argosyv1.PortForwardStart{Key: f.app.key(f.target), Member: f.target.member, Port: uint32(port), Check: check}}
}

// check asks what a port leads to, so that what cannot work is said before anybody connects.
func (f *forwarder) check(ctx context.Context, port uint16) (*argosyv1.PortForwardOpened, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream := f.c.streams().PortForward(ctx)
	// An error of sending is told better by receiving.
	if err := stream.Send(f.start(port, true)); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	m, err := stream.Receive()
	_ = stream.CloseRequest()
	if err != nil {
		return nil, err
	}
	_ = stream.CloseResponse()
	return m.GetOpened(), nil
}

// tell says where to connect to.
func (f *forwarder) tell(local net.Addr, at *argosyv1.PortForwardOpened, port uint16) error {
	to := f.target.app + "/" + f.target.stack
	if f.target.number != 0 {
		to = replicaName(at.GetKey())
	}
	switch f.app.output {
	case "json":
		return f.app.writeJSONLine(map[string]any{"local": local.String(), "target": to, "container": at.GetMember(), "port": port})
	case "name":
		_, err := fmt.Fprintln(f.app.sys.Out, local)
		return err
	}
	_, err := fmt.Fprintf(f.app.sys.Out, "Forwarding %s → %s/%s:%d\n", local, to, at.GetMember(), port)
	return err
}

func (f *forwarder) accept(ctx context.Context, l *net.TCPListener, port uint16) {
	for {
		conn, err := l.AcceptTCP()
		switch {
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			if err == nil {
				_ = conn.Close()
			}
			return
		case err != nil: // too many open files, for example: later there may be fewer
			f.complain("%s: %v", l.Addr(), err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		f.conns.Go(func() {
			if err := f.serve(ctx, conn, port); err != nil {
				// Whoever connected learns that this was no plain end.
				_ = conn.SetLinger(0)
				if ctx.Err() == nil {
					f.complain("connection from %s: %s", conn.RemoteAddr(), f.app.explainError(err))
				}
			}
			_ = conn.Close()
		})
	}
}

func (f *forwarder) complain(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.app.note("argosy: "+format, args...)
}

// serve carries one connection over a stream of its own.
func (f *forwarder) serve(ctx context.Context, conn *net.TCPConn, port uint16) error {
	ctx, cancel := context.WithCancel(ctx)
	stream := f.c.streams().PortForward(ctx)
	// net/http looks at the context only when the request's body has ended.
	stop := context.AfterFunc(ctx, func() { _ = stream.CloseRequest() })
	defer func() {
		cancel()
		if stop() {
			_ = stream.CloseRequest()
		}
		_ = stream.CloseResponse()
	}()
	if err := stream.Send(f.start(port, false)); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	m, err := stream.Receive()
	if err != nil {
		return err
	}
	if m.GetOpened() == nil {
		return errors.New(m.GetEnd().GetError())
	}
	end := flow.New(func(w *argosyv1.Flow) error { return stream.Send(&argosyv1.PortForwardRequest{Flow: w}) })
	go func() {
		for {
			m, err := stream.Receive()
			switch {
			case err != nil:
			case m.GetEnd() != nil:
				if err = io.EOF; m.GetEnd().GetError() != "" {
					err = errors.New(m.GetEnd().GetError())
				}
			case m.GetFlow() != nil:
				err = end.Take(m.GetFlow())
			}
			if err != nil {
				end.Fail(err)
				return
			}
		}
	}()
	err = flow.Join(end, conn)
	var local *net.OpError
	if errors.As(err, &local) && connect.CodeOf(err) == connect.CodeUnknown {
		return nil // whoever connected went away, and knows
	}
	return err
}
