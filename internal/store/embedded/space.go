package embedded

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/argosy-cluster/argosy/internal/store"
)

// DefaultQuota is how large a member's database may grow, in bytes. Beyond that etcd refuses to write. It is address space,
// not memory.
const DefaultQuota = 4 << 30

// Space looks at this member's database. It asks nobody.
func (m *Member) Space() store.Space {
	b := m.etcd.Server.Backend()
	s := store.Space{Size: b.Size(), InUse: b.SizeInUse(), Quota: m.quota}
	for _, a := range m.etcd.Server.Alarms() {
		s.Full = s.Full || a.Alarm == etcdserverpb.AlarmType_NOSPACE
	}
	return s
}

// Compact drops the store's history but for its last state. Watches from earlier revisions have to begin anew.
func (m *Member) Compact(ctx context.Context) error {
	res, err := m.client.Get(ctx, "\x00", clientv3.WithKeysOnly())
	if err == nil {
		_, err = m.client.Compact(ctx, res.Header.Revision, clientv3.WithCompactPhysical())
	}
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("dropping the store's history: %w", err)
	}
	return nil
}

// Defragment gives back what this member's file does not need. The member answers nothing meanwhile.
func (m *Member) Defragment() error {
	if err := m.etcd.Server.Defragment(); err != nil {
		return fmt.Errorf("defragmenting the store's file: %w", err)
	}
	return nil
}

// Disarm takes back that the store is full, which keeps it from being written to. A store that still is says so again.
func (m *Member) Disarm(ctx context.Context) error {
	trouble := func(err error) error { return fmt.Errorf("taking back that the store is full: %w", err) }
	list, err := m.client.AlarmList(ctx)
	if err != nil {
		return trouble(err)
	}
	for _, a := range list.Alarms {
		if a.Alarm != etcdserverpb.AlarmType_NOSPACE {
			continue
		}
		if _, err := m.client.AlarmDisarm(ctx, (*clientv3.AlarmMember)(a)); err != nil {
			return trouble(err)
		}
	}
	return nil
}
