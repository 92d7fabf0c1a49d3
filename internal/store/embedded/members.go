package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// Info is what is known of a member of the cluster.
type Info struct {
	ID uint64
	// Name is the server's id, empty for a member that was added and has never been started.
	Name string
	// Peer is where other members reach it, host:port.
	Peer string
	// Learner has no vote yet.
	Learner bool
}

// Exists reports whether a directory holds a member already.
func Exists(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, etcdDir, "member", "wal"))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Members lists the cluster's members as this one knows them; it asks nobody.
func (m *Member) Members() []Info {
	var out []Info
	for _, x := range m.etcd.Server.Cluster().Members() {
		peer := ""
		if len(x.PeerURLs) > 0 {
			peer = strings.TrimPrefix(x.PeerURLs[0], "https://")
		}
		out = append(out, Info{ID: uint64(x.ID), Name: x.Name, Peer: peer, Learner: x.IsLearner})
	}
	return out
}

// Leader is the name of the member that leads raft, empty when none does, as far as this one knows.
func (m *Member) Leader() string {
	if x := m.etcd.Server.Cluster().Member(m.etcd.Server.Leader()); x != nil {
		return x.Name
	}
	return ""
}

// LeaderChanged returns a channel that is closed when another leads, or nobody.
func (m *Member) LeaderChanged() <-chan struct{} { return m.etcd.Server.LeaderChangedNotify() }

// Applied is the number of the last entry of the log that this member has applied.
func (m *Member) Applied() uint64 { return m.etcd.Server.AppliedIndex() }

// Size is the size of the member's database file in bytes.
func (m *Member) Size() int64 { return m.etcd.Server.Backend().Size() }

// changePeriod is how long one change of the members may take. Raft drops one that is proposed while another is under way or while
// its leader goes, and etcd then waits as long as it is let.
const changePeriod = 5 * time.Second

// change makes one change of the members after the other.
func (m *Member) change(ctx context.Context, f func(ctx context.Context) error) error {
	select {
	case m.changing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-m.changing }()
	ctx, cancel := context.WithTimeout(ctx, changePeriod)
	defer cancel()
	return f(ctx)
}

// Add makes room for a new member without a vote, which other members will reach at peer. It is to be started with
// [Peers.Join].
func (m *Member) Add(ctx context.Context, peer string) error {
	if err := m.change(ctx, func(ctx context.Context) error {
		_, err := m.client.MemberAddAsLearner(ctx, []string{"https://" + peer})
		return err
	}); err != nil {
		return fmt.Errorf("adding a member of the store at %s: %w", peer, err)
	}
	return nil
}

// Promote gives a member its vote once it has caught up; until then it returns false.
func (m *Member) Promote(ctx context.Context, id uint64) (bool, error) {
	err := m.change(ctx, func(ctx context.Context) error {
		_, err := m.client.MemberPromote(ctx, id)
		return err
	})
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, rpctypes.ErrMemberLearnerNotReady), strings.Contains(err.Error(), "in sync with leader"):
		return false, nil
	}
	return false, fmt.Errorf("giving a member of the store its vote: %w", err)
}

// Remove takes a member out of the cluster.
func (m *Member) Remove(ctx context.Context, id uint64) error {
	err := m.change(ctx, func(ctx context.Context) error {
		_, err := m.client.MemberRemove(ctx, id)
		return err
	})
	if err != nil && !errors.Is(err, rpctypes.ErrMemberNotFound) {
		return fmt.Errorf("removing a member of the store: %w", err)
	}
	return nil
}

// Move says where other members reach a member.
func (m *Member) Move(ctx context.Context, id uint64, peer string) error {
	if err := m.change(ctx, func(ctx context.Context) error {
		_, err := m.client.MemberUpdate(ctx, id, []string{"https://" + peer})
		return err
	}); err != nil {
		return fmt.Errorf("changing the address of a member of the store: %w", err)
	}
	return nil
}

// HandOver has another member lead.
func (m *Member) HandOver(ctx context.Context, id uint64) error {
	if _, err := m.client.MoveLeader(ctx, id); err != nil {
		return fmt.Errorf("having another server lead: %w", err)
	}
	return nil
}

// Own is this member's id.
func (m *Member) Own() uint64 { return uint64(m.etcd.Server.MemberID()) }
