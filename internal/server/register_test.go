package server

import (
	"errors"
	"fmt"
	"testing"

	"connectrpc.com/connect"

	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/store"
)

// A server that starts while the leader dies tries again; one that may not be in the cluster ends.
func TestWhatRefusesAServer(t *testing.T) {
	for _, c := range []struct {
		err     error
		refuses bool
	}{
		{leader.ErrNotLeading, false},
		{fmt.Errorf("writing: %w", store.ErrUnavailable), false},
		{&store.ConflictError{}, false},
		{connect.NewError(connect.CodeCanceled, errors.New("read: connection reset by peer")), false},
		{connect.NewError(connect.CodeInternal, errors.New("protocol error: unexpected EOF")), false},
		{connect.NewError(connect.CodeUnknown, errors.New("502 Bad Gateway")), false},
		{exists("a server called s1 is in the cluster already"), true},
		{refused("server s3 was removed from the cluster"), true},
		{connect.NewError(connect.CodePermissionDenied, errors.New("no")), true},
		{invalid("no address"), true},
	} {
		if got := refusesServer(rpcError(c.err)); got != c.refuses {
			t.Errorf("%v: it refuses %t", c.err, got)
		}
	}
}
