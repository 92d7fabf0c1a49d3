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
	l, err := net.Listen("unix", path) // closing removes it
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	// Until the mode is set the file may be open to others; checkPeer turns them away all the same.
	err = os.Chmod(path, 0o600)
	if gid, ok := localGroup(); ok && err == nil && os.Chown(path, -1, gid) == nil {
		// A server that is not root and not in the group cannot do this, and keeps the socket to itself.
		err = os.Chmod(path, 0o660)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listening on %s: %w", path, err), l.Close())
	}
	return l, nil
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
