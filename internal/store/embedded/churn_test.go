package embedded_test

import (
	"fmt"
	"math/rand"
	"testing"
	"time"

	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/etcd"
	"github.com/argosy-cluster/argosy/internal/store/upkeep"
)

// A week of a busy cluster, an hour in each round: replicas change, history comes and is trimmed, outcomes come and are
// forgotten after a day. History of the store is dropped as it is every ten minutes. The file stays as large as what is in
// it takes, however much was written.
func TestAWeekOfChurnStaysBounded(t *testing.T) {
	m := start(t, t.TempDir())
	s := etcd.New(m.Client())
	random := rand.New(rand.NewSource(1))
	value := func(n int) []byte {
		b := make([]byte, n)
		random.Read(b)
		return b
	}
	const replicas, outcomesPerHour, transitionsPerHour = 500, 40, 200
	var written int64
	var afterADay int64
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var tended time.Time
	for hour := range 7 * 24 {
		var ops []store.Op
		for range 100 {
			k := random.Intn(replicas)
			ops = append(ops, store.Op{Key: fmt.Sprintf("/replicas/%d", k), Value: value(600)})
		}
		for i := range outcomesPerHour {
			ops = append(ops, store.Op{Key: fmt.Sprintf("/outcomes/%d/%d", hour, i), Value: value(400)})
			if hour >= 24 {
				ops = append(ops, store.Delete(fmt.Sprintf("/outcomes/%d/%d", hour-24, i)))
			}
		}
		for i := range transitionsPerHour {
			ops = append(ops, store.Op{Key: fmt.Sprintf("/history/%d/%d", hour, i), Value: value(300)})
			if hour >= 1 {
				ops = append(ops, store.Delete(fmt.Sprintf("/history/%d/%d", hour-1, i)))
			}
		}
		seen := map[string]int{}
		var txn store.Txn
		for _, op := range ops { // a key may be in a transaction once: the last one counts
			if at, twice := seen[op.Key]; twice {
				txn.Ops[at] = op
				continue
			}
			seen[op.Key] = len(txn.Ops)
			txn.Ops = append(txn.Ops, op)
			written += int64(len(op.Value))
		}
		if _, err := s.Commit(t.Context(), txn); err != nil {
			t.Fatal(err)
		}
		if err := m.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Hour)
		sp := m.Space()
		step := upkeep.Next(now, upkeep.Store{Full: sp.Full, Members: []upkeep.Member{{Name: "s1", Leads: true, Well: true, Size: sp.Size, InUse: sp.InUse, Quota: sp.Quota, Tended: tended}}})
		if step.Kind == upkeep.Defragment {
			tended = now
			if err := m.Defragment(); err != nil {
				t.Fatal(err)
			}
		}
		if hour == 24 {
			afterADay = m.Space().Size
		}
	}
	sp := m.Space()
	t.Logf("%d MiB were written; the file takes %d KiB after a day and %d KiB after a week, of which %d KiB are needed", written>>20, afterADay>>10, sp.Size>>10, sp.InUse>>10)
	if sp.Size > 2*afterADay {
		t.Errorf("the file grows: %d bytes after a day, %d after a week", afterADay, sp.Size)
	}
	// Defragmenting gives back what is not needed, and everything is still there.
	before, err := s.List(t.Context(), "/replicas/")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Defragment(); err != nil {
		t.Fatal(err)
	}
	if after := m.Space(); after.Size > sp.Size || after.Size > 2*after.InUse {
		t.Errorf("defragmented: %+v", after)
	}
	after, err := s.List(t.Context(), "/replicas/")
	if err != nil || len(after.KVs) != len(before.KVs) || after.Revision != before.Revision {
		t.Errorf("after defragmenting there are %d of %d records, %v", len(after.KVs), len(before.KVs), err)
	}
}
