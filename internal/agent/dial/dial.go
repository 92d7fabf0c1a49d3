package dial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/argosy-cluster/argosy/internal/agent/core"
)

// patience is how long one address may take to answer.
const patience = 10 * time.Second

// Port connects to a TCP port of a running container: on its loopback interface, 127.0.0.1 before ::1, and where nobody
// listens there on its address in the cluster.
func Port(ctx context.Context, c core.Container, port uint16) (*net.TCPConn, error) {
	ns, err := namespace("/proc", c)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	hosts := []string{"127.0.0.1", "::1"}
	if c.Address != "" {
		hosts = append(hosts, c.Address)
	}
	var refusal error
	for _, host := range hosts {
		conn, err := from(ctx, ns, net.JoinHostPort(host, strconv.Itoa(int(port))))
		switch {
		case err == nil:
			return conn, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EAFNOSUPPORT):
			if refusal == nil { // the first says most
				refusal = err
			}
		default:
			return nil, fmt.Errorf("port %d: %w", port, plain(err))
		}
	}
	if errors.Is(refusal, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("connection refused: nothing listens on port %d in the container", port)
	}
	return nil, fmt.Errorf("port %d: %w", port, plain(refusal))
}

// plain leaves out what net says of the socket.
func plain(err error) error {
	var op *net.OpError
	if !errors.As(err, &op) {
		return err
	}
	if op.Timeout() {
		return fmt.Errorf("it did not answer within %s", patience)
	}
	return op.Err
}

// maxCgroup bounds what is read of a process's cgroups.
const maxCgroup = 64 << 10

// namespace opens a container's network namespace, by the id of its first process.
func namespace(proc string, c core.Container) (*os.File, error) {
	if c.PID <= 1 || len(c.ContainerID) < 12 {
		return nil, errors.New("the container has no process")
	}
	// Whatever is opened below this directory is about one process, though its number be given to another meanwhile.
	root, err := os.OpenRoot(filepath.Join(proc, strconv.Itoa(c.PID)))
	if err != nil {
		return nil, gone(err)
	}
	defer root.Close()
	f, err := root.Open("cgroup")
	if err != nil {
		return nil, gone(err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxCgroup))
	_ = f.Close()
	if err != nil {
		return nil, gone(err)
	}
	if !strings.Contains(string(text), c.ContainerID) {
		return nil, errors.New("the container's process has just ended")
	}
	// The link leads out of the directory, to what has no path, so it is followed by hand.
	dir, err := root.Open("ns")
	if err != nil {
		return nil, gone(err)
	}
	defer dir.Close()
	fd, err := unix.Openat(int(dir.Fd()), "net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, gone(err)
	}
	ns := os.NewFile(uintptr(fd), "network namespace of container "+c.ContainerID)
	own, err := os.Stat(filepath.Join(proc, "self/ns/net"))
	if err == nil {
		var its os.FileInfo
		if its, err = ns.Stat(); err == nil && os.SameFile(own, its) {
			err = errors.New("the container uses the machine's own network, where every port is the machine's")
		}
	}
	if err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	return ns, nil
}

func gone(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return errors.New("the container's process has just ended")
	}
	return fmt.Errorf("entering the container's network: %w", err)
}

// from connects to an address as a process in the namespace would. The address is a number, so nothing is looked up.
func from(ctx context.Context, ns *os.File, address string) (*net.TCPConn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread()
		conn, err, back := within(ctx, ns, address)
		if back {
			runtime.UnlockOSThread() // otherwise the thread ends with this goroutine
		}
		done <- result{conn, err}
	}()
	r := <-done
	if r.err != nil {
		return nil, r.err
	}
	return r.conn.(*net.TCPConn), nil
}

// within does it, on a thread of its own. back says that the thread is where it was before.
func within(ctx context.Context, ns *os.File, address string) (conn net.Conn, err error, back bool) {
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("entering the container's network: %w", err), true
	}
	defer home.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("entering the container's network: %w", err), true
	}
	d := net.Dialer{Timeout: patience}
	conn, err = d.DialContext(ctx, "tcp", address)
	return conn, err, unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil
}
