package auth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// LocalGroup is the group whose members may administer the cluster over a server's Unix socket, beside root and the
// server's own user.
const LocalGroup = "argosy"

// ListenLocal listens on a Unix socket that only root, the server's user and [LocalGroup] may open. One left over by a
// server that was killed is replaced; one that a running server listens on is not.
func ListenLocal(path string) (net.Listener, error) {
	if conn, err := net.Dial("unix", path); err == nil {
		_ = conn.Close()
		return nil, fmt.Errorf("another server listens on %s already: stop it first", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("replacing the socket of an earlier server: %w", err)
	}
	// Made in a directory of its own and moved, it is never open to others for an instant.
	dir, err := os.MkdirTemp(parent(path), ".argosy-")
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	defer os.RemoveAll(dir)
	fresh := dir + "/s"
	l, err := net.Listen("unix", fresh)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	err = os.Chmod(fresh, 0o600)
	if gid, ok := localGroup(); ok && err == nil {
		// A server that is not root and not in the group keeps the socket to itself.
		if os.Chown(fresh, -1, gid) == nil {
			err = os.Chmod(fresh, 0o660)
		}
	}
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listening on %s: %w", path, err), l.Close())
	}
	return &localListener{Listener: l, path: path}, nil
}

func parent(path string) string {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			return path[:i+1]
		}
	}
	return "."
}

type localListener struct {
	net.Listener
	path string
}

func (l *localListener) Close() error {
	err := l.Listener.Close()
	if rm := os.Remove(l.path); rm != nil && !errors.Is(rm, os.ErrNotExist) {
		err = errors.Join(err, rm)
	}
	return err
}

func localGroup() (gid int, ok bool) {
	g, err := user.LookupGroup(LocalGroup)
	if err != nil {
		return 0, false
	}
	gid, err = strconv.Atoi(g.Gid)
	return gid, err == nil
}

type localKey struct{}

// local marks a connection over the Unix socket. err says why its user may not.
type local struct{ err error }

func localFrom(ctx context.Context) (local, bool) {
	l, ok := ctx.Value(localKey{}).(local)
	return l, ok
}

// ConnContext is for [http.Server]: it marks connections that came over the Unix socket, with what the kernel says about
// who opened them.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	conn, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	return context.WithValue(ctx, localKey{}, local{err: checkPeer(conn)})
}

func checkPeer(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("finding out who opened the socket: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return fmt.Errorf("finding out who opened the socket: %w", err)
	}
	if credErr != nil {
		return fmt.Errorf("finding out who opened the socket: %w", credErr)
	}
	return mayAdminister(cred.Uid, cred.Gid)
}

func mayAdminister(uid, gid uint32) error {
	if uid == 0 || int(uid) == os.Geteuid() {
		return nil
	}
	refused := fmt.Errorf("user id %d may not administer this cluster here: be root, or a member of the group %s", uid, LocalGroup)
	group, ok := localGroup()
	if !ok {
		return refused
	}
	if int(gid) == group {
		return nil
	}
	u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return refused
	}
	groups, err := u.GroupIds()
	if err != nil || !slices.Contains(groups, strconv.Itoa(group)) {
		return refused
	}
	return nil
}
